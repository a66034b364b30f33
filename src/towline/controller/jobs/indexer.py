"""The indexer: both streams of the journal, folded into the index as they come."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from towline.broker.consumer import Follower
from towline.broker.jetstream import JetStream
from towline.broker.journal import EVENTS, JOBS, Journal
from towline.controller.jobs.index import Index
from towline.errors import BrokerUnreachable, TowlineError
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.event import Event
from towline.wire.job import CANCEL, Job

log = structlog.get_logger()

T = TypeVar("T")

FLUSH_EVERY = 0.2
"""Seconds that folded messages may wait in memory before the index writes them."""
FLUSH_AT = 2000
EXPIRE_EVERY = 1.0
PRUNE_EVERY = 600.0
PRUNE_AFTER = 20_000
"""Messages after which the index is pruned all the same: a journal that is full drops as much."""
RETRY_EVERY = 0.5
CATCH_UP = 3.0
"""Seconds that a question for an unknown job may wait for the index to catch up."""

_job = Decoder(Job)
_event = Decoder(Event)


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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._next)


class Indexer:
    """Keeps the index up to the journal, and passes on what it folds.

    Args:
        retention: seconds that the journal keeps jobs.
        prune_after: messages after which the index is pruned whatever the time.
    """

    def __init__(
        self,
        jetstream: JetStream,
        index: Index,
        *,
        retention: float,
        prune_after: int = PRUNE_AFTER,
    ) -> None:
        self._jetstream = jetstream
        self._journal = Journal(jetstream)
        self._index = index
        self._retention = retention
        self._prune_after = prune_after
        self._on_event: list[Callable[[Event], None]] = []
        self._on_job: list[Callable[[Job], None]] = []
        self._folded: dict[str, int] = {}
        self._unpruned = 0
        self._behind = {JOBS, EVENTS}
        self.pulse = Pulse()
        """Beats when something was folded."""
        self.trouble = ""
        """Why the index can't be written just now."""

    def subscribe(self, folded: Callable[[Event], None]) -> None:
        """Have `folded` called with each event from now on, in the order of the journal."""
        self._on_event.append(folded)

    def subscribe_jobs(self, folded: Callable[[Job], None]) -> None:
        """Have `folded` called with each job from now on, in the order of the journal."""
        self._on_job.append(folded)

    async def run(self) -> None:
        """Follow both streams into the index, and write it to the disk now and then, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.follow(JOBS))
            group.create_task(self.follow(EVENTS))
            group.create_task(self.write())

    @property
    def caught_up(self) -> bool:
        """Whether the index has folded all that was in the streams when it began."""
        return not self._behind

    async def follow(self, stream: str) -> None:
        """Follow `stream` into the index, for ever."""
        while True:
            info = await self._information(stream)
            last = int(info["state"]["last_seq"])
            after = self._index.position(stream, info["created"], last)
            # Of a stream that has lost everything to its age nothing more is to come.
            self._folded[stream] = after if info["state"]["messages"] else last
            if self._folded[stream] >= last:
                self._behind.discard(stream)
            await self._follow(stream, info["created"], after)

    async def _information(self, stream: str) -> dict[str, Any]:
        while True:
            try:
                return await self._jetstream.call(f"STREAM.INFO.{stream}")
            except TowlineError as error:
                log.warning("index waits for the broker", stream=stream, reason=error.details)
                await asyncio.sleep(RETRY_EVERY)

    async def _follow(self, stream: str, created: str, after: int) -> None:
        """Fold a stream until the broker has another one of that name."""
        unwritten = 0
        follower = Follower(self._jetstream, stream, after=after)
        async for message in follower:
            if follower.created != created:
                return
            try:
                if stream == JOBS:
                    self._fold_job(message.subject, message.data, message.sequence)
                else:
                    self._fold_event(message.data, message.sequence)
            except Unreadable as error:
                log.error(
                    "message not readable",
                    stream=stream,
                    sequence=message.sequence,
                    reason=str(error),
                )
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

    def _fold_job(self, subject: str, data: bytes, sequence: int) -> None:
        job = _job.decode(data)
        if job.operation == CANCEL:
            return
        machine = subject[9:] if subject.startswith("job.node.") else None
        if job.waves is None:
            self._index.add_job(job, machine, sequence, data)
        elif machine is not None:
            self._index.add_turn(job.id, machine, sequence)
        else:
            self._index.add_job(job, None, sequence, data)
        if job.waves is None or machine is None:
            _notify(self._on_job, job)

    def _fold_event(self, data: bytes, sequence: int) -> None:
        event = _event.decode(data)
        self._index.add_event(event, sequence, data)
        _notify(self._on_event, event)

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
        expired = time.monotonic()
        pruned = expired - PRUNE_EVERY
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            await self._flush()
            now = time.monotonic()
            with contextlib.suppress(sqlite3.Error):  # the next flush reports it
                if now - expired >= EXPIRE_EVERY:
                    self._index.expire()
                    expired = now
                if now - pruned >= PRUNE_EVERY or self._unpruned >= self._prune_after:
                    self._unpruned = 0
                    await self._prune()
                    pruned = now

    async def _prune(self) -> None:
        try:
            first = {
                stream: int(
                    (await self._jetstream.call(f"STREAM.INFO.{stream}"))["state"]["first_seq"]
                )
                for stream in (JOBS, EVENTS)
            }
        except TowlineError as error:
            log.warning("index not pruned", reason=error.details)
            return
        self._index.forget(
            time.time() - self._retention, jobs_from=first[JOBS], events_from=first[EVENTS]
        )

    async def catch_up(self) -> None:
        """Return when all that is in the journal by now is folded.

        Raises:
            BrokerUnreachable: the journal can't be asked, or the index is too far behind.
        """
        ends = {stream: await self._journal.last_sequence(stream) for stream in (JOBS, EVENTS)}
        if not await self.until(ends):
            raise BrokerUnreachable(
                "This controller's index is behind the journal: try again in a few seconds.",
                "Another controller may be further",
            )

    async def until(self, ends: Mapping[str, int]) -> bool:
        """Wait until each stream is folded up to a sequence; return whether it came to that."""
        deadline = time.monotonic() + CATCH_UP
        while any(self._folded.get(stream, 0) < end for stream, end in ends.items()):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            await self.pulse.wait(remaining)
        return True


def _notify(listeners: list[Callable[[T], None]], folded: T) -> None:
    """Call each listener; one that raises costs no message, and no other listener."""
    for listener in listeners:
        try:
            listener(folded)
        except Exception:
            log.exception("listener broke off")
