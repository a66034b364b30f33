"""What an acknowledgement costs with and without a sync to the disk; run by hand.

PYTHONPATH=. .venv/bin/python -m scripts.benchmarks.sync [DIRECTORY]
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nats
from tests.testing.broker import Broker

MESSAGES = 3000
IN_FLIGHT = 32


async def measure(broker: Broker) -> tuple[float, float]:
    """Return the median seconds of one acknowledgement, and how many a second with 32 at once."""
    client = await nats.connect(broker.url, user="tests", password=broker.password)
    stream = client.jetstream()
    await stream.add_stream(name="T", subjects=["t"])
    took = []
    for _ in range(MESSAGES):
        begun = time.perf_counter()
        await stream.publish("t", bytes(300))
        took.append(time.perf_counter() - begun)

    async def publish() -> None:
        for _ in range(MESSAGES // IN_FLIGHT):
            await stream.publish("t", bytes(300))

    begun = time.perf_counter()
    await asyncio.gather(*(publish() for _ in range(IN_FLIGHT)))
    rate = MESSAGES // IN_FLIGHT * IN_FLIGHT / (time.perf_counter() - begun)
    await client.close()
    return statistics.median(took), rate


def main() -> None:
    """Measure both settings on one disk."""
    for setting in ("always", "2m"):
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as name:
            broker = Broker(Path(name))
            path = Path(name) / "nats.conf"
            path.write_text(path.read_text().replace("interval: always", f"interval: {setting}"))
            with broker:
                median, rate = asyncio.run(measure(broker))
        print(f"sync_interval {setting}: {median * 1000:.2f} ms one by one, {rate:,.0f}/s at once")


if __name__ == "__main__":
    main()
