"""The ledger: what an agent has taken on, and which events it has not yet delivered."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from towline.job import Event, Job

SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    job TEXT PRIMARY KEY, received REAL, started INTEGER DEFAULT 0, ended INTEGER DEFAULT 0,
    body BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS task_open ON task (job) WHERE ended = 0;
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB);
"""


class Ledger:
    """The agent's own record, on the node's disk. Every change is synced before it counts.

    Args:
        path: the database file.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        path.chmod(0o600)
        self._database.execute("PRAGMA journal_mode = WAL")
        # In WAL mode only FULL syncs each commit: an acknowledged job survives a power cut.
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    def accept(self, job: Job) -> bool:
        """Take a job on; False where it was taken on before."""
        cursor = self._database.execute(
            "INSERT OR IGNORE INTO task (job, received, body) VALUES (?, ?, ?)",
            (job.id, time.time(), msgspec.json.encode(job)),
        )
        return cursor.rowcount == 1

    def start(self, event: Event) -> None:
        """Record that a task begins, with the event that says so."""
        self._database.execute("BEGIN")
        self._database.execute("UPDATE task SET started = 1 WHERE job = ?", (event.job,))
        self._put(event)
        self._database.execute("COMMIT")

    def end(self, event: Event) -> None:
        """Record that a task has ended, with the event that says how."""
        self._database.execute("BEGIN")
        self._database.execute("UPDATE task SET ended = 1 WHERE job = ?", (event.job,))
        self._put(event)
        self._database.execute("COMMIT")

    def _put(self, event: Event) -> None:
        self._database.execute(
            "INSERT INTO outbox (body) VALUES (?)", (msgspec.json.encode(event),)
        )

    def drop(self, job_id: str) -> None:
        """Forget a task that another node has claimed; it stays known as ended."""
        self._database.execute("UPDATE task SET ended = 1 WHERE job = ?", (job_id,))

    def unfinished(self) -> list[tuple[Job, bool]]:
        """Return the tasks that have not ended, oldest first, each with whether it had started."""
        rows = self._database.execute(
            "SELECT body, started FROM task WHERE ended = 0 ORDER BY received"
        )
        return [(msgspec.json.decode(body, type=Job), bool(started)) for body, started in rows]

    def undelivered(self, limit: int) -> list[tuple[int, Event]]:
        """Return the oldest events that JetStream doesn't have yet, with their numbers."""
        rows = self._database.execute("SELECT id, body FROM outbox ORDER BY id LIMIT ?", (limit,))
        return [(number, msgspec.json.decode(body, type=Event)) for number, body in rows]

    def delivered(self, numbers: list[int]) -> None:
        """Strike events that JetStream has.

        Losing this in a crash costs a second delivery, which changes nothing.
        """
        self._database.execute("BEGIN")
        self._database.executemany(
            "DELETE FROM outbox WHERE id = ?", [(number,) for number in numbers]
        )
        self._database.execute("COMMIT")

    def forget(self, before: float) -> None:
        """Delete ended tasks taken on before `before` (seconds since 1970).

        It must be further back than the journal keeps jobs, or one could be taken on again.
        """
        self._database.execute("DELETE FROM task WHERE ended = 1 AND received < ?", (before,))
