"""Changes of the ledger, collected until they are written together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Generator, Iterable
from typing import Any

import msgspec

from towline.wire.event import RESULT_STATUS, Event

OPEN, ENDED = 0, 1
"""In the column `state`."""
ABSENT = -1
"""Stands for the state of a task that was there and is dropped."""


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
    """A row of the table `task`; see `towline.agent.ledger.storage`."""

    job: str
    created: float
    expires: float
    started: float | None
    state: int
    release: bytes | None
    ended: bytes | None


class Batch:
    """Changes that are committed together, and what a reader must know of them until then.

    Attributes:
        stored: done when they are on the disk; has the error if they can't be.
        dropped: the job ids of tasks that are dropped, before all else is written.
        tasks: rows of tasks that are new, by job id.
        started: moments and job ids of other tasks that begin.
        ended: rows of tasks that end, by job id.
        events: the events that are recorded, each with its JSON, by number.
        struck: the numbers of events that are struck.
        values: what is known of the ledger itself, by name.
        others: statements that come last, with their values.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stored: asyncio.Future[None] = loop.create_future()
        self.dropped: set[str] = set()
        self.tasks: dict[str, Row] = {}
        self.started: list[tuple[float, str]] = []
        self.ended: dict[str, Row] = {}
        self.events: dict[int, tuple[Event, bytes]] = {}
        self.struck: list[int] = []
        self.values: dict[str, object] = {}
        self.others: list[tuple[str, tuple[object, ...]]] = []

    def state_of(self, job_id: str) -> int | None:
        """Return the state of a task then, None where that stays as it is."""
        if job_id in self.ended:
            return ENDED
        if job_id in self.tasks:
            return OPEN
        return ABSENT if job_id in self.dropped else None

    def write(self, database: sqlite3.Connection) -> None:
        """Write all changes, those of a kind together."""
        write = database.executemany
        if self.dropped:
            write("DELETE FROM task WHERE job = ?", [(job_id,) for job_id in self.dropped])
        if self.tasks:
            write(
                "INSERT OR IGNORE INTO task VALUES (?, ?, ?, ?, ?, ?, ?)",
                [msgspec.structs.astuple(row) for row in self.tasks.values()],
            )
        if self.started:
            write("UPDATE task SET started = ? WHERE job = ?", self.started)
        if self.ended:
            write(
                "INSERT INTO task VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job) DO UPDATE "
                "SET state = excluded.state, release = NULL, ended = excluded.ended",
                [msgspec.structs.astuple(row) for row in self.ended.values()],
            )
        if self.events:
            write(
                "INSERT INTO outbox VALUES (?, ?, ?, ?)",
                [
                    (number, event.job, event.kind in RESULT_STATUS, body)
                    for number, (event, body) in self.events.items()
                ],
            )
        strike(database, self.struck)
        if self.values:
            write("REPLACE INTO meta VALUES (?, ?)", list(self.values.items()))
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
