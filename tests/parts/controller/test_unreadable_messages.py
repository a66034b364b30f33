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
from towline.wire.event import COMPLETED, Event
from towline.wire.job import Job, new_id
from towline.wire.subjects import node_subject

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
    job = Job(new_id(), "node.load", {}, "a", "ann", now, now + 60)
    with Broker(tmp_path) as broker, Index(tmp_path / "index.sqlite") as index:
        settings = Settings([broker.url], broker.credentials)
        async with Connection(settings, "tests") as connection:
            jetstream = JetStream(connection)
            journal = Journal(jetstream)
            await journal.create(Retention(size=64 * 1024**2))
            await jetstream.append("job.all", body)
            await jetstream.append("event.a.x.ended", body)
            await journal.add_job(job, node_subject("a"))
            await journal.add_event(Event(job.id, "a", "a", COMPLETED, now))
            indexer = Indexer(jetstream, index, retention=86400)
            indexing = asyncio.create_task(indexer.run())
            try:
                await indexer.catch_up()
                found = index.find(job.id, {})
                assert found is not None
                assert found[0].status == "completed"
                assert not indexing.done()
            finally:
                indexing.cancel()
                await asyncio.gather(indexing, return_exceptions=True)
