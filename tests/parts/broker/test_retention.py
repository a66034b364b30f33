"""How much the journal keeps."""

from pathlib import Path

from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.journal import MIB, add_job, connected
from towline.broker.jetstream import JetStream
from towline.broker.journal import EVENTS, JOBS, Journal, Retention


async def sizes(jetstream: JetStream) -> dict[str, int]:
    """Return how many bytes each stream may take."""
    found = {}
    for stream in (JOBS, EVENTS):
        info = await jetstream.call(f"STREAM.INFO.{stream}")
        found[stream] = int(info["config"]["max_bytes"])
    return found


async def test_the_journal_is_as_large_as_asked_for(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        async with connected(broker) as jetstream:
            await Journal(jetstream).create(Retention(size=64 * MIB))
            assert await sizes(jetstream) == {JOBS: 32 * MIB, EVENTS: 32 * MIB}


async def test_a_broker_with_less_room_gets_a_smaller_journal_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path, storage="300MB") as broker:
        async with connected(broker) as jetstream:
            journal = Journal(jetstream)
            with capture_logs() as logs:
                await journal.create(Retention(size=1024 * MIB))
            made = await sizes(jetstream)
            assert await add_job(journal, 10)
    assert sum(made.values()) <= 300 * MIB
    assert min(made.values()) >= 16 * MIB
    assert {entry["stream"] for entry in logs if "retention-size" in entry.get("mend", "")} == {
        stream for stream, size in made.items() if size < 512 * MIB
    }
    assert logs
