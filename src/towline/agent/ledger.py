"""The ledger: what an agent has taken on, and which events it has not yet delivered."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from towline.wire.event import Event
from towline.wire.job import Job

SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    job TEXT PRIMARY KEY, sequence INTEGER, received REAL, started REAL,
    ended INTEGER DEFAULT 0, body BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS task_open ON task (job) WHERE ended = 0;
CREATE TABLE IF NOT EXISTS position (
    one INTEGER PRIMARY KEY CHECK (one = 1), stream TEXT, sequence INTEGER
);
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, body BLOB);
"""


ROOM = 256 * 1024
"""Bytes that must be free on the disk for the ledger to count as writable."""

REFUSED = 2
"""In `ended`: the task was cancelled before its job came."""


class Ledger:
    """The agent's own record, on the node's disk.

    Changes are made at once and count once `commit` has returned: then they are synced. What
    several tasks change in one turn of the event loop is synced together, by a thread of its own:
    a slow disk holds up nobody who doesn't wait for it.

    Args:
        path: the database file.
        thread: what commits; one of its own unless given.
    """

    def __init__(self, path: Path, thread: Executor | None = None) -> None:
        self._room = path.with_name(f"{path.name}.room")
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        self._database.execute("PRAGMA journal_mode = WAL")
        # In WAL mode only FULL syncs each commit: an acknowledged job survives a power cut.
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(SCHEMA)
        self._batch: asyncio.Future[None] | None = None
        self._committing: tuple[asyncio.Future[None], Future[None]] | None = None
        # Never used twice, whatever is undone: what is struck is struck by its number.
        self._number = self._database.execute("SELECT max(id) FROM outbox").fetchone()[0] or 0
        self._delivered: list[tuple[int]] = []
        self._shares_thread = thread is not None
        self._thread = thread or ThreadPoolExecutor(1, "ledger")
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._committing is not None:
            wait([self._committing[1]])
        if not self._shares_thread:
            self._thread.shutdown()
        batch, self._batch = self._batch, None
        if batch is not None:
            self._commit()
            batch.set_result(None)
        self._strike()
        self._database.close()

    async def trouble(self) -> str:
        """Return why the ledger's disk takes no more just now, or ""."""
        # What a file system says is cheap; what it then does is tried only once it has failed.
        if not self._failed and self._says_room():
            return ""
        trouble = await asyncio.get_running_loop().run_in_executor(self._thread, self._try_disk)
        self._failed = bool(trouble)
        return trouble

    def _says_room(self) -> bool:
        try:
            disk = os.statvfs(self._room.parent)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= ROOM and not disk.f_flag & os.ST_RDONLY

    def _try_disk(self) -> str:
        try:
            with self._room.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, ROOM)
        except OSError as error:
            return f"the ledger can't be written: {error.strerror}"
        finally:
            self._room.unlink(missing_ok=True)
        return ""

    # Changes

    async def commit(self) -> None:
        """Return when all changes made so far are on the disk.

        Raises:
            sqlite3.Error: they are not, and are undone: the disk is full, for example.
        """
        batch = self._batch or (self._committing and self._committing[0])
        if batch is not None:
            await asyncio.shield(batch)

    def _write(self, statement: str, *values: object) -> sqlite3.Cursor:
        if self._batch is None:
            if self._committing is not None:
                wait([self._committing[1]])
            self._database.execute("BEGIN IMMEDIATE")
            loop = asyncio.get_running_loop()
            self._batch = loop.create_future()
            loop.call_soon(self._end_batch)
        elif not self._database.in_transaction:
            # A full disk ends a transaction by itself: alone, this statement would count.
            raise sqlite3.OperationalError("what was to be written with this could not be")
        return self._database.execute(statement, values)

    def _end_batch(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:  # closed since
            return
        loop = asyncio.get_running_loop()
        work = self._thread.submit(self._commit)
        own = self._committing = (batch, work)

        def committed(_: Future[None]) -> None:
            loop.call_soon_threadsafe(self._committed, own)

        work.add_done_callback(committed)

    def _commit(self) -> None:
        try:
            self._database.execute("COMMIT")
        except sqlite3.Error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _committed(self, own: tuple[asyncio.Future[None], Future[None]]) -> None:
        if self._committing is own:
            self._committing = None
        batch, work = own
        error = work.exception()
        if error is None:
            batch.set_result(None)
        else:
            self._failed = True
            batch.set_exception(error)
            batch.exception()  # heard by whoever waits; perhaps nobody does

    def accept(self, job: Job, sequence: int | None = None) -> bool:
        """Take a job on; False where it was taken on before.

        Args:
            sequence: its place in the journal; None where other nodes could be delivered it too.
        """
        cursor = self._write(
            "INSERT OR IGNORE INTO task (job, sequence, received, body) VALUES (?, ?, ?, ?)",
            *(job.id, sequence, time.time(), msgspec.json.encode(job)),
        )
        return cursor.rowcount == 1

    def start(self, job_id: str, moment: float) -> None:
        """Record that a task begins; `moment` in seconds since 1970."""
        self._write("UPDATE task SET started = ? WHERE job = ?", moment, job_id)

    def end(self, event: Event) -> int:
        """Record that a task has ended, with the event that says how; return its number."""
        self.drop(event.job)
        return self.tell(event)

    def tell(self, event: Event) -> int:
        """Keep an event until it is delivered; return its number."""
        self._number += 1
        self._write("INSERT INTO outbox VALUES (?, ?)", self._number, msgspec.json.encode(event))
        self._strike()
        return self._number

    def refuse(self, job_id: str) -> None:
        """Remember a job that was cancelled before it came, so that it isn't begun when it does."""
        self._write(
            "INSERT OR IGNORE INTO task (job, received, ended) VALUES (?, ?, ?)",
            *(job_id, time.time(), REFUSED),
        )

    def drop(self, job_id: str) -> None:
        """Forget a task that another node has claimed; it stays known as ended."""
        self._write("UPDATE task SET ended = 1, body = NULL WHERE job = ?", job_id)

    def delivered(self, number: int) -> None:
        """Strike an event: JetStream has it.

        Written with the next event: losing it costs a second delivery, which changes nothing.
        """
        self._delivered.append((number,))

    def _strike(self) -> None:
        self._database.executemany("DELETE FROM outbox WHERE id = ?", self._delivered)
        self._delivered.clear()

    def forget(self, before: float) -> None:
        """Delete ended and refused tasks of before `before` (seconds since 1970).

        It must be further back than the journal keeps jobs, or one could be taken on again.
        """
        self._write("DELETE FROM task WHERE ended <> 0 AND received < ?", before)

    def settle(self, stream: str, sequence: int) -> None:
        """Learn that the broker will not deliver this node's jobs up to `sequence` again.

        Ended tasks of jobs that it said so of before are forgotten now: what it says of an
        acknowledgement reaches its disk a moment later.

        Args:
            stream: when the stream was made, as the broker says it: another one begins anew.
        """
        known = self.settled(stream) or 0
        self._write("REPLACE INTO position VALUES (1, ?, ?)", stream, max(known, sequence))
        # Those for any node come over a consumer that all nodes share: their age decides.
        self._write("DELETE FROM task WHERE ended = 1 AND sequence <= ?", known)

    # Questions

    def settled(self, stream: str) -> int | None:
        """Return up to where the broker will not deliver this node's jobs again.

        That is 0 where the last one known was of another stream, None where none was.
        """
        row = self._database.execute("SELECT stream, sequence FROM position").fetchone()
        if row is None:
            return None
        return int(row[1]) if row[0] == stream else 0

    def refused(self, job_id: str) -> bool:
        """Whether a job was cancelled before it came, and has not been told of since."""
        row = self._database.execute(
            "SELECT 1 FROM task WHERE job = ? AND ended = ?", (job_id, REFUSED)
        ).fetchone()
        return row is not None

    def unfinished(self) -> list[tuple[Job, float | None]]:
        """Return the tasks that have not ended, oldest first, each with when it was started."""
        rows = self._database.execute(
            "SELECT body, started FROM task WHERE ended = 0 ORDER BY received"
        )
        return [(msgspec.json.decode(body, type=Job), started) for body, started in rows]

    def undelivered(self, limit: int) -> list[tuple[int, Event]]:
        """Return the oldest events that JetStream doesn't have yet, with their numbers."""
        self._strike()
        rows = self._database.execute("SELECT id, body FROM outbox ORDER BY id LIMIT ?", (limit,))
        return [(number, msgspec.json.decode(body, type=Event)) for number, body in rows]
