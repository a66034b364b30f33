"""The indexer: both streams of the journal, folded into the index as they come."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from towline.broker.consumer import Follower, Message
from towline.broker.jetstream import JetStream
from towline.broker.journal import CHANGES, READS, STREAMS, Journal, place
from towline.broker.repeated import Repeated
from towline.controller.jobs.index import Index, decided_at
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.state import JobState
from towline.errors import BrokerUnreachable, TowlineError
from towline.runtime.part import keep_running, notify
from towline.runtime.pauses import within
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.event import DELETED, NOBODY, Event
from towline.wire.job import Job
from towline.wire.subjects import REPORTED

log = structlog.get_logger()


FLUSH_EVERY = 0.2
"""Seconds that folded messages may wait in memory before the index writes them."""
FLUSH_AT = 2000
PRUNE_EVERY = 600.0
PRUNE_AFTER = 20_000
"""Messages after which the index is pruned all the same: a journal that is full drops as much."""
RETRY_EVERY = 0.5
MOST_EARLY = 10_000
"""Jobs of which decisions are kept, since they may be reads that are folded later, and reads that
are remembered, since they may be recorded again; at most."""
CATCH_UP = 3.0
"""Seconds that a question for an unknown job may wait for the index to catch up."""


class Pulse:
    """Wakes everybody who waits, each time it beats."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def beat(self) -> None:
        """Wake those who wait."""
        if self._next is not None:
            waiting, self._next = self._next, None
            waiting.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Return at the next beat, or when `seconds` are over."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await within(seconds, asyncio.shield(self._next))


class Indexer:
    """Keeps the index and the open jobs up to the journal, and passes on what it folds.

    Args:
        retention: seconds that the journal keeps jobs.
        prune_after: messages after which the index is pruned whatever the time.
    """

    def __init__(
        self,
        stream: JetStream,
        index: Index,
        jobs: OpenJobs,
        *,
        retention: float,
        prune_after: int = PRUNE_AFTER,
    ) -> None:
        self._stream = stream
        self._journal = Journal(stream)
        self._index = index
        self._open = jobs
        self._retention = retention
        self._prune_after = prune_after
        self._on_event: list[Callable[[Event], None]] = []
        self._folded: dict[str, int] = {}
        self._early: OrderedDict[str, list[tuple[Event, int]]] = OrderedDict()
        """Decisions about jobs that aren't open, or not yet: what is decided about a read stands in
        the other stream, of which more may be folded."""
        self._reads: OrderedDict[str, None] = OrderedDict()
        """The reads that were folded last: one that two controllers have asked under one key is
        recorded twice, and the first record counts."""
        self._unpruned = 0
        self._behind = set(STREAMS)
        self._asking: asyncio.Task[dict[str, int]] | None = None
        self._coming: asyncio.Task[dict[str, int]] | None = None
        self._misread = Repeated("message not readable")
        self._failures = Repeated("message not folded")
        self.unreadable = 0
        """How many messages of the journal could not be read."""
        self.pulse = Pulse()
        """Beats when something was folded."""
        self.trouble = ""
        """Why the index can't be written just now."""

    def subscribe(self, folded: Callable[[Event], None]) -> None:
        """Have `folded` called with each event from now on, in the order of the journal."""
        self._on_event.append(folded)

    async def run(self) -> None:
        """Follow both streams into the index, and write it to the disk now and then, for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                for stream in STREAMS:
                    group.create_task(
                        keep_running(f"indexer of {stream}", partial(self.follow, stream))
                    )
                group.create_task(keep_running("index", self.write))
        finally:
            self._misread.close()
            self._failures.close()

    @property
    def caught_up(self) -> bool:
        """Whether the index has folded all that was in the streams when it began."""
        return not self._behind

    async def follow(self, stream: str) -> None:
        """Follow `stream` into the index, for ever."""
        while True:
            created, first, last = await self._state(stream)
            after = self._index.position(stream, created, last)
            if stream == READS:
                self._reads.clear()
            self._load(stream)
            # Of a stream that has lost everything to its age nothing more is to come.
            self._folded[stream] = after if first <= last else last
            if self._folded[stream] >= last:
                self._behind.discard(stream)
            await self._follow(stream, created, after)

    def _load(self, stream: str) -> None:
        """Take the open jobs as they were folded when this controller ended."""
        for state in self._open:
            if stream == stream_of(state.job):
                self._open.drop(state)
        for state in self._index.open_jobs(stream):
            self._open.load(state)

    async def _state(self, stream: str) -> tuple[str, int, int]:
        while True:
            try:
                return await self._journal.state(stream)
            except TowlineError as error:
                log.warning("index waits for the broker", stream=stream, reason=error.details)
                await asyncio.sleep(RETRY_EVERY)

    async def _follow(self, stream: str, created: str, after: int) -> None:
        """Fold a stream until the broker has another one of that name."""
        unwritten = 0
        follower = Follower(self._stream, stream, after=after)
        async for message in follower:
            if follower.created != created:
                return
            try:
                self._fold(stream, message)
            except Unreadable as error:
                self.unreadable += 1
                self._misread.error(stream=stream, sequence=message.sequence, reason=str(error))
            except Exception as error:  # noqa: BLE001
                # It is logged there. One message that this version makes nothing of stops no other.
                self.unreadable += 1
                self._failures.error(error, stream=stream, sequence=message.sequence)
            self._index.advance(stream, message.sequence)
            self._folded[stream] = message.sequence
            self.pulse.beat()
            unwritten += 1
            self._unpruned += 1
            if unwritten >= FLUSH_AT:
                await self._flush()
                unwritten = 0
            if message.pending == 0:
                self._behind.discard(stream)

    def _fold(self, stream: str, message: Message) -> None:
        kind, _, job_id = message.subject.partition(".")
        data = self._stream.seal.open(message.subject, message.data)
        if stream == READS:
            within = 0
            for each in messages.answered(data):
                if each.job is not None and self._fold_whole(
                    each.job, each.events, place(message.sequence, within)
                ):
                    within += 1 + len(each.events)
                    continue
                if each.job is not None:
                    self._fold_job(each.job, stream, place(message.sequence, within))
                    within += 1
                for event in each.events:
                    self._fold_event(event, stream, place(message.sequence, within))
                    within += 1
        elif message.subject == REPORTED:
            for within, event in enumerate(messages.group(data)):
                self._fold_event(event, stream, place(message.sequence, within))
        elif kind == "decision":
            decision = messages.decision(data)
            if decision.job != job_id:
                raise Unreadable("it is about another job than its subject says")
            self._fold_event(decision, stream, place(message.sequence))
        else:
            job = messages.job(data)
            if job.id != job_id:
                raise Unreadable("it is another job than its subject says")
            self._fold_job(job, stream, place(message.sequence))

    def _fold_whole(self, job: Job, events: Sequence[Event], at: int) -> bool:
        """Fold a read that had ended when it was recorded, as nearly all have.

        It was never open: nobody has to look after it. Returns False for all others.
        """
        if job.id in self._reads or job.id in self._early or self._open.get(job.id) is not None:
            return False
        state = JobState(job, open_only=True)
        for event in events:
            state.apply(event)
        if not state.done:
            return False
        self._remember(job)
        self._index.add_job(job, READS, at)
        for number, event in enumerate(events, 1):
            self._index.add_event(event, READS, at + number)
            notify(self._on_event, event)
        self._index.change(state)
        return True

    def _remember(self, read: Job) -> None:
        self._reads[read.id] = None
        if len(self._reads) > MOST_EARLY:
            self._reads.popitem(last=False)

    def _fold_job(self, job: Job, stream: str, at: int) -> None:
        if stream == READS:
            if job.id in self._reads:
                return
            self._remember(job)
        elif self._open.get(job.id) is None and self._index.over(job.id):
            return  # stored again, by a request that came twice or by whoever holds the broker
        self._index.add_job(job, stream, at)
        state = self._open.add(job)
        for event, decided in self._early.pop(job.id, ()) if state is not None else ():
            self._open.apply(event, decided)
        if state is None:
            state = JobState(job)
        self._index.change(state)

    def _fold_event(self, event: Event, stream: str, at: int) -> None:
        self._index.add_event(event, stream, at)
        state = self._open.apply(event, decided_at(stream, at))
        if state is not None:
            self._index.change(state)
        elif event.machine == NOBODY and event.kind != DELETED:
            self._early.setdefault(event.job, []).append((event, decided_at(stream, at)))
            if len(self._early) > MOST_EARLY:
                self._early.popitem(last=False)
        notify(self._on_event, event)

    async def _flush(self) -> None:
        """Write the index, however long that takes."""
        while True:
            try:
                self._index.flush()
            except sqlite3.Error as error:
                # Nothing is lost: what could not be written waits in memory, and in the journal.
                if not self.trouble:
                    log.error("index not written", reason=str(error))
                self.trouble = f"the index can't be written: {error}"
                await asyncio.sleep(RETRY_EVERY)
                continue
            self.trouble = ""
            return

    async def write(self) -> None:
        """Write the index now and then, and forget what the journal has forgotten, for ever."""
        pruned = time.monotonic() - PRUNE_EVERY
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            await self._flush()
            now = time.monotonic()
            with contextlib.suppress(sqlite3.Error):  # the next flush reports it
                if now - pruned >= PRUNE_EVERY or self._unpruned >= self._prune_after:
                    self._unpruned = 0
                    await self._prune()
                    pruned = now

    async def _prune(self) -> None:
        try:
            first = {stream: (await self._journal.state(stream))[1] for stream in STREAMS}
        except TowlineError as error:
            log.warning("index not pruned", reason=error.details)
            return
        if self._index.forget(time.time() - self._retention, first):
            # Nothing more can be decided about those that went on: the journal has them no more.
            for state in self._open:
                if self._index.status(state.job.id) is None:
                    self._open.drop(state)

    async def catch_up(self) -> None:
        """Return when all that is in the journal by now is folded.

        Raises:
            BrokerUnreachable: the journal can't be asked, or the index is too far behind.
        """
        if not await self.until(await self._ends()):
            raise BrokerUnreachable(
                "This controller's index is behind the journal: try again in a few seconds.",
                "Another controller may be further",
            )

    async def _ends(self) -> dict[str, int]:
        """Return the last sequence of each stream, asked for once for all who wait to ask.

        Each question about a job that nobody has made brings one here: thousands of them must not
        become thousands of calls of the journal's API.
        """
        if self._coming is None:
            self._coming = asyncio.create_task(self._ask_ends(self._asking))
            self._coming.add_done_callback(_retrieve)
        return await asyncio.shield(self._coming)

    async def _ask_ends(self, before: asyncio.Task[dict[str, int]] | None) -> dict[str, int]:
        if before is not None:
            await asyncio.wait([before])
        # Who comes from here on has to ask again.
        self._asking, self._coming = self._coming, None
        return {stream: (await self._journal.state(stream))[2] for stream in STREAMS}

    async def until(self, ends: Mapping[str, int]) -> bool:
        """Wait until each stream is folded up to a sequence; return whether it came to that."""
        deadline = time.monotonic() + CATCH_UP
        while any(self._folded.get(stream, 0) < end for stream, end in ends.items()):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            await self.pulse.wait(remaining)
        return True


def stream_of(job: Job) -> str:
    """Return the stream that a job stands in."""
    return READS if job.answered else CHANGES


def _retrieve(task: asyncio.Task[dict[str, int]]) -> None:
    """Take the error of a task for which nobody waits any more."""
    if not task.cancelled():
        task.exception()
