"""What the journal keeps, and what is forgotten with it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.cluster import Cluster, NodePlan
from towline.broker.connection import Connection
from towline.broker.journal import EVENTS, JOBS, Journal, Retention
from towline.broker.settings import Settings
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lists import Filter, Lists
from towline.wire.event import COMPLETED, Event
from towline.wire.job import Job, new_id
from towline.wire.subjects import node_subject

MIB = 1024**2
MACHINE = "a" * 32


@contextlib.asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[Connection]:
    settings = Settings([broker.url], broker.credentials)
    async with Connection(settings, "tests") as connection:
        yield connection


async def sizes(connection: Connection) -> dict[str, int]:
    """Return how many bytes each stream may take."""
    found = {}
    for stream in (JOBS, EVENTS):
        info = await connection.call(f"STREAM.INFO.{stream}")
        found[stream] = int(info["config"]["max_bytes"])
    return found


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await ask():
            await asyncio.sleep(0.05)


async def add_job(journal: Journal, padding: int) -> str:
    """Append a job that has ended, and return its id."""
    now = time.time()
    parameters = {"image": "x" * padding}
    job = Job(new_id(), "docker.pull", parameters, "node-1", "tests", now, now + 3600)
    await journal.add_job(job, node_subject(MACHINE))
    await journal.add_event(Event(job.id, MACHINE, "node-1", COMPLETED, time.time(), data={}))
    return job.id


async def test_the_journal_is_as_large_as_asked_for(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        async with connected(broker) as connection:
            await Journal(connection).create(Retention(size=64 * MIB))
            assert await sizes(connection) == {JOBS: 32 * MIB, EVENTS: 32 * MIB}


async def test_a_broker_with_less_room_gets_a_smaller_journal_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path, storage="300MB") as broker:
        async with connected(broker) as connection:
            journal = Journal(connection)
            with capture_logs() as logs:
                await journal.create(Retention(size=1024 * MIB))
            made = await sizes(connection)
            assert await add_job(journal, 10)
    assert sum(made.values()) <= 300 * MIB
    assert min(made.values()) >= 16 * MIB
    assert {entry["stream"] for entry in logs if "retention-size" in entry.get("mend", "")} == {
        stream for stream, size in made.items() if size < 512 * MIB
    }
    assert logs


async def test_the_index_forgets_what_a_full_journal_dropped_long_before_its_age(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path) as broker, Index(tmp_path / "index.sqlite") as index:
        async with connected(broker) as connection:
            journal = Journal(connection)
            await journal.create(Retention(size=32 * MIB))
            indexer = Indexer(connection, index, retention=86400, prune_after=20)
            indexing = asyncio.create_task(indexer.run())
            made = [await add_job(journal, 700_000) for _ in range(60)]

            async def only_what_is_kept() -> bool:
                info = await connection.call(f"STREAM.INFO.{JOBS}")
                kept = int(info["state"]["messages"])
                if kept >= 30 or Lists(index).count(Filter()) > 30:
                    await add_job(journal, 1)
                    return False
                return True

            await until(only_what_is_kept)
            assert index.find(made[0], {}) is None
            assert index.find(made[-1], {}) is not None
            indexing.cancel()
            await asyncio.gather(indexing, return_exceptions=True)


def test_all_works_on_a_broker_with_little_room(tmp_path: Path) -> None:
    def small(directory: Path) -> Broker:
        return Broker(directory, storage="700MB")

    with Cluster(tmp_path, [NodePlan("one")], broker=small) as cluster:
        (result,) = cluster.admin.get("/node/one/load").json()["results"]
        assert result["status"] == "ok"
        assert "no room for the journal's size" in cluster.controller.stderr
