"""The index: a controller's queryable picture of the journal, in SQLite. Disposable."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
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

SCHEMA = resources.files(__package__).joinpath("schema.sql").read_text()

_job = msgspec.json.Decoder(Job)
_event = msgspec.json.Decoder(Event)


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
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")
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
        """Fold that a node was sent a job with waves."""
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
        """Delete jobs that the journal no longer has; return how many.

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

    def query(self, question: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Return the rows that answer a question in SQL, of all that has been folded by now."""
        self.flush()
        return self._database.execute(question, values)

    def find(
        self, job_id: str, hostnames: Mapping[str, str]
    ) -> tuple[JobState, list[Event]] | None:
        """Return the state of a job, and its events in the order they were stored, or None.

        Args:
            hostnames: by machine id, for a node that has reported nothing yet.
        """
        row = self.query("SELECT body, machine FROM job WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            return None
        nodes = None
        if row[1] is not None:
            nodes = [PlannedNode(row[1], hostnames.get(row[1], row[1]))]
        state = JobState(_job.decode(row[0]), nodes)
        events = [
            _event.decode(body)
            for (body,) in self.query(
                "SELECT body FROM event WHERE job = ? ORDER BY sequence", (job_id,)
            )
        ]
        for event in events:
            state.apply(event)
        return state, events

    def sequence(self, job_id: str) -> int | None:
        """Return a job's place in the journal, or None where there is no such job."""
        row = self.query("SELECT sequence FROM job WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else int(row[0])

    def open_rollouts(self) -> list[str]:
        """Return the ids of the jobs with waves that go on."""
        rows = self.query("SELECT id FROM job WHERE waves AND NOT done ORDER BY id")
        return [job_id for (job_id,) in rows]

    def turns(self, job_id: str) -> dict[str, int]:
        """Return which machines were sent a job with waves, each with its place in the journal."""
        rows = self.query("SELECT machine, sequence FROM turn WHERE job = ?", (job_id,))
        return dict(rows.fetchall())

    def deleted(self, job_id: str) -> bool:
        """Whether a job was there and has been deleted."""
        row = self.query("SELECT 1 FROM deleted WHERE job = ?", (job_id,)).fetchone()
        return row is not None

    def job(self, job_id: str) -> Job | None:
        """Return a job as it was made, or None where there is no such job."""
        row = self.query("SELECT body FROM job WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else _job.decode(row[0])

    def task_status(self, job_id: str, machine: str) -> str | None:
        """Return how far a job is on a node, or None where the node has no part in it."""
        row = self.query(
            "SELECT status FROM task WHERE job = ? AND machine = ?", (job_id, machine)
        ).fetchone()
        return None if row is None else str(row[0])

    def status(self, job_id: str) -> JobStatus | None:
        """Return how far a job is, or None where there is no such job."""
        row = self.query("SELECT status, done, nodes FROM job WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else JobStatus(row[0], bool(row[1]), msgspec.json.decode(row[2]))


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
