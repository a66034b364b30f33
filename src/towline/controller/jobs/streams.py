"""Streams of events: those that are stored, then those that come.

Every follower reads the index at its own pace, from the place that it has reached: a slow one
delays nobody, and one that comes back with `Last-Event-ID` misses nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

from towline.broker.journal import STREAMS
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lists import Filter
from towline.endpoint import Event as Sent
from towline.endpoints import views
from towline.endpoints.views import JobEvent
from towline.errors import InvalidRequest
from towline.wire.event import Event
from towline.wire.job import Job, first_id

SUBMITTED = "submitted"
BATCH = 500
PACE = 0.1
"""Seconds between looks at the index while many events come."""
LOOK_EVERY = 1.0
REMEMBERED = 1000
"""Jobs kept in memory while their events are filtered."""


class EventStreams:
    """Streams of the events of one job, or of all."""

    def __init__(self, feed: Feed, index: Index, indexer: Indexer) -> None:
        self._feed = feed
        self._index = index
        self._indexer = indexer

    def place(self, text: str | None) -> list[int] | None:
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
                f"The Last-Event-ID {text[:80]!r} is none of this stream.",
                "Leave it out to begin anew",
            )
        return [int(part) for part in parts]

    def more(self, job_id: str, after: list[int]) -> bool:
        """Return whether a job has events behind these places."""
        return any(
            self._feed.after(stream, last, 1, job_id=job_id)
            for stream, last in zip(STREAMS, after, strict=True)
        )

    async def of_job(self, job: Job, after: list[int] | None) -> AsyncIterator[Sent[JobEvent]]:
        """Yield a job's events until it has ended.

        Args:
            after: the places of the last events that the follower has; None to begin.
        """
        reached = _Reached(after or [0] * len(STREAMS))
        if after is None:
            yield reached.event(SUBMITTED, views.submitted(job))
            for event in views.beginnings(job):
                yield reached.event(views.kind(event), views.event(event))
        while True:
            found = reached.next(self._feed, job_id=job.id)
            state = self._index.status(job.id)
            for stream, place, event in found:
                reached.places[stream] = place
                for each in views.shown(event):
                    yield reached.event(views.kind(each), views.event(each))
            if len(found) >= BATCH:
                continue
            if state is None or state.done:
                status = state.status if state else "deleted"
                nodes = state.nodes if state else {}
                yield reached.event("end", views.ended(job.id, status, nodes))
                return
            await self._pause()

    async def of_all(
        self, wanted: Filter, kinds: frozenset[str], begin: list[int]
    ) -> AsyncIterator[Sent[JobEvent]]:
        """Yield the events of all jobs that are wanted, for ever.

        Args:
            kinds: which kinds of events; empty for all.
            begin: the places of the last events that the follower has.
        """
        reached = _Reached(begin)
        known: OrderedDict[str, Job | None] = OrderedDict()
        submissions = wanted.machine is None and (not kinds or SUBMITTED in kinds)

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

        while True:
            found = reached.next(self._feed)
            for stream, place, each in found:
                reached.places[stream] = place
                if isinstance(each, Job):
                    if submissions and wants(each):
                        yield reached.event(SUBMITTED, views.submitted(each))
                    continue
                for event in views.shown(each):
                    kind = views.kind(event)
                    if kinds and kind not in kinds:
                        continue
                    if wanted.machine in (None, event.machine) and wants(job_of(event)):
                        yield reached.event(kind, views.event(event))
            if len(found) < BATCH:
                await self._pause()

    async def _pause(self) -> None:
        """Return when there may be more."""
        await asyncio.sleep(PACE)
        await self._indexer.pulse.wait(LOOK_EVERY)

    def beginning(self, since: float | None) -> list[int]:
        """Return the place in the journal to begin at: now, or `since` (seconds since 1970)."""
        if since is None:
            return self._feed.newest()
        return self._feed.before(first_id(since))


class _Reached:
    """How far a follower is: its place in each stream of the journal."""

    def __init__(self, places: list[int]) -> None:
        self.places = dict(zip(STREAMS, places, strict=True))

    def event(self, kind: str, data: JobEvent) -> Sent[JobEvent]:
        """Return an event, with the place that its follower has reached with it."""
        return Sent(data, "-".join(map(str, self.places.values())), kind)

    def next(self, feed: Feed, *, job_id: str | None = None) -> list[tuple[str, int, Any]]:
        """Return what comes next, each with its stream and its place there."""
        return [
            (stream, place, found)
            for stream, reached in self.places.items()
            for place, found in feed.after(stream, reached, BATCH, job_id=job_id)
        ]
