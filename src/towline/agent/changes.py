"""Changes of the ledger, collected until they are written together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Generator, Iterable
from typing import Any

import msgspec

from towline.wire.event import Event

OPEN, ENDED, REFUSED = 0, 1, 2
"""In the column `ended`; refused is a task that was cancelled before its job came."""


class Change:
    """A change of the ledger: awaited, it returns when the change is on the disk.

    Nobody has to await it.

    Attributes:
        number: that of the event which the change records; 0 for none.

    Raises:
        sqlite3.Error: on awaiting it: the change is not on the disk, and undone. The disk is full,
            for example.
    """

    def __init__(self, stored: asyncio.Future[None], number: int = 0) -> None:
        self._stored = stored
        self.number = number

    def __await__(self) -> Generator[Any, None, None]:
        # Others wait for the same commit.
        return asyncio.shield(self._stored).__await__()


class Row(msgspec.Struct):
    """A row of the table `task`."""

    job: str
    sequence: int | None
    received: float
    started: float | None
    ended: int
    body: bytes | None


class Batch:
    """Changes that are committed together, and what a reader must know of them until then.

    Attributes:
        stored: done when they are on the disk; has the error if they can't be.
        tasks: rows of tasks that are new, by job id.
        started: moments and job ids of other tasks that begin.
        ended: the job ids of tasks that end.
        events: the events that are recorded, each with its JSON, by number.
        struck: the numbers of events that are struck.
        others: statements that come last, with their values.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stored: asyncio.Future[None] = loop.create_future()
        self.tasks: dict[str, Row] = {}
        self.started: list[tuple[float, str]] = []
        self.ended: set[str] = set()
        self.events: dict[int, tuple[Event, bytes]] = {}
        self.struck: list[int] = []
        self.others: list[tuple[str, tuple[object, ...]]] = []

    def state_of(self, job_id: str) -> int | None:
        """Return what the column `ended` says of a task then, None where it stays as it is."""
        if job_id in self.ended:
            return ENDED
        row = self.tasks.get(job_id)
        return None if row is None else row.ended

    def write(self, database: sqlite3.Connection) -> None:
        """Write all changes, those of a kind together."""
        write = database.executemany
        if self.tasks:
            write(
                "INSERT OR IGNORE INTO task VALUES (?, ?, ?, ?, ?, ?)",
                [msgspec.structs.astuple(row) for row in self.tasks.values()],
            )
        if self.started:
            write("UPDATE task SET started = ? WHERE job = ?", self.started)
        if self.ended:
            write(
                f"UPDATE task SET ended = {ENDED}, body = NULL WHERE job = ?",
                [(job_id,) for job_id in self.ended],
            )
        if self.events:
            write(
                "INSERT INTO outbox VALUES (?, ?)",
                [(number, body) for number, (_, body) in self.events.items()],
            )
        strike(database, self.struck)
        for statement, values in self.others:
            database.execute(statement, values)

    def settle(self, error: BaseException | None) -> None:
        """Wake those who wait."""
        if error is None:
            self.stored.set_result(None)
        else:
            self.stored.set_exception(error)
            self.stored.exception()  # Perhaps nobody waits for it.


def strike(database: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Strike events by their numbers."""
    database.executemany("DELETE FROM outbox WHERE id = ?", [(number,) for number in numbers])
