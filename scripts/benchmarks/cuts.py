"""What scripts/bench --cut measures: what a pull costs whose connections break half-way."""

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass

import structlog
from tests.testing.engine import Engine, EngineKind, why_missing
from tests.testing.process import Failed
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import PushedImage, Registry, random_layer
from tests.testing.tasks import a_task

from scripts.benchmarks.document import say, table
from towline.agent.docker.engine import Engine as Client
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.pulls import Pulls
from towline.agent.docker.pull.steps import ATTEMPT
from towline.wire.event import Step
from towline.wire.job import Job
from towline.wire.reference import Reference

MB = 10**6
MOST_BYTES = 100 * MB
"""Bytes of one file of a layer: `random` makes no more than some 250 MB at a time."""
AT_A_TIME = 3
"""Layers that an engine fetches at a time, by default."""
JOB = Job("bench", "docker.pull.execute", {}, "bench-1", "bench", 0.0, 60.0)


@dataclass(frozen=True)
class Pulled:
    """What one pull cost: seconds, bytes of blobs that were served, and attempts that failed."""

    seconds: float
    served: int
    failed: int


class Bench:
    """An engine and a registry with one image, and what stands between them.

    Parameters: `size` are the bytes of the image's layers in the registry; `at` is which share of
    them has been served when all connections are reset.
    """

    def __init__(
        self, engine: Engine, proxy: FaultyProxy, image: str, size: int, layers: int, at: float
    ) -> None:
        self._engine = engine
        self._proxy = proxy
        self._order = Order(Reference.parse(f"{proxy.host}/{image}"))
        self._size = size
        self._layers = layers
        self._at = at

    def pull(self, rate: float | None, *, cut: bool) -> Pulled:
        """Pull the image into an engine that has nothing of it.

        Parameters: `rate` is how many bytes a second reach it, None for as many as can.
        """
        self._engine.forget()
        self._proxy.count_anew()
        self._proxy.rate = None if rate is None else rate / min(self._layers, AT_A_TIME)
        return asyncio.run(self._pull(cut))

    async def _pull(self, cut: bool) -> Pulled:
        failed = 0

        def count(step: Step) -> None:
            nonlocal failed
            failed += step.name == ATTEMPT

        task = a_task(JOB, step=count)
        client = Client(self._engine.url)
        cutting = asyncio.create_task(self._cut()) if cut else None
        begun = time.perf_counter()
        try:
            await Pulls(client).pull(self._order, task)
        finally:
            await client.close()
        seconds = time.perf_counter() - begun
        if cutting is not None and not cutting.done():
            raise Failed("the pull ended before it was cut")
        return Pulled(seconds, self._proxy.served, failed)

    async def _cut(self) -> None:
        while self._proxy.served < self._at * self._size:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(self._proxy.refuse)
        await asyncio.to_thread(self._proxy.accept)


def measure(options: argparse.Namespace) -> list[list[str]]:
    """Return a row for each number of layers and rate."""
    rows = []
    with (
        Engine(options.engine) as engine,
        Registry() as registry,
        FaultyProxy.before_registry(registry) as proxy,
    ):
        proxy.delay = options.delay / 1000
        for number in options.layers:
            each = options.size * MB // number
            say(f"{number} x {each // MB} MB, {options.engine} ...")
            pushed = push(registry, number, each)
            size = sum(registry.blob_path(layer).stat().st_size for layer in pushed.layer_digests)
            bench = Bench(engine, proxy, f"{pushed.repository}:1", size, number, options.at)
            bench.pull(None, cut=False)  # not counted: the registry's files are not in memory yet
            for rate in options.rate:
                whole, broken = [], []
                for _ in range(options.repeats):
                    whole.append(bench.pull(rate * MB or None, cut=False))
                    broken.append(bench.pull(rate * MB or None, cut=True))
                    say(f"  {whole[-1]} {broken[-1]}")
                usual = statistics.median(pull.seconds for pull in whole)
                rows.append(
                    [
                        f"{number} x {each // MB} MB",
                        f"{rate} MB/s" if rate else "none",
                        f"{usual:.1f}",
                        _spread([pull.served / size for pull in whole]),
                        _spread([pull.served / size for pull in broken]),
                        _spread([pull.seconds / usual for pull in broken]),
                        f"{statistics.mean(pull.failed for pull in broken):.1f}",
                    ]
                )
    return rows


def push(registry: Registry, number: int, each: int) -> PushedImage:
    """Put an image of so many layers into the registry, of so many bytes each."""
    files = -(-each // MOST_BYTES)
    layers = [random_layer(f"{number}-{place}", each // files, files) for place in range(number)]
    return registry.push_image(f"bench/{number}", "1", layers, level=0)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> int:
    """Measure and print; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --cut", description=__doc__)
    arguments.add_argument(
        "--engine", type=EngineKind, choices=list(EngineKind), default=EngineKind.CONTAINERD
    )
    arguments.add_argument("--size", type=int, default=1000, metavar="MB")
    arguments.add_argument("--layers", type=int, nargs="+", default=[1, 8], metavar="N")
    arguments.add_argument(
        "--rate", type=int, nargs="+", default=[0, 50], metavar="MB/S", help="0 for no limit"
    )
    arguments.add_argument(
        "--delay", type=int, default=0, metavar="MS", help="that each answer takes longer"
    )
    arguments.add_argument("--at", type=float, default=0.6, metavar="SHARE")
    arguments.add_argument("--repeats", type=int, default=3, metavar="N")
    options = arguments.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        missing = why_missing(options.engine)
        if missing:
            raise Failed(missing)
        rows = measure(options)
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    # Served and time are shares of the image and of an undisturbed pull: median (least to most).
    head = ["image", "limit", "undisturbed, s", "served", "served, cut", "time, cut", "failed"]
    print("\n".join(table(head, rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
