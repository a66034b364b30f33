"""A connection to a real broker, and jobs that have ended in its journal."""

import contextlib
import time
from collections.abc import AsyncIterator

from tests.testing.broker import Broker
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal
from towline.broker.settings import Settings
from towline.wire.event import COMPLETED, Event
from towline.wire.job import Job, PlannedNode, new_id

MIB = 1024**2
MACHINE = "a" * 32


@contextlib.asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[JetStream]:
    """Reach what the broker stores for as long as the block lasts."""
    settings = Settings([broker.url], broker.credentials)
    async with Connection(settings, "tests") as connection:
        yield JetStream(connection)


async def add_job(journal: Journal, padding: int) -> str:
    """Append a job that has ended, and return its id."""
    now = time.time()
    parameters = {"image": "x" * padding}
    plan = [PlannedNode(MACHINE, "node-1")]
    job = Job(
        new_id(), "docker.pull.execute", parameters, "node-1", "tests", now, now + 3600, plan=plan
    )
    await journal.add_job(job)
    await journal.add_reports([Event(job.id, MACHINE, "node-1", COMPLETED, now, data={})], job.id)
    return job.id
