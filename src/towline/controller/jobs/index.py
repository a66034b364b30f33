"""The index: a controller's queryable picture of the journal, in SQLite. Disposable."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import structlog

from towline.broker.journal import JOBS
from towline.controller.jobs.state import JobState, overall
from towline.wire.event import (
    BEGUN,
    CLAIMED,
    DELETED,
    PLANNED,
    RELEASED,
    RESULT_STATUS,
    UNFINISHED,
    WITHHELD,
    Event,
    PlannedNode,
)
from towline.wire.job import Job, first_id
from towline.wire.target import ANY

log = structlog.get_logger()

VERSION = 3
"""Raised whenever the tables change: an index of another version is built anew."""

APPLICATION = 0x746F776C
"""Marks the file as ours (SQLite's `application_id`)."""

_COUNTED = "operation, target, caller, status"


def _count(row: str, change: str) -> str:
    return f"""
        INSERT INTO tally
        VALUES ({row}.operation, {row}.target, {row}.caller, {row}.status, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs {change} 1;
    """


SCHEMA = f"""
CREATE TABLE job (
    sequence INTEGER PRIMARY KEY, id TEXT UNIQUE, created REAL, expires REAL, operation TEXT,
    target TEXT, caller TEXT, machine TEXT, status TEXT, done INTEGER, nodes TEXT, waves INTEGER,
    body BLOB
);
CREATE INDEX job_created ON job (created);
CREATE INDEX job_status ON job (status);
CREATE INDEX job_operation ON job (operation);
CREATE INDEX job_target ON job (target);
CREATE INDEX job_caller ON job (caller);
CREATE INDEX job_open ON job (expires) WHERE NOT done;
CREATE INDEX job_waves ON job (id) WHERE waves AND NOT done;
CREATE TABLE event (sequence INTEGER PRIMARY KEY, job TEXT, body BLOB);
CREATE INDEX event_job ON event (job);
CREATE TABLE task (
    job TEXT, machine TEXT, status TEXT, until REAL, PRIMARY KEY (job, machine)
) WITHOUT ROWID;
CREATE INDEX task_machine ON task (machine, job);
CREATE INDEX task_until ON task (until) WHERE until IS NOT NULL AND status = 'pending';
-- What nodes were given of jobs with waves, as their turn came.
CREATE TABLE turn (sequence INTEGER PRIMARY KEY, job TEXT, machine TEXT);
CREATE INDEX turn_job ON turn (job);
CREATE TABLE deleted (job TEXT PRIMARY KEY) WITHOUT ROWID;
-- How many jobs there are of each kind: counting them one by one would take too long.
CREATE TABLE tally (
    {_COUNTED}, jobs INTEGER, PRIMARY KEY ({_COUNTED})
) WITHOUT ROWID;
CREATE TRIGGER job_added AFTER INSERT ON job BEGIN {_count("new", "+")} END;
CREATE TRIGGER job_changed AFTER UPDATE OF status ON job WHEN new.status <> old.status BEGIN
    {_count("old", "-")} {_count("new", "+")}
END;
CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN {_count("old", "-")} END;
CREATE TRIGGER tally_changed AFTER UPDATE ON tally WHEN new.jobs = 0 BEGIN
    DELETE FROM tally WHERE ({_COUNTED}) = (new.operation, new.target, new.caller, new.status);
END;
CREATE TABLE position (stream TEXT PRIMARY KEY, created TEXT, sequence INTEGER);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""

_job = msgspec.json.Decoder(Job)
_event = msgspec.json.Decoder(Event)


class Filter(msgspec.Struct, frozen=True):
    """Which jobs are meant; None for any.

    Attributes:
        machine: a node that the job is for.
        since, until: seconds since 1970; made at `since` or later, before `until`.
    """

    status: str | None = None
    operation: str | None = None
    target: str | None = None
    caller: str | None = None
    machine: str | None = None
    since: float | None = None
    until: float | None = None

    def columns(self) -> dict[str, str]:
        """Return the values that columns of a job must have."""
        wanted = {name: getattr(self, name) for name in ("status", "operation", "target", "caller")}
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def counted(self) -> bool:
        """Whether the tally knows how many these are."""
        return self.machine is None and self.since is None and self.until is None


class Listed(msgspec.Struct, frozen=True):
    """A job in a list.

    Attributes:
        sequence: its place in the journal: what a page's cursor is.
        nodes: how many of its nodes have which status.
    """

    sequence: int
    job: Job
    status: str
    nodes: dict[str, int]


class JobStatus(msgspec.Struct, frozen=True):
    """How far a job is.

    Attributes:
        nodes: how many of its nodes have which status.
    """

    status: str
    done: bool
    nodes: dict[str, int]


class Index:
    """Jobs and events, folded from the streams.

    What arrives is kept in memory until it is asked for or `flush` is called: one transaction
    then takes them all. Nothing here is the only copy, so it isn't synced to the disk either: a
    damaged file is noticed when it is opened, said, and built anew.

    Args:
        path: the database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: list[tuple[int, Job, str | None, bytes]] = []
        self._events: list[tuple[int, Event, bytes]] = []
        self._turns: list[tuple[int, str, str]] = []
        self._positions: dict[str, int] = {}
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists() or self._path.stat().st_size == 0:
            log.info("index built anew", reason="there is none")
            return self._make()
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
        database = _prepared(sqlite3.connect(self._path, isolation_level=None))
        database.executescript(SCHEMA)
        return database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
        database = self._database
        if stream == JOBS:
            database.execute("DELETE FROM job")
            database.execute("DELETE FROM turn")
            return
        database.execute("DELETE FROM event")
        database.execute("DELETE FROM deleted")
        database.execute("DELETE FROM task")
        database.execute(
            "INSERT INTO task (job, machine, status)"
            " SELECT id, machine, 'pending' FROM job WHERE machine IS NOT NULL"
        )
        database.execute("UPDATE job SET status = 'submitted', done = 0, nodes = '{}'")

    def add_job(self, job: Job, machine: str | None, sequence: int, body: bytes) -> None:
        """Fold a job; `machine` is the only node it is for, where its subject says so."""
        self._jobs.append((sequence, job, machine, body))

    def add_turn(self, job_id: str, machine: str, sequence: int) -> None:
        """Fold that a node was given a job with waves."""
        self._turns.append((sequence, job_id, machine))

    def add_event(self, event: Event, sequence: int, body: bytes) -> None:
        """Fold an event; a second delivery of one changes nothing."""
        self._events.append((sequence, event, body))

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
        self._turns.clear()
        self._positions.clear()

    def _write(self) -> None:
        database = self._database
        database.executemany(
            "INSERT OR IGNORE INTO job SELECT ?, ?, ?, ?, ?, ?, ?, ?, 'submitted', 0, '{}', ?, ?"
            " WHERE NOT EXISTS (SELECT 1 FROM deleted WHERE job = ?2)",
            [
                (
                    *(sequence, job.id, job.created, job.expires, job.operation),
                    *(job.target, job.caller, machine, job.waves is not None, body),
                )
                for sequence, job, machine, body in self._jobs
            ],
        )
        database.executemany(
            "INSERT OR IGNORE INTO event VALUES (?, ?, ?)",
            [(sequence, event.job, body) for sequence, event, body in self._events],
        )
        database.executemany("INSERT OR IGNORE INTO turn VALUES (?, ?, ?)", self._turns)
        planned = [(job.id, machine, "pending") for _, job, machine, _ in self._jobs if machine]
        changed: list[tuple[str, str, str]] = []
        limited: list[tuple[str, str, float]] = []
        deleted: list[tuple[str]] = []
        for _, event, _ in self._events:
            if event.kind == PLANNED:
                planned += [
                    (event.job, node.machine, node.status if node.refused else "pending")
                    for node in event.nodes or []
                ]
            elif event.kind == WITHHELD:
                changed += [(event.job, node.machine, node.status) for node in event.nodes or []]
            elif event.kind == RELEASED and event.until is not None:
                limited += [(event.job, node.machine, event.until) for node in event.nodes or []]
            elif event.kind == DELETED:
                deleted.append((event.job,))
            elif event.kind in RESULT_STATUS:
                changed.append((event.job, event.machine, RESULT_STATUS[event.kind]))
            elif event.kind in BEGUN:
                changed.append((event.job, event.machine, "running"))
            elif event.kind == CLAIMED:
                planned.append((event.job, event.machine, "pending"))
        insert = "INTO task (job, machine, status) VALUES (?, ?, ?)"
        database.executemany(f"INSERT OR IGNORE {insert}", planned)
        database.executemany(
            f"INSERT {insert} ON CONFLICT DO UPDATE SET status = excluded.status"
            " WHERE status = 'pending' OR (status = 'running' AND excluded.status <> 'running')",
            changed,
        )
        database.executemany(
            "INSERT INTO task (job, machine, status, until) VALUES (?, ?, 'pending', ?)"
            " ON CONFLICT DO UPDATE SET until = excluded.until",
            limited,
        )
        self._delete(deleted)
        self._derive({job.id for _, job, _, _ in self._jobs} | {e.job for _, e, _ in self._events})
        database.executemany(
            "UPDATE position SET sequence = ? WHERE stream = ?",
            [(sequence, stream) for stream, sequence in self._positions.items()],
        )

    def _delete(self, jobs: list[tuple[str]]) -> None:
        if not jobs:
            return
        database = self._database
        database.executemany("INSERT OR IGNORE INTO deleted VALUES (?)", jobs)
        tables = (("job", "id"), ("event", "job"), ("task", "job"), ("turn", "job"))
        for table, column in tables:
            database.executemany(f"DELETE FROM {table} WHERE {column} = ?", jobs)

    def _derive(self, jobs: Iterable[str]) -> None:
        """Bring the status of jobs up to what their tasks say."""
        database, now = self._database, time.time()
        for job_id in jobs:
            row = database.execute(
                "SELECT sequence, expires, target FROM job WHERE id = ?", (job_id,)
            ).fetchone()
            if row is None:
                continue
            sequence, expires, target = row
            counts = dict(
                database.execute(
                    "SELECT iif(status = 'pending' AND until < ?, 'expired', status) AS now,"
                    " count(*) FROM task WHERE job = ? GROUP BY now",
                    (now, job_id),
                )
            )
            if target == ANY and not counts.keys() <= set(UNFINISHED):
                # Who began it, and died, doesn't count once another node has ended it.
                for status in UNFINISHED:
                    counts.pop(status, None)
            if now > expires:
                waiting = counts.pop("pending", 0) if counts else 1
                if waiting:
                    counts["expired"] = counts.get("expired", 0) + waiting
            done = bool(counts) and not any(status in counts for status in UNFINISHED)
            status = overall(counts, done=done)
            nodes = msgspec.json.encode(counts).decode()
            database.execute(
                "UPDATE job SET status = ?, done = ?, nodes = ? WHERE sequence = ?",
                (status, done, nodes, sequence),
            )

    def expire(self) -> None:
        """Bring jobs up to date that have expired since somebody looked."""
        self.flush()
        rows = self._database.execute(
            "SELECT id FROM job WHERE NOT done AND expires < ?1 UNION"
            " SELECT job.id FROM task JOIN job ON job.id = task.job"
            " WHERE task.status = 'pending' AND task.until < ?1 AND NOT job.done",
            (time.time(),),
        ).fetchall()
        if rows:
            with self._transaction():
                self._derive(job_id for (job_id,) in rows)

    def forget(self, before: float, *, jobs_from: int = 0, events_from: int = 0) -> int:
        """Delete jobs that the journal no longer holds; return how many.

        Args:
            before: seconds since 1970; what was made earlier goes.
            jobs_from, events_from: the streams' first sequences; a job that is no longer in the
                journal goes, and one whose oldest event is no longer there.
        """
        self.flush()
        oldest = first_id(before)
        database = self._database
        with self._transaction():
            gone = database.execute(
                "DELETE FROM job WHERE id < ? OR sequence < ?"
                " OR id IN (SELECT job FROM event WHERE sequence < ?) RETURNING id",
                (oldest, jobs_from, events_from),
            ).fetchall()
            for table in ("event", "task", "turn"):
                database.executemany(f"DELETE FROM {table} WHERE job = ?", gone)
                # By age too, since an event's job may be gone, or may never have come.
                database.execute(f"DELETE FROM {table} WHERE job < ?", (oldest,))
            database.execute("DELETE FROM event WHERE sequence < ?", (events_from,))
            database.execute("DELETE FROM turn WHERE sequence < ?", (jobs_from,))
            database.execute("DELETE FROM deleted WHERE job < ?", (oldest,))
        if gone:
            log.info("index pruned", jobs=len(gone))
        return len(gone)

    # Asking

    def find(
        self, job_id: str, hostnames: Mapping[str, str]
    ) -> tuple[JobState, list[Event]] | None:
        """Return a job's progress and its events in the order they were stored, or None.

        Args:
            hostnames: by machine id, for a node that has told nothing yet.
        """
        self.flush()
        row = self._database.execute(
            "SELECT body, machine FROM job WHERE id = ?", (job_id,)
        ).fetchone()
        if row is None:
            return None
        nodes = None
        if row[1] is not None:
            nodes = [PlannedNode(row[1], hostnames.get(row[1], row[1]))]
        progress = JobState(_job.decode(row[0]), nodes)
        events = [
            _event.decode(body)
            for (body,) in self._database.execute(
                "SELECT body FROM event WHERE job = ? ORDER BY sequence", (job_id,)
            )
        ]
        for event in events:
            progress.apply(event)
        return progress, events

    def jobs(
        self, wanted: Filter, *, limit: int, before: int | None = None, offset: int = 0
    ) -> list[Listed]:
        """Return jobs, the newest first.

        Args:
            before: the `sequence` of the last job of the page before.
            offset: how many to leave out.
        """
        self.flush()
        where, values = self._where(wanted)
        if before is not None:
            where.append("sequence < ?")
            values.append(before)
        rows = self._database.execute(
            f"SELECT sequence, body, status, nodes FROM job WHERE {' AND '.join(where) or 'TRUE'}"
            " ORDER BY sequence DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [
            Listed(sequence, _job.decode(body), status, msgspec.json.decode(nodes))
            for sequence, body, status, nodes in rows
        ]

    def _where(self, wanted: Filter) -> tuple[list[str], list[object]]:
        # The planner knows nothing of how rare a value is: all columns but that of the rarest are
        # kept from choosing the index.
        columns = wanted.columns()
        rarest = None
        if wanted.machine is None and columns:
            rarest = min(columns, key=lambda name: self._tally({name: columns[name]}))
        where = [f"{name} = ?" if name == rarest else f"+{name} = ?" for name in columns]
        values: list[object] = list(columns.values())
        if wanted.machine is not None:
            where.append("id IN (SELECT job FROM task WHERE task.machine = ?)")
            values.append(wanted.machine)
        for name, sign in (("since", ">="), ("until", "<")):
            moment = getattr(wanted, name)
            if moment is not None:
                where.append(f"created {sign} ?")
                values.append(moment)
        return where, values

    def count(self, wanted: Filter) -> int:
        """Return how many jobs there are."""
        self.flush()
        if wanted.counted:
            return self._tally(wanted.columns())
        where, values = self._where(wanted)
        (found,) = self._database.execute(
            f"SELECT count(*) FROM job WHERE {' AND '.join(where)}", values
        ).fetchone()
        return int(found)

    def _tally(self, columns: dict[str, str]) -> int:
        where = " AND ".join(f"{name} = ?" for name in columns) or "TRUE"
        (found,) = self._database.execute(
            f"SELECT total(jobs) FROM tally WHERE {where}", tuple(columns.values())
        ).fetchone()
        return int(found)

    def statuses(self) -> dict[str, int]:
        """Return how many jobs have which status."""
        self.flush()
        return dict(self._database.execute("SELECT status, sum(jobs) FROM tally GROUP BY status"))

    def sequence(self, job_id: str) -> int | None:
        """Return a job's place in the journal, or None where there is no such job."""
        self.flush()
        row = self._database.execute("SELECT sequence FROM job WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else int(row[0])

    def waves(self) -> list[str]:
        """Return the ids of the jobs with waves that go on."""
        self.flush()
        rows = self._database.execute("SELECT id FROM job WHERE waves AND NOT done ORDER BY id")
        return [job_id for (job_id,) in rows]

    def turns(self, job_id: str) -> dict[str, int]:
        """Return which machines were given a job with waves, each with its place in the journal."""
        self.flush()
        rows = self._database.execute("SELECT machine, sequence FROM turn WHERE job = ?", (job_id,))
        return dict(rows.fetchall())

    def deleted(self, job_id: str) -> bool:
        """Whether a job was there and has been deleted."""
        self.flush()
        row = self._database.execute("SELECT 1 FROM deleted WHERE job = ?", (job_id,)).fetchone()
        return row is not None

    def made(self, job_id: str) -> Job | None:
        """Return a job as it was made, or None where there is no such job."""
        self.flush()
        row = self._database.execute("SELECT body FROM job WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else _job.decode(row[0])

    def task_status(self, job_id: str, machine: str) -> str | None:
        """Return how far a job is on a node, or None where the node has no part in it."""
        self.flush()
        row = self._database.execute(
            "SELECT status FROM task WHERE job = ? AND machine = ?", (job_id, machine)
        ).fetchone()
        return None if row is None else str(row[0])

    def state(self, job_id: str) -> JobStatus | None:
        """Return how far a job is, or None where there is no such job."""
        self.flush()
        row = self._database.execute(
            "SELECT status, done, nodes FROM job WHERE id = ?", (job_id,)
        ).fetchone()
        return None if row is None else JobStatus(row[0], bool(row[1]), msgspec.json.decode(row[2]))

    def newest(self) -> list[int]:
        """Return the sequences of the newest job and the newest event."""
        self.flush()
        return [self._number(f"SELECT max(sequence) FROM {table}") for table in ("job", "event")]

    def before(self, job_id: str) -> list[int]:
        """Return the last sequences of jobs and events before those of `job_id` and later ones."""
        jobs, events = self.newest()
        first_job = self._number("SELECT min(sequence) FROM job WHERE id >= ?", job_id)
        first_event = self._number("SELECT min(sequence) FROM event WHERE job >= ?", job_id)
        return [first_job - 1 if first_job else jobs, first_event - 1 if first_event else events]

    def _number(self, question: str, *values: object) -> int:
        return int(self._database.execute(question, values).fetchone()[0] or 0)

    def jobs_after(self, sequence: int, limit: int) -> list[tuple[int, Job]]:
        """Return the jobs that the journal holds after `sequence`, with their sequences."""
        self.flush()
        rows = self._database.execute(
            "SELECT sequence, body FROM job WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (sequence, limit),
        )
        return [(number, _job.decode(body)) for number, body in rows]

    def events_after(
        self, sequence: int, limit: int, *, job_id: str | None = None
    ) -> list[tuple[int, Event]]:
        """Return the events that the journal holds after `sequence`, with their sequences."""
        self.flush()
        only, values = ("AND job = ?", (job_id,)) if job_id is not None else ("", ())
        rows = self._database.execute(
            f"SELECT sequence, body FROM event WHERE sequence > ? {only} ORDER BY sequence LIMIT ?",
            (sequence, *values, limit),
        )
        return [(number, _event.decode(body)) for number, body in rows]


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
