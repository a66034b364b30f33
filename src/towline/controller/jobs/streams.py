"""Streams of events: those that are stored, then those that come.

Every follower goes on at its own pace from the place that it has reached: a slow one delays nobody,
and one that comes back with `Last-Event-ID` misses nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

from towline.broker.journal import STREAMS
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lists import Filter
from towline.controller.turns import Turns
from towline.endpoint import Event as Sent
from towline.endpoints import views
from towline.endpoints.views import JobEvent
from towline.errors import InvalidRequest
from towline.wire.event import Event
from towline.wire.job import Job

SUBMITTED = "submitted"
BATCH = 500
PACE = 0.1
"""Seconds between looks at the index while many events come."""
LOOK_EVERY = 1.0
REMEMBERED = 1000
"""Jobs kept in memory while their events are filtered."""


_PLACE = re.compile(
    r"([0-9]{1,18})(?:\.([0-9]{1,9}))?-([0-9]{1,18})(?:\.([0-9]{1,9}))?(?:\+([0-9]{1,9}))?(-end)?"
)


class Reached:
    """How far a follower is.

    Attributes:
        places: by stream of the journal, that of the last entry of which it has all events.
        sent: by stream, how many events of the next entry it has.
        begun: how many events it has of a job's beginning, which is no entry, until it has all.
        ended: whether it has the last event, which is none either.
    """

    def __init__(
        self,
        places: list[int],
        sent: list[int] | None = None,
        begun: int = 0,
        *,
        ended: bool = False,
    ) -> None:
        self.places = dict(zip(STREAMS, places, strict=True))
        self.sent = dict(zip(STREAMS, sent or [0] * len(STREAMS), strict=True))
        self.begun = begun
        self.ended = ended

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `str` makes of it; raises `InvalidRequest`."""
        found = _PLACE.fullmatch(text)
        if found is None:
            raise InvalidRequest(
                f"The Last-Event-ID {text[:80]!r} is none of this stream.",
                "Leave it out to begin anew",
            )
        *numbers, end = found.groups()
        changes, some, reads, of_reads, begun = (int(each or 0) for each in numbers)
        return cls([changes, reads], [some, of_reads], begun, ended=end is not None)

    def __str__(self) -> str:
        parts = (
            f"{place}.{self.sent[stream]}" if self.sent[stream] else str(place)
            for stream, place in self.places.items()
        )
        begun = f"+{self.begun}" if self.begun else ""
        return "-".join(parts) + begun + ("-end" if self.ended else "")

    def event(self, kind: str, data: JobEvent) -> Sent[JobEvent]:
        """Return an event, with the place that its follower has reached with it."""
        return Sent(data, str(self), kind)

    def next(
        self, feed: Feed, *, job_id: str | None = None
    ) -> tuple[list[tuple[str, int, Any]], bool]:
        """Return what comes next, each with its stream and its place there.

        Returns:
            that, and whether there may be more.
        """
        found, more = [], False
        for stream, reached in self.places.items():
            batch = feed.after(stream, reached, BATCH, job_id=job_id)
            found += [(stream, place, entry) for place, entry in batch.entries]
            more = more or batch.more
        return found, more

    def shown(self, stream: str, place: int, entry: Event) -> Iterator[Event]:
        """Yield the events of an entry that the follower hasn't, and reach each of them."""
        events = views.shown(entry)
        for number, event in enumerate(events, 1):
            if number > self.sent[stream]:
                if number < len(events):
                    self.sent[stream] = number
                else:
                    self.pass_by(stream, place)
                yield event
        self.pass_by(stream, place)

    def pass_by(self, stream: str, place: int) -> None:
        """Reach an entry, with all its events."""
        self.places[stream] = place
        self.sent[stream] = 0


class EventStreams:
    """Streams of the events of one job, or of all.

    Args:
        turns: those of all streams.
    """

    def __init__(self, feed: Feed, index: Index, indexer: Indexer, turns: Turns) -> None:
        self._turns = turns
        self._feed = feed
        self._index = index
        self._indexer = indexer

    def place(self, text: str | None) -> Reached | None:
        """Read a `Last-Event-ID`; None where there is none.

        Raises:
            InvalidRequest: it isn't one of ours.
        """
        return None if text is None else Reached.read(text)

    async def of_job(self, job: Job, after: Reached | None) -> AsyncIterator[Sent[JobEvent]]:
        """Yield a job's events until it has ended.

        Args:
            after: the place of the last event that the follower has; None to begin.
        """
        reached = after or Reached([0] * len(STREAMS))
        if after is None or after.begun:
            first = [(SUBMITTED, views.submitted(job))]
            first += [(views.kind(each), views.event(each)) for each in views.beginnings(job)]
            for number, (kind, data) in enumerate(first[reached.begun :], reached.begun + 1):
                reached.begun = number if number < len(first) else 0
                yield reached.event(kind, data)
            reached.begun = 0
        while True:
            await self._turns.take()
            found, more = reached.next(self._feed, job_id=job.id)
            state = self._index.status(job.id)
            for stream, place, event in found:
                for each in reached.shown(stream, place, event):
                    yield reached.event(views.kind(each), views.event(each))
            if more:
                continue
            if state is None or state.done:
                status = state.status if state else "deleted"
                nodes = state.nodes if state else {}
                reached.ended = True
                yield reached.event("end", views.ended(job.id, status, nodes))
                return
            await self._pause()

    async def of_all(
        self, wanted: Filter, kinds: frozenset[str], reached: Reached
    ) -> AsyncIterator[Sent[JobEvent]]:
        """Yield the events of all jobs that are wanted, for ever.

        Args:
            kinds: which kinds of events; empty for all.
            reached: the place of the last event that the follower has.
        """
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
            await self._turns.take()
            found, more = reached.next(self._feed)
            for stream, place, each in found:
                if isinstance(each, Job):
                    reached.pass_by(stream, place)
                    if submissions and wants(each):
                        yield reached.event(SUBMITTED, views.submitted(each))
                    continue
                for event in reached.shown(stream, place, each):
                    kind = views.kind(event)
                    if kinds and kind not in kinds:
                        continue
                    if wanted.machine in (None, event.machine) and wants(job_of(event)):
                        yield reached.event(kind, views.event(event))
            if not more:
                await self._pause()

    async def _pause(self) -> None:
        """Return when there may be more."""
        await asyncio.sleep(PACE)
        await self._indexer.pulse.wait(LOOK_EVERY)

    def beginning(self, since: float | None) -> Reached:
        """Return the place in the journal to begin at: now, or `since` (seconds since 1970)."""
        if since is None:
            return Reached(self._feed.newest())
        return Reached(self._feed.before(since))
