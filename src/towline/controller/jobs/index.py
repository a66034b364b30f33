"""The index: a controller's queryable picture of the journal, in SQLite. Disposable."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import Self

import msgspec
import structlog

from towline.broker.journal import CHANGES, place
from towline.controller.audit.entry import AUDIT, Entry
from towline.controller.jobs.idempotency import BEHIND
from towline.controller.jobs.state import JobState, overall
from towline.wire.event import DELETED, NOBODY, RELEASED, Event
from towline.wire.job import Job, PlannedNode, first_id

log = structlog.get_logger()

VERSION = 10
"""Raised whenever the tables change: an index of another version is built anew."""

APPLICATION = 0x746F776C
"""Marks the file as ours (SQLite's `application_id`)."""

SCHEMA = resources.files(__package__).joinpath("schema.sql").read_text()

_job = msgspec.json.Decoder(Job)
_event = msgspec.json.Decoder(Event)
_plan = msgspec.json.Decoder(list[PlannedNode])


class JobStatus(msgspec.Struct, frozen=True):
    """How far a job is.

    Attributes:
        changed: whether it has changed something anywhere; None where that is not known.
        nodes: how many of its nodes have which status.
    """

    status: str
    done: bool
    changed: bool | None
    nodes: dict[str, int]

    @classmethod
    def of(cls, state: JobState) -> JobStatus:
        """Return that of a job as it is folded."""
        # Counted once: thousands of tasks may be open, and this is written several times a second.
        counts, done = state.counts, state.done
        return cls(overall(counts, done=done), done, state.changed, counts)


class Index:
    """Jobs and events, folded from the streams.

    What arrives is kept in memory until it is asked for or `flush` is called: one transaction
    then takes them all. Nothing here is the only copy, so it isn't synced to the disk either: a
    damaged file is noticed when it is opened, said, and built anew.

    Attributes:
        version: rises whenever anything changes.

    Args:
        path: the database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.version = 0
        self._jobs: list[tuple[str, int, Job]] = []
        self._events: list[tuple[str, int, Event]] = []
        self._changed: dict[str, JobState] = {}
        self._positions: dict[str, int] = {}
        self._audit: list[tuple[int, Entry]] = []
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists() or self._path.stat().st_size == 0:
            log.info("index built anew", reason="there is none")
            return self._make()
        self._path.chmod(0o600)
        database = sqlite3.connect(self._path, isolation_level=None)
        problem = _problem(database)
        if problem is None:
            return _prepared(database)
        log.warning("index built anew", reason=problem)
        database.close()
        return self._make()

    def _make(self) -> sqlite3.Connection:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._path.touch(mode=0o600)  # SQLite gives the files beside it the same mode
        database = _prepared(sqlite3.connect(self._path, isolation_level=None))
        database.executescript(SCHEMA)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")
        return database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.flush()
        self._database.close()

    # Folding

    def position(self, stream: str, created: str, last: int) -> int:
        """Return the sequence that this index has folded `stream` up to.

        Args:
            created: when the stream was made, as the broker says it. A stream that was made
                anew, or that ends before our position, is another one: what was folded from the
                former is dropped.
            last: the stream's newest sequence.
        """
        database = self._database
        row = database.execute(
            "SELECT created, sequence FROM position WHERE stream = ?", (stream,)
        ).fetchone()
        if row is not None and row[0] == created and row[1] <= last:
            return int(row[1])
        with self._transaction():
            if row is not None:
                log.warning("index built anew", reason=f"the stream {stream} is another one now")
                self._drop(stream)
            database.execute("REPLACE INTO position VALUES (?, ?, 0)", (stream, created))
        return 0

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Make changes together, or none of them."""
        self._database.execute("BEGIN")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            # A full disk ends a transaction by itself.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _drop(self, stream: str) -> None:
        self.version += 1
        database = self._database
        if stream == AUDIT:
            database.execute("DELETE FROM audit")
        if stream == CHANGES:
            database.execute("DELETE FROM deleted")
        for table in ("plan", "task"):
            database.execute(
                f"DELETE FROM {table} WHERE job IN (SELECT id FROM job WHERE stream = ?)", (stream,)
            )
        for table in ("job", "event"):
            database.execute(f"DELETE FROM {table} WHERE stream = ?", (stream,))

    def add_job(self, job: Job, stream: str, place: int) -> None:
        """Fold a job; a second delivery of one changes nothing."""
        self.version += 1
        self._jobs.append((stream, place, job))

    def add_event(self, event: Event, stream: str, place: int) -> None:
        """Fold an event; a second delivery of one changes nothing.

        Nor does a report that is stored a second time, further on: a node that was not answered
        sends it again, and several controllers store it.
        """
        self.version += 1
        self._events.append((stream, place, event))

    def change(self, state: JobState) -> None:
        """Fold how far a job is by now, also when that changes again before it is written."""
        self._changed[state.job.id] = state

    def add_audit(self, sequence: int, entries: Sequence[Entry]) -> None:
        """Fold entries of the audit, and with them the message that they stand in."""
        self._audit += [(place(sequence, at), entry) for at, entry in enumerate(entries)]
        self.advance(AUDIT, sequence)

    def advance(self, stream: str, sequence: int) -> None:
        """Remember that `stream` is folded up to `sequence`."""
        self._positions[stream] = sequence

    def flush(self) -> None:
        """Write what has arrived, in one transaction."""
        if not self._positions:
            return
        with self._transaction():
            self._write()
        self._jobs.clear()
        self._events.clear()
        self._changed.clear()
        self._audit.clear()
        self._positions.clear()

    def _write(self) -> None:
        write = self._database.executemany
        encode = msgspec.json.encode
        statuses = {job_id: _status(state) for job_id, state in self._changed.items()}
        deleted = [(event.job,) for _, _, event in self._events if event.kind == DELETED]
        write("INSERT OR IGNORE INTO deleted VALUES (?)", deleted)
        write(
            "INSERT OR IGNORE INTO job SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
            " WHERE NOT EXISTS (SELECT 1 FROM deleted WHERE job = ?1)",
            [
                (
                    *(job.id, stream, place, job.created, job.expires, job.operation),
                    *(job.target, job.caller, *statuses.get(job.id, _NEW), encode(job.order)),
                )
                for stream, place, job in self._jobs
            ],
        )
        write(
            "INSERT OR IGNORE INTO plan VALUES (?, ?)",
            [(job.id, encode(job.plan)) for _, _, job in self._jobs],
        )
        write(
            "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?)",
            [
                (stream, place, event.job, body := encode(event), _mark(event, body))
                for stream, place, event in self._events
            ],
        )
        write(
            "INSERT OR IGNORE INTO task VALUES (?, ?)",
            [(job.id, node.machine) for _, _, job in self._jobs for node in job.plan]
            + [
                (event.job, node.machine)
                for _, _, event in self._events
                if event.kind == RELEASED
                for node in event.nodes or ()
            ],
        )
        write(
            "UPDATE job SET status = ?1, done = ?2, changed = ?3, nodes = ?4 WHERE id = ?5"
            # Most were written with their job: to write them again would be all its work once more.
            " AND (status, done, changed, nodes) IS NOT (?1, ?2, ?3, ?4)",
            [(*status, job_id) for job_id, status in statuses.items()],
        )
        write(
            "INSERT OR IGNORE INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(at, entry.id, entry.time, entry.caller, entry.operation, entry.status),
                    *(entry.job or None, encode(entry)),
                )
                for at, entry in self._audit
            ],
        )
        for table, column in (("job", "id"), ("plan", "job"), ("event", "job"), ("task", "job")):
            write(f"DELETE FROM {table} WHERE {column} = ?", deleted)
        write(
            "UPDATE position SET sequence = ? WHERE stream = ?",
            [(sequence, stream) for stream, sequence in self._positions.items()],
        )

    def write(self, changes: Mapping[str, Sequence[Sequence[object]]]) -> None:
        """Change what another part keeps here, in one transaction.

        Args:
            changes: by the statement in SQL, the values of each time that it is to be carried out.
        """
        with self._transaction():
            for statement, values in changes.items():
                self._database.executemany(statement, values)

    def forget(self, before: float, first: Mapping[str, int]) -> int:
        """Delete jobs that the journal no longer has; return how many.

        Args:
            before: seconds since 1970; what was made earlier goes.
            first: of each stream the first sequence; a job that stood before it goes.
        """
        self.flush()
        self.version += 1
        # An id may have been drawn some time before the job was made.
        oldest = first_id(before - BEHIND)
        database = self._database
        with self._transaction():
            gone = database.execute("DELETE FROM job WHERE created < ? RETURNING id", (before,))
            jobs = gone.fetchall()
            for stream, number in first.items():
                gone = database.execute(
                    "DELETE FROM job WHERE stream = ? AND place < ? RETURNING id",
                    (stream, place(number)),
                )
                jobs += gone.fetchall()
            for table in ("plan", "event", "task"):
                database.executemany(f"DELETE FROM {table} WHERE job = ?", jobs)
                # By age too, since an event's job may be gone, or may never have come.
                database.execute(f"DELETE FROM {table} WHERE job < ?", (oldest,))
            database.execute("DELETE FROM deleted WHERE job < ?", (oldest,))
        if jobs:
            log.info("index pruned", jobs=len(jobs))
        return len(jobs)

    def forget_audit(self, first: int) -> None:
        """Delete entries of the audit that stood before a sequence."""
        self.flush()
        self._database.execute("DELETE FROM audit WHERE place < ?", (place(first),))

    # Asking

    def query(self, question: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Return the rows that answer a question in SQL, of all that has been folded by now."""
        self.flush()
        return self._database.execute(question, values)

    def find(self, job_id: str, *, open_only: bool = False) -> tuple[JobState, list[Event]] | None:
        """Return the state of a job, and its events in the order they were stored, or None.

        Args:
            open_only: see `JobState`.
        """
        row = self.query(
            "SELECT job.body, plan.body FROM job JOIN plan ON plan.job = id WHERE id = ?", (job_id,)
        ).fetchone()
        if row is None:
            return None
        job = msgspec.structs.replace(_job.decode(row[0]), plan=_plan.decode(row[1]))
        state = JobState(job, open_only=open_only)
        # What was decided about a read stands in the other stream: always behind its own.
        rows = self.query(
            "SELECT stream, place, body FROM event WHERE job = ? ORDER BY stream DESC, place",
            (job_id,),
        )
        events = []
        for stream, at, body in rows:
            events.append(_event.decode(body))
            state.apply(events[-1], decided_at(stream, at))
        return state, events

    def open_jobs(self, stream: str) -> Iterator[JobState]:
        """Yield the jobs of a stream that go on, as far as they are."""
        rows = self.query(
            "SELECT id FROM job WHERE NOT done AND stream = ? ORDER BY id", (stream,)
        ).fetchall()
        for (job_id,) in rows:
            found = self.find(job_id, open_only=True)
            if found is not None:
                yield found[0]

    def over(self, job_id: str) -> bool:
        """Whether a job has ended or was deleted, as far as that is written by now."""
        row = self._database.execute(
            "SELECT 1 FROM job WHERE id = ?1 AND done "
            "UNION ALL SELECT 1 FROM deleted WHERE job = ?1",
            (job_id,),
        ).fetchone()
        return row is not None

    def deleted(self, job_id: str) -> bool:
        """Whether a job was there and has been deleted."""
        row = self.query("SELECT 1 FROM deleted WHERE job = ?", (job_id,)).fetchone()
        return row is not None

    def ending(self, short: str, most: int) -> list[str]:
        """Return ids of jobs that end with this, behind the last dash; those of `most` of them."""
        rows = self.query(
            "SELECT id FROM job WHERE substr(id, 25) = ? ORDER BY id LIMIT ?", (short, most)
        )
        return [job_id for (job_id,) in rows]

    def job(self, job_id: str) -> Job | None:
        """Return a job as it was made, without its plan, or None where there is no such job."""
        row = self.query("SELECT body FROM job WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else _job.decode(row[0])

    def has_task(self, job_id: str, machine: str) -> bool:
        """Whether a node has, or had, a part in a job."""
        row = self.query(
            "SELECT 1 FROM task WHERE job = ? AND machine = ?", (job_id, machine)
        ).fetchone()
        return row is not None

    def has_report(self, event: Event) -> bool:
        """Whether this very report is stored."""
        mark = _mark(event, msgspec.json.encode(event))
        row = self.query("SELECT 1 FROM event WHERE mark = ?", (mark,)).fetchone()
        return row is not None

    def status(self, job_id: str) -> JobStatus | None:
        """Return how far a job is, or None where there is no such job."""
        row = self.query(
            "SELECT status, done, changed, nodes FROM job WHERE id = ?", (job_id,)
        ).fetchone()
        if row is None:
            return None
        status, done, changed, nodes = row
        return JobStatus(status, bool(done), truth(changed), msgspec.json.decode(nodes))


_NEW = ("submitted", False, None, "{}")


def _status(state: JobState) -> tuple[str, bool, bool | None, str]:
    """Return how far a job is, as its row has it."""
    now = JobStatus.of(state)
    return now.status, now.done, now.changed, msgspec.json.encode(now.nodes).decode()


def truth(column: int | None) -> bool | None:
    """Return what SQLite keeps as a number; None where nothing is known."""
    return None if column is None else bool(column)


def decided_at(stream: str, place: int) -> int:
    """Return the place of a decision among its job's decisions, 0 for what is none of them.

    What a controller records of a read that it asks stands with the read, in the other stream.
    """
    return place if stream == CHANGES else 0


def _mark(event: Event, body: bytes) -> bytes | None:
    """Return what a report has that is stored twice, and no other event; None for decisions."""
    return None if event.machine == NOBODY else blake2b(body, digest_size=16).digest()


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = OFF")
    return database


def _problem(database: sqlite3.Connection) -> str | None:
    """Return why a file is no index to go on with, or None."""
    try:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (check,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    if application != APPLICATION:
        return "it is not an index"
    if version != VERSION:
        return f"it is of version {version}"
    return None if check == "ok" else str(check)
