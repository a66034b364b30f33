"""The ledger: what an agent has accepted, and which events it has not yet delivered."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import structlog

from towline.agent.changes import ENDED, OPEN, REFUSED, Batch, Change, Row, strike
from towline.agent.disk import Disk
from towline.errors import TowlineError
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.event import Event
from towline.wire.job import Job

log = structlog.get_logger()

_job = Decoder(Job)
_event = Decoder(Event)

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

RETRY_EVERY = 1.0
"""Seconds between attempts to write what has to be written."""


class Ledger:
    """The agent's own record, on the node's disk.

    Changes are only collected by the one who makes them. A thread writes them: those of one turn
    of the event loop, or that came while it wrote the last ones, are synced together. So a slow
    disk delays nobody who doesn't wait for it. What is asked of the ledger is answered with the
    changes that were made before, on the disk or not.

    Args:
        path: the database file.
        thread: what writes; a thread of its own unless given.
        retry_every: seconds between attempts of `persist`.

    Raises:
        TowlineError: the file can't be opened.
    """

    def __init__(
        self, path: Path, thread: Executor | None = None, *, retry_every: float = RETRY_EVERY
    ) -> None:
        self.retry_every = retry_every
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._database.execute("PRAGMA journal_mode = WAL")
            # In WAL mode only FULL syncs each commit: an acknowledged job survives a power cut.
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(SCHEMA)
            # A connection of its own, which in WAL mode waits for no commit of another one.
            self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._reader.execute("PRAGMA query_only = ON")
            newest = self._reader.execute("SELECT max(id) FROM outbox").fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            raise TowlineError(f"The ledger {str(path)!r} can't be opened.", str(error)) from error
        # Never used twice, whatever is undone: what is struck is struck by its number.
        self._number: int = newest or 0
        self._struck: set[int] = set()
        self._collecting: Batch | None = None
        self._committing: tuple[Batch, Future[None]] | None = None
        self._shares_thread = thread is not None
        self._thread = thread or ThreadPoolExecutor(1, "ledger")
        self._disk = Disk(path.with_name(f"{path.name}.room"), self._thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._committing is not None:
            batch, work = self._committing
            wait([work])
            if work.exception() is None:
                self._struck.difference_update(batch.struck)
        if not self._shares_thread:
            self._thread.shutdown()
        last, self._collecting = self._collecting, None
        failed: sqlite3.Error | None = None
        try:
            if last is not None:
                last.struck = list(self._struck)
                self._write(last.write)
            elif self._struck:
                self._write(lambda database: strike(database, self._struck))
        except sqlite3.Error as failure:
            log.error("last changes of the ledger not written", reason=str(failure))
            failed = failure
        if last is not None:
            last.settle(failed)
        self._reader.close()
        self._database.close()

    async def trouble(self) -> str:
        """Return why the ledger's disk takes no more at this moment, or ""."""
        return await self._disk.trouble()

    # Changes

    async def persist(self, change: Callable[[], Change], job_id: str) -> Change:
        """Make a change again and again until it is on the disk, and return it then.

        Args:
            change: makes it.
            job_id: the job that it is about, for the log.
        """
        while True:
            try:
                made = change()
                await made
                return made
            except sqlite3.Error as error:
                log.error("change not written yet", job=job_id, reason=str(error))
                await asyncio.sleep(self.retry_every)

    def accept(self, job: Job, *, received: float, sequence: int | None = None) -> Change | None:
        """Accept a job; return None where it was accepted before.

        Args:
            received: when, in seconds since 1970, by the broker's clock.
            sequence: its place in the journal; None where other nodes could be delivered it too.

        Raises:
            sqlite3.Error: it can't be read whether it was.
        """
        if self._state_of(job.id) is not None:
            return None
        batch = self._batch()
        body = msgspec.json.encode(job)
        batch.tasks[job.id] = Row(job.id, sequence, received, None, OPEN, body)
        return Change(batch.stored)

    def start(self, job_id: str, moment: float) -> Change:
        """Record that a task begins; `moment` in seconds since 1970."""
        batch = self._batch()
        if job_id in batch.tasks:
            batch.tasks[job_id].started = moment
        else:
            batch.started.append((moment, job_id))
        return Change(batch.stored)

    def end(self, event: Event) -> Change:
        """Record that a task has ended, with the event that says how."""
        self.drop(event.job)
        return self.record(event)

    def record(self, event: Event) -> Change:
        """Keep an event until it is delivered."""
        body = msgspec.json.encode(event)
        self._number += 1
        batch = self._batch()
        batch.events[self._number] = (event, body)
        return Change(batch.stored, self._number)

    def refuse(self, job_id: str, *, received: float) -> Change:
        """Remember a job that was cancelled before it came, so that it isn't begun when it does.

        Args:
            received: when the cancellation came, in seconds since 1970, by the broker's clock.

        Raises:
            sqlite3.Error: it can't be read whether the job was accepted.
        """
        known = self._state_of(job_id) is not None
        batch = self._batch()
        if not known:
            batch.tasks[job_id] = Row(job_id, None, received, None, REFUSED, None)
        return Change(batch.stored)

    def drop(self, job_id: str) -> Change:
        """Forget a task that another node has claimed; it stays known as ended."""
        batch = self._batch()
        batch.ended.add(job_id)
        return Change(batch.stored)

    def delivered(self, number: int) -> None:
        """Strike an event: the journal has it.

        Written with the next change: losing it costs a second delivery, which changes nothing.
        """
        self._struck.add(number)

    def forget(self, before: float) -> Change:
        """Delete ended and refused tasks that were received before `before` (seconds since 1970).

        It must be further back than the journal keeps jobs, or one could be accepted again.
        """
        return self._change("DELETE FROM task WHERE ended <> ? AND received < ?", OPEN, before)

    def settle(self, stream: str, sequence: int) -> Change:
        """Record that the broker will not deliver this node's jobs up to `sequence` again.

        Ended tasks of jobs of which that was recorded before are forgotten now: what the broker
        says of an acknowledgement reaches its disk a moment later.

        Args:
            stream: when the stream was made, as the broker says it: another one begins anew.
        """
        known = "coalesce((SELECT sequence FROM position WHERE stream = ?), 0)"
        # Those for any node come over a consumer that all nodes share: their age decides.
        self._change(f"DELETE FROM task WHERE ended = ? AND sequence <= {known}", ENDED, stream)
        return self._change(
            f"REPLACE INTO position VALUES (1, ?, max(?, {known}))", stream, sequence, stream
        )

    def _change(self, statement: str, *values: object) -> Change:
        batch = self._batch()
        batch.others.append((statement, values))
        return Change(batch.stored)

    def _batch(self) -> Batch:
        """Return the changes that are being collected."""
        if self._collecting is None:
            loop = asyncio.get_running_loop()
            self._collecting = Batch(loop)
            if self._committing is None:
                loop.call_soon(self._commit)
        return self._collecting

    def _commit(self) -> None:
        """Have the thread write what was collected."""
        batch = self._collecting
        if batch is None:  # Closed since.
            return
        loop = asyncio.get_running_loop()
        batch.struck = list(self._struck)
        work = self._thread.submit(self._write, batch.write)
        self._collecting, self._committing = None, (batch, work)

        def written(work: Future[None]) -> None:
            with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile.
                loop.call_soon_threadsafe(self._committed, batch, work)

        work.add_done_callback(written)

    def _write(self, write: Callable[[sqlite3.Connection], None]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            write(self._database)
            self._database.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction by itself.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _committed(self, batch: Batch, work: Future[None]) -> None:
        error = work.exception()
        self._committing = None
        if error is None:
            self._struck.difference_update(batch.struck)
        else:
            self._disk.failed = True
        batch.settle(error)
        if self._collecting is not None:
            self._commit()

    # Questions

    def _pending(self) -> list[Batch]:
        """Return what is not on the disk, or not known to be, the oldest first."""
        batches = [] if self._committing is None else [self._committing[0]]
        return batches if self._collecting is None else [*batches, self._collecting]

    def _state_of(self, job_id: str) -> int | None:
        """Return what `ended` says of a task, None where there is none."""
        for batch in reversed(self._pending()):
            state = batch.state_of(job_id)
            if state is not None:
                return state
        row = self._reader.execute("SELECT ended FROM task WHERE job = ?", (job_id,)).fetchone()
        return None if row is None else int(row[0])

    def settled(self, stream: str) -> int | None:
        """Return up to where, on the disk, the broker will not deliver this node's jobs again.

        That is 0 where the last one known was of another stream, None where none was.

        Raises:
            sqlite3.Error: it can't be read.
        """
        row = self._reader.execute("SELECT stream, sequence FROM position").fetchone()
        if row is None:
            return None
        return int(row[1]) if row[0] == stream else 0

    def refused(self, job_id: str) -> bool:
        """Return whether a job was cancelled before it came, and no end of it was recorded since.

        Raises:
            sqlite3.Error: it can't be read.
        """
        return self._state_of(job_id) == REFUSED

    async def unfinished(self) -> list[tuple[Job, float | None]]:
        """Return the tasks that have not ended, oldest first, each with when it was started.

        Raises:
            sqlite3.Error: they can't be read.
        """
        for batch in self._pending():
            with contextlib.suppress(sqlite3.Error):
                await Change(batch.stored)
        rows = self._reader.execute(
            f"SELECT job, body, started FROM task WHERE ended = {OPEN} ORDER BY received"
        ).fetchall()
        found = []
        for job_id, body, started in rows:
            try:
                found.append((_job.decode(body), started))
            except Unreadable as error:
                log.error("job in the ledger not readable", job=job_id, reason=str(error))
        return found

    def undelivered(self, limit: int) -> list[tuple[int, Event]]:
        """Return the oldest events that the journal doesn't have yet, with their numbers.

        Raises:
            sqlite3.Error: they can't be read.
        """
        rows = self._reader.execute(
            "SELECT id, body FROM outbox ORDER BY id LIMIT ?", (limit + len(self._struck),)
        ).fetchall()
        found: dict[int, Event] = {}
        unreadable = set()
        for number, body in rows:
            if number in self._struck:
                continue
            try:
                found[number] = _event.decode(body)
            except Unreadable as error:
                log.error("event in the ledger not readable", body=body, reason=str(error))
                unreadable.add(number)
        if unreadable:
            # No journal could take them, and others wait behind them.
            self._struck |= unreadable
            return self.undelivered(limit)
        for batch in self._pending():
            found |= {number: event for number, (event, _) in batch.events.items()}
        waiting = [entry for entry in found.items() if entry[0] not in self._struck]
        return waiting[:limit]
