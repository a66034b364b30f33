"""The index: a controller's queryable picture of the journal, in SQLite. Disposable."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import structlog

from towline.job import Event, Job, PlannedNode, Progress, first_id
from towline.journal import EVENTS, JOBS

log = structlog.get_logger()

VERSION = 1
"""Raised whenever the tables change: an index of another version is built anew."""

APPLICATION = 0x746F776C
"""Marks the file as ours (SQLite's `application_id`)."""

SCHEMA = f"""
CREATE TABLE job (
    id TEXT PRIMARY KEY, created REAL, operation TEXT, target TEXT, caller TEXT,
    machine TEXT, body BLOB
) WITHOUT ROWID;
CREATE INDEX job_created ON job (created);
CREATE TABLE event (
    job TEXT, machine TEXT, kind TEXT, sequence INTEGER, body BLOB,
    PRIMARY KEY (job, machine, kind)
) WITHOUT ROWID;
CREATE TABLE position (stream TEXT PRIMARY KEY, created TEXT, sequence INTEGER);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""

TABLES = {JOBS: "job", EVENTS: "event"}
"""Where each stream is folded to."""

_job = msgspec.json.Decoder(Job)
_event = msgspec.json.Decoder(Event)


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
        self._jobs: list[tuple[str, float, str, str, str, str | None, bytes]] = []
        self._events: list[tuple[str, str, str, int, bytes]] = []
        self._positions: dict[str, int] = {}
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists() or self._path.stat().st_size == 0:
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

    def position(self, stream: str, created: str, last: int) -> int:
        """Return the sequence that this index has folded `stream` up to.

        Args:
            created: when the stream was made, as the broker says it. A stream that was made
                anew, or that ends before our position, is another one: what was folded from the
                former is dropped.
            last: the stream's newest sequence.
        """
        row = self._database.execute(
            "SELECT created, sequence FROM position WHERE stream = ?", (stream,)
        ).fetchone()
        if row is not None and row[0] == created and row[1] <= last:
            return int(row[1])
        if row is not None:
            log.warning("index built anew", reason=f"the stream {stream} is another one now")
            self._database.execute(f"DELETE FROM {TABLES[stream]}")
        self._database.execute("REPLACE INTO position VALUES (?, ?, 0)", (stream, created))
        return 0

    def add_job(self, job: Job, machine: str | None, body: bytes) -> None:
        """Fold a job; `machine` is the only node it is for, where its subject says so."""
        self._jobs.append(
            (job.id, job.created, job.operation, job.target, job.caller, machine, body)
        )

    def add_event(self, event: Event, sequence: int, body: bytes) -> None:
        """Fold an event; a second one of the same job, node and kind is none."""
        self._events.append((event.job, event.machine, event.kind, sequence, body))

    def advance(self, stream: str, sequence: int) -> None:
        """Remember that `stream` is folded up to `sequence`."""
        self._positions[stream] = sequence

    def flush(self) -> None:
        """Write what has arrived, in one transaction."""
        if not self._positions:
            return
        database = self._database
        database.execute("BEGIN")
        database.executemany("INSERT OR IGNORE INTO job VALUES (?, ?, ?, ?, ?, ?, ?)", self._jobs)
        database.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?)", self._events)
        database.executemany(
            "UPDATE position SET sequence = ? WHERE stream = ?",
            [(sequence, stream) for stream, sequence in self._positions.items()],
        )
        database.execute("COMMIT")
        self._jobs.clear()
        self._events.clear()
        self._positions.clear()

    def find(self, job_id: str, hostnames: dict[str, str]) -> tuple[Progress, list[Event]] | None:
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
        progress = Progress(_job.decode(row[0]), nodes)
        events = [
            _event.decode(body)
            for (body,) in self._database.execute(
                "SELECT body FROM event WHERE job = ? ORDER BY sequence", (job_id,)
            )
        ]
        for event in events:
            progress.apply(event)
        return progress, events

    def forget(self, before: float) -> int:
        """Delete jobs made before `before` (seconds since 1970); return how many."""
        self.flush()
        oldest = first_id(before)
        database = self._database
        database.execute("BEGIN")
        # By id, since an event's job may be gone, or may never have come.
        database.execute("DELETE FROM event WHERE job < ?", (oldest,))
        gone = database.execute("DELETE FROM job WHERE id < ?", (oldest,)).rowcount
        database.execute("COMMIT")
        if gone:
            log.info("index pruned", jobs=gone)
        return gone


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
