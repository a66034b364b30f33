"""The ledger: what an agent has accepted, how it ended, and which reports are not yet received."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog

from towline.agent.ledger.changes import ABSENT, ENDED, OPEN, Batch, Change, Row, strike
from towline.agent.ledger.disk import Disk
from towline.agent.ledger.storage import open_database
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.event import RESULT_STATUS, Event
from towline.wire.release import Release

log = structlog.get_logger()

_release = Decoder(Release)
_event = Decoder(Event)

BORN, START, FORGOTTEN = "born", "start", "forgotten"
"""Names in `meta`: when the ledger was first used, by the controllers' clock; what the agent drew
at its last start; the highest `expires` of all tasks that were forgotten."""

RETRY_EVERY = 1.0
"""Seconds between attempts to write what has to be written."""


class Unfinished(msgspec.Struct, frozen=True):
    """A task that has not ended.

    Attributes:
        release: with which it came; None where that can't be read back.
        started: when it began, in seconds since 1970; None where it has not.
    """

    job: str
    created: float
    expires: float
    release: Release | None
    started: float | None


class Ledger:
    """The agent's own record, on the node's disk.

    Changes are only collected by the one who makes them. A thread writes them: those of one turn
    of the event loop, or that came while it wrote the last ones, are synced together. So a slow
    disk delays nobody who doesn't wait for it. What is asked of the ledger is answered with the
    changes that were made before, on the disk or not.

    Attributes:
        born: when it was first used, by the controllers' clock; None before that.
        last_start: what the agent had drawn at its last start; "" where none is known.

    Args:
        path: the database file.
        thread: what writes; a thread of its own unless given.
        retry_every: seconds between attempts of `persist`.

    Raises:
        TowlineError: the file can't be opened, or is of another version.
    """

    def __init__(
        self, path: Path, thread: Executor | None = None, *, retry_every: float = RETRY_EVERY
    ) -> None:
        self.retry_every = retry_every
        self._database, self._reader = open_database(path)
        known = dict(self._read("SELECT name, value FROM meta"))
        self.born: float | None = known.get(BORN)
        self.last_start: str = known.get(START, "")
        # Never used twice, whatever is undone: what is struck is struck by its number.
        self._number: int = self._read("SELECT max(id) FROM outbox")[0][0] or 0
        self._struck: set[int] = set()
        self._values: dict[str, object] = {}
        """Of `meta`, that are not on the disk."""
        self._collecting: Batch | None = None
        self._committing: tuple[Batch, Future[None]] | None = None
        self._shares_thread = thread is not None
        self._thread = thread or ThreadPoolExecutor(1, "ledger")
        self._disk = Disk(path.with_name(f"{path.name}.room"), self._thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._committing is not None:
            batch, work = self._committing
            wait([work])
            if work.exception() is None:
                self._written(batch)
        if not self._shares_thread:
            self._thread.shutdown()
        last, self._collecting = self._collecting, None
        failed: sqlite3.Error | None = None
        try:
            if last is not None:
                last.struck, last.values = list(self._struck), self._values
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

    def begin(self, start: str) -> Change:
        """Record what the agent has drawn at this start."""
        return self._note(START, start)

    def use(self, moment: float) -> None:
        """Record since when the ledger is used, unless that was recorded before.

        Args:
            moment: seconds since 1970, by the controllers' clock.
        """
        if self.born is None:
            self.born = moment
            self._note(BORN, moment)

    def accept(self, release: Release) -> Change | None:
        """Accept a task, without what is secret or soon out of date; None where it is known.

        Raises:
            sqlite3.Error: it can't be read whether it is.
        """
        job = release.job
        assert job is not None
        if self.state_of(job.id) is not None:
            return None
        kept = msgspec.structs.replace(release, supply=None, cooldown=None)
        body = msgspec.json.encode(kept)
        batch = self._batch()
        batch.tasks[job.id] = Row(job.id, job.created, until(release), None, OPEN, body, None)
        return Change(batch.stored)

    def start(self, job_id: str, moment: float) -> Change:
        """Record that a task begins; `moment` in seconds since 1970."""
        batch = self._batch()
        if job_id in batch.tasks:
            batch.tasks[job_id].started = moment
        else:
            batch.started.append((moment, job_id))
        return Change(batch.stored)

    def end(self, event: Event, *, created: float, expires: float) -> Change:
        """Record that a task has ended, known before or not, with the event that says how.

        Args:
            created, expires: of a task that was not known: its job's, in seconds since 1970.
        """
        made = self.record(event)
        body = self._batch().events[made.number][1]
        row = Row(event.job, created, expires, None, ENDED, None, body)
        self._batch().ended[event.job] = row
        return made

    def record(self, event: Event) -> Change:
        """Keep an event until it is received."""
        body = msgspec.json.encode(event)
        self._number += 1
        batch = self._batch()
        batch.events[self._number] = (event, body)
        return Change(batch.stored, self._number)

    def drop(self, job_id: str) -> Change:
        """Forget a task that was not begun and is not to be."""
        batch = self._batch()
        batch.tasks.pop(job_id, None)
        batch.dropped.add(job_id)
        return Change(batch.stored)

    def delivered(self, number: int) -> None:
        """Strike an event: a controller has stored it.

        Written with the next change: losing it costs a second report, which changes nothing.
        """
        self._struck.add(number)

    def forget(self, now: float) -> Change:
        """Delete ended tasks that have expired and whose ends are received.

        A job that expires no later than the last of them is taken for one of them from then on.
        That holds whatever the clock showed when they were deleted.

        Args:
            now: seconds since 1970, by the controllers' clock.
        """
        which = f"state = {ENDED} AND expires <= ? AND job NOT IN (SELECT job FROM outbox)"
        batch = self._batch()
        batch.others += [
            (
                f"INSERT INTO meta SELECT '{FORGOTTEN}', max(expires) FROM task WHERE {which} "
                "HAVING count(*) ON CONFLICT (name) DO UPDATE "
                "SET value = max(value, excluded.value)",
                (now,),
            ),
            (f"DELETE FROM task WHERE {which}", (now,)),
        ]
        return Change(batch.stored)

    def _note(self, name: str, value: object) -> Change:
        self._values[name] = value
        return Change(self._batch().stored)

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
        batch.struck, batch.values = list(self._struck), dict(self._values)
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
            self._written(batch)
        else:
            self._disk.failed = True
        batch.settle(error)
        if self._collecting is not None:
            self._commit()

    def _written(self, batch: Batch) -> None:
        self._struck.difference_update(batch.struck)
        for name, value in batch.values.items():
            if self._values.get(name) == value:
                del self._values[name]

    # Questions

    def _pending(self) -> list[Batch]:
        """Return what is not on the disk, or not known to be, the oldest first."""
        batches = [] if self._committing is None else [self._committing[0]]
        return batches if self._collecting is None else [*batches, self._collecting]

    def _read(self, query: str, *values: object) -> list[Any]:
        return self._reader.execute(query, values).fetchall()

    def state_of(self, job_id: str) -> int | None:
        """Return whether a task is open or ended, None where there is none.

        Raises:
            sqlite3.Error: it can't be read.
        """
        for batch in reversed(self._pending()):
            state = batch.state_of(job_id)
            if state is not None:
                return None if state == ABSENT else state
        rows = self._read("SELECT state FROM task WHERE job = ?", job_id)
        return int(rows[0][0]) if rows else None

    def end_of(self, job_id: str) -> Event | None:
        """Return the event that ended a task; None where none did, or it can't be read back.

        Raises:
            sqlite3.Error: the ledger can't be read.
        """
        for batch in reversed(self._pending()):
            if job_id in batch.ended:
                return _event.decode(batch.ended[job_id].ended or b"")
        rows = self._read(
            "SELECT CAST(ended AS BLOB) FROM task WHERE job = ? AND state = ?", job_id, ENDED
        )
        try:
            return _event.decode(rows[0][0] or b"") if rows else None
        except Unreadable as error:
            log.error("event in the ledger not readable", job=job_id, reason=str(error))
            return None

    def forgotten(self, expires: float) -> bool:
        """Return whether a task that isn't known may be one that has ended and was forgotten.

        Args:
            expires: see `until`.

        Raises:
            sqlite3.Error: it can't be read.
        """
        rows = self._read("SELECT value FROM meta WHERE name = ?", FORGOTTEN)
        return bool(rows) and expires <= rows[0][0]

    def held(self, limit: int) -> list[str]:
        """Return the ids of the jobs whose tasks are open, or whose ends are not received yet.

        Args:
            limit: how many at most.

        Raises:
            sqlite3.Error: they can't be read.
        """
        pending = self._pending()
        more = limit + len(self._struck) + sum(len(each.ended) for each in pending)
        found = dict.fromkeys(
            job for (job,) in self._read(f"SELECT job FROM task WHERE state = {OPEN} LIMIT ?", more)
        )
        ends = dict(self._read("SELECT id, job FROM outbox WHERE ends LIMIT ?", more))
        for batch in pending:
            for job in (*batch.dropped, *batch.ended):
                found.pop(job, None)
            found |= dict.fromkeys(batch.tasks.keys() - batch.ended.keys())
            ends |= {
                number: event.job
                for number, (event, _) in batch.events.items()
                if event.kind in RESULT_STATUS
            }
        found |= dict.fromkeys(job for number, job in ends.items() if number not in self._struck)
        return list(found)[:limit]

    async def unfinished(self) -> list[Unfinished]:
        """Return the tasks that have not ended, those of the oldest jobs first.

        Raises:
            sqlite3.Error: they can't be read.
        """
        for batch in self._pending():
            with contextlib.suppress(sqlite3.Error):
                await Change(batch.stored)
        found = []
        for job_id, created, expires, body, started in self._read(
            "SELECT job, created, expires, CAST(release AS BLOB), started FROM task "
            f"WHERE state = {OPEN} ORDER BY created, job"
        ):
            try:
                release = _release.decode(body or b"")
            except Unreadable as error:
                log.error("task in the ledger not readable", job=job_id, reason=str(error))
                release = None
            if release is not None and (release.job is None or release.id != job_id):
                release = None
            found.append(Unfinished(job_id, created, expires, release, started))
        return found

    def undelivered(self, limit: int, apart: Collection[int] = ()) -> list[tuple[int, Event]]:
        """Return the oldest events that no controller has stored yet, with their numbers.

        Args:
            apart: numbers of events that are left out.

        Raises:
            sqlite3.Error: they can't be read.
        """
        rows = self._read(
            "SELECT id, CAST(body AS BLOB) FROM outbox ORDER BY id LIMIT ?",
            limit + len(self._struck) + len(apart),
        )
        found: dict[int, Event] = {}
        unreadable = set()
        for number, body in rows:
            if number in self._struck or number in apart:
                continue
            try:
                found[number] = _event.decode(body)
            except Unreadable as error:
                log.error("event in the ledger not readable", body=body, reason=str(error))
                unreadable.add(number)
        if unreadable:
            # No controller could take them, and others wait behind them.
            self._struck |= unreadable
            return self.undelivered(limit, apart)
        for batch in self._pending():
            found |= {number: event for number, (event, _) in batch.events.items()}
        left_out = self._struck.union(apart)
        return [entry for entry in found.items() if entry[0] not in left_out][:limit]


def until(release: Release) -> float:
    """Return until when the ledger keeps the end of a task, in seconds since 1970.

    A later release of the same task may have a later end of its turn, but none past the job's.
    """
    return release.expires if release.job is None else max(release.expires, release.job.expires)
