"""Server-sent events: those that are stored, then those that come.

Every follower reads the index at its own pace, from the place that it has reached: a slow one
delays nobody, and one that comes back with `Last-Event-ID` misses nothing.

Source: HTML Living Standard, section 9.2.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from towline.broker.journal import STREAMS
from towline.controller.http import views
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer, Pulse
from towline.controller.jobs.lists import Filter
from towline.errors import InvalidRequest
from towline.wire.event import Event
from towline.wire.job import Job, first_id

SUBMITTED = "submitted"
MEDIA_TYPE = "text/event-stream"
BATCH = 500
PACE = 0.1
"""Seconds between looks at the index while many events come."""
LOOK_EVERY = 1.0
KEEP_ALIVE = 15.0
"""Seconds of silence after which a sign of life is sent: proxies cut what is silent."""
REMEMBERED = 1000
"""Jobs kept in memory while their events are filtered."""


def _encode(place: str, kind: str, data: object) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        place.encode(),
        kind.encode(),
        msgspec.json.encode(data),
    )


def place(text: str | None) -> list[int] | None:
    """Read a `Last-Event-ID`, a place in each stream of the journal; None where there is none.

    Raises:
        InvalidRequest: it isn't one of ours.
    """
    if text is None:
        return None
    parts = text.split("-")
    if len(parts) != len(STREAMS) or not all(
        part.isascii() and part.isdigit() and len(part) < 19 for part in parts
    ):
        raise InvalidRequest(
            f"The Last-Event-ID {text[:80]!r} is none of this stream.", "Leave it out to begin anew"
        )
    return [int(part) for part in parts]


class EventStreams:
    """Streams of the events of one job, or of all.

    Args:
        stopping: set when the controller stops: then all streams end.
    """

    def __init__(self, feed: Feed, index: Index, indexer: Indexer, stopping: asyncio.Event) -> None:
        self._feed = feed
        self._index = index
        self._indexer = indexer
        self._stopping = stopping

    async def of_job(self, job: Job, after: list[int] | None) -> AsyncIterator[bytes]:
        """Yield a job's events until it has ended.

        Args:
            after: the places of the last events that the follower has; None to begin.
        """
        yield b"retry: 1000\n\n"
        pause = _Pause(self._indexer.pulse)
        reached = _Reached(after or [0] * len(STREAMS))
        if after is None:
            yield reached.encode(SUBMITTED, views.submitted(job))
            for event in views.beginnings(job):
                yield reached.encode(views.kind(event), views.event(event))
        while not self._stopping.is_set():
            found = reached.next(self._feed, job_id=job.id)
            state = self._index.status(job.id)
            for stream, place, event in found:
                reached.places[stream] = place
                for each in views.shown(event):
                    yield reached.encode(views.kind(each), views.event(each))
            if len(found) >= BATCH:
                continue
            if state is None or state.done:
                status = state.status if state else "deleted"
                nodes = state.nodes if state else {}
                yield reached.encode("end", {"job_id": job.id, "status": status, "nodes": nodes})
                return
            yield await pause.take(sent=bool(found))

    async def of_all(
        self, wanted: Filter, kinds: frozenset[str], begin: list[int]
    ) -> AsyncIterator[bytes]:
        """Yield the events of all jobs that are wanted, until the controller stops.

        Args:
            kinds: which kinds of events; empty for all.
            begin: the places of the last events that the follower has.
        """
        yield b"retry: 1000\n\n"
        reached = _Reached(begin)
        known: OrderedDict[str, Job | None] = OrderedDict()
        submissions = wanted.machine is None and (not kinds or SUBMITTED in kinds)
        pause = _Pause(self._indexer.pulse)

        def wants(job: Job | None) -> bool:
            columns = wanted.columns()
            return not columns or (
                job is not None
                and all(getattr(job, name) == value for name, value in columns.items())
            )

        def job_of(event: Event) -> Job | None:
            if event.job not in known:
                known[event.job] = self._index.job(event.job)
                if len(known) > REMEMBERED:
                    known.popitem(last=False)
            return known[event.job]

        while not self._stopping.is_set():
            sent = False
            found = reached.next(self._feed)
            for stream, place, each in found:
                reached.places[stream] = place
                if isinstance(each, Job):
                    if submissions and wants(each):
                        sent = True
                        yield reached.encode(SUBMITTED, views.submitted(each))
                    continue
                for event in views.shown(each):
                    kind = views.kind(event)
                    if kinds and kind not in kinds:
                        continue
                    if wanted.machine in (None, event.machine) and wants(job_of(event)):
                        sent = True
                        yield reached.encode(kind, views.event(event))
            if len(found) < BATCH:
                yield await pause.take(sent=sent)

    def beginning(self, since: float | None) -> list[int]:
        """Return the place in the journal to begin at: now, or `since` (seconds since 1970)."""
        if since is None:
            return self._feed.newest()
        return self._feed.before(first_id(since))


class _Reached:
    """How far a follower is: its place in each stream of the journal."""

    def __init__(self, places: list[int]) -> None:
        self.places = dict(zip(STREAMS, places, strict=True))

    def encode(self, kind: str, data: object) -> bytes:
        """Return an event, with the place that its follower has reached with it."""
        return _encode("-".join(map(str, self.places.values())), kind, data)

    def next(self, feed: Feed, *, job_id: str | None = None) -> list[tuple[str, int, Any]]:
        """Return what comes next, each with its stream and its place there."""
        return [
            (stream, place, found)
            for stream, reached in self.places.items()
            for place, found in feed.after(stream, reached, BATCH, job_id=job_id)
        ]


class _Pause:
    """The pause between two looks at the index."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._sent = time.monotonic()

    async def take(self, *, sent: bool) -> bytes:
        """Return when there may be more: a sign of life where there was nothing for long."""
        now = time.monotonic()
        if sent:
            self._sent = now
        await asyncio.sleep(PACE)
        await self._pulse.wait(LOOK_EVERY)
        if now - self._sent < KEEP_ALIVE:
            return b""
        self._sent = now
        return b": still here\n\n"
