"""Jobs and events for tests of the agent's ledger, and what another process finds in it."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from structlog.testing import capture_logs

from towline.agent.ledger import Ledger
from towline.wire.event import COMPLETED, Event
from towline.wire.job import Job, new_id


def a_job(id: str | None = None) -> Job:
    """Return a job, with an id of its own unless given."""
    return Job(id or new_id(), "docker.pull", {"image": "nginx"}, "_all", "ci", 1.0, 2.0)


def long_job() -> Job:
    """Return a job that does not fit into SQLite's cache with many others."""
    return Job(new_id(), "docker.pull", {"image": "x" * 20_000}, "_all", "ci", 1.0, 2.0)


def an_end(job: Job, kind: str = COMPLETED) -> Event:
    """Return the event that ends the task of a job."""
    return Event(job.id, "a", "host-a", kind, 3.0)


def outbox(ledger: Ledger) -> list[Event]:
    """Return all events that wait."""
    return [event for _, event in ledger.undelivered(10_000)]


def on_disk(path: Path) -> tuple[set[str], set[str]]:
    """Return the jobs of the tasks and events that another process would find."""
    with closing(sqlite3.connect(path)) as database:
        tasks = {job for (job,) in database.execute("SELECT job FROM task")}
        bodies = [body for (body,) in database.execute("SELECT body FROM outbox")]
    return tasks, {msgspec.json.decode(body, type=Event).job for body in bodies}


@contextmanager
def full_disk(path: Path, room: int = 0) -> Iterator[None]:
    """Let the ledger's log grow by no more than `room` bytes; all other files neither.

    So the program's own log, which may go to a file, is kept in memory meanwhile.
    """
    size = Path(f"{path}-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
    try:
        with capture_logs():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
