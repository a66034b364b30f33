"""The runner: tasks that change something, each through the ledger from its begin to its end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time

import structlog

from towline import __version__
from towline.agent.executor import Executor, Mode, job_of
from towline.agent.ledger import Ledger, Unfinished, until
from towline.agent.ledger.changes import ENDED, Change
from towline.agent.outbox import Outbox
from towline.broker.clock import Clock
from towline.errors import BrokerUnreachable
from towline.runtime.part import is_cancelled
from towline.wire.event import CANCELLED, FAILED, SKIPPED, STARTED, Event
from towline.wire.release import Cancellation, Release
from towline.wire.report import REFUSED

log = structlog.get_logger()

FORGET_EVERY = 300.0
"""Seconds between looks at what the ledger may forget, at most."""


class Runner:
    """Runs what this node was given to do, none of it twice that must not be.

    Args:
        clock: by it jobs expire.
        forget_every: seconds, at most, until the ledger forgets what has ended and expired.
    """

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        outbox: Outbox,
        clock: Clock,
        *,
        forget_every: float = FORGET_EVERY,
    ) -> None:
        self._ledger = ledger
        self._executor = executor
        self._outbox = outbox
        self._clock = clock
        self._forget_every = forget_every
        self._cancelling: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Have the ledger forget now and then what it need not know any more, for ever."""
        while True:
            await asyncio.sleep(random.uniform(self._forget_every / 2, self._forget_every))
            if self._clock.known.is_set():
                with contextlib.suppress(sqlite3.Error):  # Then the next time.
                    await self._ledger.forget(self._clock.now())

    async def resume(self) -> None:
        """Go on with what was under way when the agent ended."""
        while True:
            try:
                unfinished = await self._ledger.unfinished()
                break
            except sqlite3.Error as error:
                log.error("ledger not readable", reason=str(error))
                await asyncio.sleep(self._ledger.retry_every)
        for task in unfinished:
            self._executor.spawn(task.job, self._resume(task))

    def take(self, release: Release) -> None:
        """Begin a task with its job, unless the ledger knows it: then its end is reported again."""
        if not self._executor.runs(release.id):
            self._executor.spawn(release.id, self._take(release))

    def refuse(self, release: Release, reason: str) -> None:
        """End a task as failed without having begun it, unless the ledger knows it."""
        self._end_unbegun(release, FAILED, reason)

    def skip(self, release: Release, reason: str) -> None:
        """End a task as skipped without having begun it, unless the ledger knows it."""
        self._end_unbegun(release, SKIPPED, reason)

    def cancel(self, order: Cancellation) -> None:
        """Cancel a task; of one that isn't known, record that as its end."""
        running = self._executor.cancel(order.id, f"cancelled by {order.caller}")
        if order.id not in self._cancelling:
            task = asyncio.create_task(self._cancel(order, running), name=f"cancel {order.id}")
            self._cancelling[order.id] = task
            task.add_done_callback(lambda _: self._cancelling.pop(order.id, None))

    async def close(self) -> None:
        """Break off what runs: the next start goes on with it."""
        cancelling = list(self._cancelling.values())
        for task in cancelling:
            task.cancel()
        await asyncio.gather(*cancelling, return_exceptions=True)
        await self._executor.close()

    async def _cancel(self, order: Cancellation, running: asyncio.Task[None] | None) -> None:
        if running is not None:
            await asyncio.wait([running])
        try:
            state = self._ledger.state_of(order.id)
            if state == ENDED and running is None:
                self._repeat(order.id)
        except sqlite3.Error as error:
            # It is sent again while its end isn't stored.
            log.error("cancellation not recorded", job=order.id, reason=str(error))
            return
        if state != ENDED:
            reason = f"cancelled by {order.caller}"
            ended = self._executor.event(order.id, CANCELLED, error=reason)
            await self._outbox.end(ended, created=order.created, expires=order.expires)

    def _repeat(self, job_id: str) -> None:
        ended = self._ledger.end_of(job_id)
        if ended is not None:
            self._outbox.repeat(ended)

    def _end_unbegun(self, release: Release, kind: str, reason: str) -> None:
        async def end() -> None:
            try:
                if self._known(release):
                    return
            except sqlite3.Error as error:
                log.error("task not accepted", job=release.id, reason=str(error))
                return
            ended = self._executor.event(release.id, kind, error=reason)
            log.warning("task not begun", job=release.id, outcome=kind, reason=reason)
            await self._end(release, ended)

        if not self._executor.runs(release.id):
            self._executor.spawn(release.id, end())

    def _known(self, release: Release) -> bool:
        """Return whether a task was accepted before; report its end again where it has ended.

        Raises:
            sqlite3.Error: it can't be read.
        """
        state = self._ledger.state_of(release.id)
        if state == ENDED:
            self._repeat(release.id)
        elif state is None and self._ledger.forgotten(until(release)):
            log.info("task comes too late", job=release.id)
            return True
        return state is not None

    async def _take(self, release: Release) -> None:
        job = job_of(release)
        try:
            if self._known(release):
                return
            if self._executor.once(job):
                born = self._ledger.born
                if born is None:
                    # No controller has registered this node yet, so none sends it anything.
                    log.error("task not accepted", job=job.id, reason="not registered yet")
                    return
                if job.created <= born:
                    lost = "the ledger was lost, and may have known it: it is not run again"
                    ended = self._executor.event(job.id, FAILED, error=lost)
                    await self._end(release, ended)
                    return
            accepted = self._ledger.accept(release)
            await self._perform(release, None, accepted, fresh=True)
        except sqlite3.Error as error:
            # Not begun: it is sent again.
            log.error("task not accepted", job=job.id, reason=str(error))

    async def _resume(self, task: Unfinished) -> None:
        release = task.release
        if release is None:
            reason = "what the ledger holds of it can't be read"
            ended = self._executor.event(task.job, FAILED, started=task.started, error=reason)
            await self._outbox.end(ended, created=task.created, expires=task.expires)
            return
        if self._clock.now() > release.expires:
            # Perhaps only by this node's clock; the end could be sent to nobody now anyway.
            await self._executor.unless_cancelled(task.job, _always(self._clock.known))
        await self._perform(release, task.started, None, fresh=False)

    async def _end(self, release: Release, ended: Event) -> None:
        created = release.time if release.job is None else release.job.created
        await self._outbox.end(ended, created=created, expires=until(release))

    async def _perform(
        self, release: Release, interrupted: float | None, accepted: Change | None, *, fresh: bool
    ) -> None:
        """Run a task, or refuse it, and record its end.

        Args:
            interrupted: when it was begun, by an agent that ended meanwhile; seconds since 1970.
            accepted: that the ledger has it; None where it had it before.

        Raises:
            sqlite3.Error: it needs leave, and the ledger does not have it.
        """
        begun = time.monotonic()
        try:
            ended = await self._until_end(release, interrupted, accepted, fresh)
        except sqlite3.Error:
            raise
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            log.exception("task broke off", job=release.id)
            ended = self._executor.broke_off(release.id, interrupted, error)
        except Exception as error:
            # It must not stay open for ever.
            log.exception("task broke off", job=release.id)
            ended = self._executor.broke_off(release.id, interrupted, error)
        if ended is None:
            return
        self._executor.log_end(job_of(release), ended, begun)
        await self._end(release, ended)

    async def _until_end(
        self, release: Release, interrupted: float | None, accepted: Change | None, fresh: bool
    ) -> Event | None:
        """Return how a task ends, None where it was dropped; see `_perform`."""
        asks = release.leave and interrupted is None
        ended = self._executor.refusal(release, interrupted)
        if ended is None and asks:
            if accepted is not None:
                await accepted
            leave = await self._leave(release)
            if leave is False:
                log.info("task dropped", job=release.id)
                await self._ledger.persist(lambda: self._ledger.drop(release.id), release.id)
                return None
            ended = leave if isinstance(leave, Event) else None
        if ended is not None:
            return ended
        return await self._run(release, interrupted, Mode(fresh=fresh, announced=asks))

    async def _leave(self, release: Release) -> Event | bool:
        """Return whether a task may begin; how it has ended, where it has meanwhile."""
        found = await self._executor.unless_cancelled(release.id, self._ask_leave(release))
        return self._executor.cancelled(release.id) if found is None else found

    async def _ask_leave(self, release: Release) -> Event | bool:
        started = self._executor.event(release.id, STARTED)
        pauses = self._outbox.pauses()
        while True:
            try:
                receipt = await self._outbox.report(started)
            except BrokerUnreachable as error:
                log.warning("no leave yet", job=release.id, reason=error.details)
            else:
                if receipt.over:
                    return False
                if receipt.leave:
                    return True
                if receipt.status == REFUSED:
                    reason = f"not begun, its start was refused: {receipt.reason}"
                    return self._executor.event(release.id, FAILED, error=reason)
                log.info("no leave yet", job=release.id, reason=receipt.reason or None)
            ended = self._executor.refusal(release, None)
            if ended is not None:
                return ended
            await pauses.wait()

    async def _run(self, release: Release, interrupted: float | None, mode: Mode) -> Event:
        job = job_of(release)
        started = self._executor.now(job.id) if interrupted is None else interrupted
        # Written together with the acceptance.
        begin = self._ledger.start(job.id, started)
        recorded = asyncio.create_task(self._record(begin, started, release))
        try:
            if self._executor.once(job):
                await recorded
                # That may have taken long.
                ended = self._executor.refusal(release, None)
                if ended is not None:
                    return ended
            return await self._executor.execute(release, started, mode)
        finally:
            recorded.cancel()

    async def _record(self, begin: Change, started: float, release: Release) -> None:
        """Have the ledger keep that a task begins, however long that takes.

        What may run twice need not wait for this: if it is lost, the task is released again.
        """

        def again() -> Change:
            self._ledger.accept(release)
            return self._ledger.start(release.id, started)

        try:
            await begin
        except sqlite3.Error as error:
            log.error("begin of task not recorded yet", job=release.id, reason=str(error))
            await self._ledger.persist(again, release.id)


async def _always(event: asyncio.Event) -> None:
    await event.wait()


def not_understood(names: list[str]) -> str:
    """Return the reason of a task that is skipped, since it asks for what is not understood."""
    return f"this agent ({__version__}) does not understand {', '.join(names)}: it is too old"
