"""The feed: jobs and events in the order of the journal, for streams that follow them."""

from __future__ import annotations

import msgspec

from towline.controller.jobs.index import Index
from towline.wire.event import Event
from towline.wire.job import Job

_job = msgspec.json.Decoder(Job)
_event = msgspec.json.Decoder(Event)


class Feed:
    """Jobs and events in the order of the journal, as far as the index has folded them."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def newest(self) -> list[int]:
        """Return the sequences of the newest job and the newest event."""
        return [self._number(f"SELECT max(sequence) FROM {table}") for table in ("job", "event")]

    def before(self, job_id: str) -> list[int]:
        """Return the last sequences of jobs and events before those of `job_id` and later ones."""
        jobs, events = self.newest()
        first_job = self._number("SELECT min(sequence) FROM job WHERE id >= ?", job_id)
        first_event = self._number("SELECT min(sequence) FROM event WHERE job >= ?", job_id)
        return [first_job - 1 if first_job else jobs, first_event - 1 if first_event else events]

    def _number(self, question: str, *values: object) -> int:
        return int(self._index.query(question, values).fetchone()[0] or 0)

    def jobs_after(self, sequence: int, limit: int) -> list[tuple[int, Job]]:
        """Return the next jobs after `sequence`, each with its own sequence."""
        rows = self._index.query(
            "SELECT sequence, body FROM job WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (sequence, limit),
        )
        return [(number, _job.decode(body)) for number, body in rows]

    def events_after(
        self, sequence: int, limit: int, *, job_id: str | None = None
    ) -> list[tuple[int, Event]]:
        """Return the next events after `sequence`, each with its own sequence."""
        only, values = ("AND job = ?", (job_id,)) if job_id is not None else ("", ())
        rows = self._index.query(
            f"SELECT sequence, body FROM event WHERE sequence > ? {only} ORDER BY sequence LIMIT ?",
            (sequence, *values, limit),
        )
        return [(number, _event.decode(body)) for number, body in rows]
