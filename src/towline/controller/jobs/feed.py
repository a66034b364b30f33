"""The feed: jobs and events in the order of the journal, for streams that follow them."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from towline.broker.journal import STREAMS
from towline.controller.jobs.index import Index
from towline.wire.event import Event
from towline.wire.job import Job, first_id

REMEMBERED = 4 * 1024**2
"""Bytes of what is remembered, as the index has it. Those who are up to date ask for little;
whoever reads all from the beginning must not have all of it remembered."""
LARGEST_BATCH = 1024**2
"""Bytes after which no more is read at once, as the index has it: a job may be as large as 8 MB,
and each that follows has its batch in memory."""
ASKED = 500
"""Bytes that count for each place, also where nothing stands behind it."""

_job = msgspec.json.Decoder(Job)
_event = msgspec.json.Decoder(Event)


class Batch(NamedTuple):
    """What stands behind a place.

    Attributes:
        entries: jobs and events, each with its place, in their order.
        more: whether there may be more of them.
    """

    entries: list[tuple[int, Job | Event]]
    more: bool


class Feed:
    """Jobs and events in the order of the journal, as far as the index has folded them.

    Places are by stream, in the order of `STREAMS`.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._read: dict[tuple[str, int, int, str | None], Batch] = {}
        self._size = 0
        self._version = index.version

    def newest(self) -> list[int]:
        """Return the place of what is newest in each stream."""
        return [self._newest(stream) for stream in STREAMS]

    def _newest(self, stream: str) -> int:
        return max(
            self._number(f"SELECT max(place) FROM {table} WHERE stream = ?", stream)
            for table in ("job", "event")
        )

    def before(self, moment: float) -> list[int]:
        """Return the last place of each stream before the jobs that were made at a moment or later.

        Args:
            moment: seconds since 1970.
        """
        found = []
        for stream in STREAMS:
            firsts = [
                self._number(
                    f"SELECT min(place) FROM {table} WHERE stream = ? AND {column} >= ?",
                    stream,
                    value,
                )
                # What was decided about a read stands in another stream than the read.
                for table, column, value in (
                    ("job", "created", moment),
                    ("event", "job", first_id(moment)),
                )
            ]
            later = [first for first in firsts if first]
            found.append(min(later) - 1 if later else self._newest(stream))
        return found

    def _number(self, question: str, *values: object) -> int:
        return int(self._index.query(question, values).fetchone()[0] or 0)

    def after(self, stream: str, place: int, limit: int, *, job_id: str | None = None) -> Batch:
        """Return the next jobs and events of a stream after a place.

        They are read once for all who ask before the index changes.

        Args:
            limit: how many at most; there are fewer where they are large.
            job_id: the only job whose events are wanted, and no jobs.
        """
        if self._version != self._index.version:
            self._version = self._index.version
            self._forget()
        asked = (stream, place, limit, job_id)
        known = self._read.get(asked)
        if known is not None:
            return known
        found, size = self._after(*asked)
        if self._size + size > REMEMBERED:
            self._forget()
        if size <= REMEMBERED:
            self._read[asked] = found
            self._size += size
        return found

    def _forget(self) -> None:
        self._read.clear()
        self._size = 0

    def _after(self, stream: str, place: int, limit: int, job_id: str | None) -> tuple[Batch, int]:
        tables: list[Iterator[tuple[int, Job | Event, int]]] = []
        if job_id is None:
            tables.append(self._rows("job", _job, "", (stream, place, limit)))
        only, values = ("AND job = ?", (job_id,)) if job_id is not None else ("", ())
        tables.append(self._rows("event", _event, only, (stream, place, *values, limit)))
        found: list[tuple[int, Job | Event]] = []
        size = ASKED
        for number, entry, length in heapq.merge(*tables, key=operator.itemgetter(0)):
            found.append((number, entry))
            size += length
            if len(found) >= limit or size >= LARGEST_BATCH:
                return Batch(found, True), size
        return Batch(found, False), size

    def _rows(
        self, table: str, decoder: msgspec.json.Decoder[Any], only: str, values: tuple[object, ...]
    ) -> Iterator[tuple[int, Job | Event, int]]:
        """Yield what a table has behind a place, each with its place and its bytes."""
        rows = self._index.query(
            f"SELECT place, body FROM {table} WHERE stream = ? AND place > ? {only}"
            " ORDER BY place LIMIT ?",
            values,
        )
        for number, body in rows:
            yield number, decoder.decode(body), len(body)
