"""Messages in the journal of a real broker that nobody can read."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.testing.broker import Broker
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal, Retention
from towline.broker.settings import Settings
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs
from towline.wire.event import COMPLETED, Event
from towline.wire.job import Job, PlannedNode, new_id

DEEP = b"[" * 100_000
BODIES = {
    "empty": b"",
    "no-utf-8": b"\xff",
    "deep": DEEP,
    "no-utf-8-inside": b'{"id": "\xff"}',
    "deep-parameters": b'{"parameters": {"a": ' + DEEP,
    "deep-data": b'{"data": {"a":' + DEEP,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_what_comes_after_an_unreadable_message_is_folded(
    body: bytes, tmp_path: Path
) -> None:
    now = time.time()
    plan = [PlannedNode("a", "a")]
    job = Job(new_id(), "node.load.get", {}, "a", "ann", now, now + 60, plan=plan)
    with Broker(tmp_path) as broker, Index(tmp_path / "index.sqlite") as index:
        settings = Settings([broker.url], broker.credentials)
        async with Connection(settings, "tests") as connection:
            jetstream = JetStream(connection)
            journal = Journal(jetstream)
            await journal.create(Retention(size=64 * 1024**2))
            for subject in ("job.x", "decision.x", "report", "read"):
                await jetstream.append(subject, body)
            await journal.add_job(job)
            await journal.add_reports([Event(job.id, "a", "a", COMPLETED, now)], "id")
            indexer = Indexer(jetstream, index, OpenJobs(), retention=86400)
            indexing = asyncio.create_task(indexer.run())
            try:
                await indexer.catch_up()
                found = index.find(job.id)
                assert found is not None
                assert found[0].status == "completed"
                assert indexer.unreadable == 4
                assert not indexing.done()
            finally:
                indexing.cancel()
                await asyncio.gather(indexing, return_exceptions=True)
