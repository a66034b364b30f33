"""The file of the ledger: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from towline.agent.ledger.changes import ENDED, OPEN
from towline.errors import TowlineError

VERSION = 2
"""Of the file; version 0.1 of the agent gave it none."""
SCHEMA = f"""
BEGIN;
CREATE TABLE task (
    job TEXT PRIMARY KEY, created REAL, expires REAL, started REAL, state INTEGER,
    release BLOB, ended BLOB
) WITHOUT ROWID;
CREATE INDEX task_open ON task (job) WHERE state = {OPEN};
CREATE INDEX task_ended ON task (expires) WHERE state = {ENDED};
CREATE TABLE outbox (id INTEGER PRIMARY KEY, job TEXT, ends INTEGER, body BLOB);
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""
"""Made as a whole or not at all. A task has its release while it is open, and its last event once
it has ended; the outbox has the events that no controller is known to have stored."""


def open_database(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Return a connection that writes the file, which is made where it isn't there, and a reader.

    Raises:
        TowlineError: it can't be opened, or is of another version.
    """
    try:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version != VERSION and tables:
            raise TowlineError(
                f"The ledger {str(path)!r} is of another version of the agent.",
                "Let that one finish its tasks, then move the file away: a new one is made",
            )
        database.execute("PRAGMA journal_mode = WAL")
        # In WAL mode only FULL syncs each commit: what is accepted survives a power cut.
        database.execute("PRAGMA synchronous = FULL")
        if version != VERSION:
            database.executescript(SCHEMA)
        # A connection of its own, which in WAL mode waits for no commit of another one.
        reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        reader.execute("PRAGMA query_only = ON")
    except (sqlite3.Error, OSError) as error:
        raise TowlineError(f"The ledger {str(path)!r} can't be opened.", str(error)) from error
    return database, reader
