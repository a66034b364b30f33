"""Tasks and events for tests of the agent's ledger, and what another process finds in it."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from structlog.testing import capture_logs

from towline.agent.ledger import Ledger
from towline.agent.ledger.changes import Change
from towline.wire.event import COMPLETED, Event
from towline.wire.job import Job, new_id
from towline.wire.release import Release

NOW = 1_700_000_000.0
"""When the jobs of these tests are made, by the controllers' clock."""
EXPIRES = NOW + 3600.0


def a_task(id: str | None = None, **more: Any) -> Release:
    """Return a released task, with a job of its own; `more` are fields of the release."""
    image = more.pop("image", "nginx")
    created = more.pop("created", NOW)
    expires = more.pop("expires", EXPIRES)
    parameters = {"image": image}
    job = Job(id or new_id(), "docker.pull.execute", parameters, "_all", "ci", created, expires)
    return Release(job.id, "a", NOW, expires, job, **more)


def long_task() -> Release:
    """Return a task that does not fit into SQLite's cache with many others."""
    return a_task(image="x" * 20_000)


def numbered(number: int) -> str:
    """Return the id of a job that has a number."""
    return f"00000000-0000-7000-8000-{number:012}"


def an_end(task: Release, kind: str = COMPLETED) -> Event:
    """Return the event that ends a task."""
    return Event(task.id, "a", "host-a", kind, NOW + 3.0)


def end(ledger: Ledger, task: Release, kind: str = COMPLETED) -> Change:
    """Record that a task has ended."""
    return ledger.end(an_end(task, kind), created=NOW, expires=task.expires)


def outbox(ledger: Ledger) -> list[Event]:
    """Return all events that wait."""
    return [event for _, event in ledger.undelivered(10_000)]


async def open_tasks(ledger: Ledger) -> list[tuple[Release | None, float | None]]:
    """Return the releases of the tasks that have not ended, each with when it was started."""
    return [(task.release, task.started) for task in await ledger.unfinished()]


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
