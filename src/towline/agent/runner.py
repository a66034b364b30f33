"""The runner: tasks that change something, each through the ledger from its begin to its end."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable

import structlog

from towline.agent.changes import Change
from towline.agent.delivery import Delivery
from towline.agent.executor import Executor
from towline.agent.ledger import Ledger
from towline.agent.outbox import Outbox
from towline.broker.clock import Clock
from towline.operation import Effect, catalog
from towline.wire.event import CANCELLED, Event
from towline.wire.job import Job

log = structlog.get_logger()


class Runner:
    """Runs what this node was given to do, none of it twice that must not be.

    Args:
        clock: by it jobs expire.
    """

    def __init__(self, ledger: Ledger, executor: Executor, outbox: Outbox, clock: Clock) -> None:
        self._ledger = ledger
        self._executor = executor
        self._outbox = outbox
        self._clock = clock
        self._cancelling: set[asyncio.Task[None]] = set()

    async def resume(self, delivered: Callable[[Job], Delivery]) -> None:
        """Go on with what was under way when the agent ended.

        Args:
            delivered: returns a job of the ledger as the delivery that it came by.
        """
        while True:
            try:
                unfinished = await self._ledger.unfinished()
                break
            except sqlite3.Error as error:
                log.error("ledger not readable", reason=str(error))
                await asyncio.sleep(self._ledger.retry_every)
        for job, started in unfinished:
            self._executor.spawn(job, self._resume(delivered(job), started))

    def take(self, delivery: Delivery) -> None:
        """Begin a task, unless it has been already; acknowledged once the ledger has it."""
        self._executor.spawn(delivery.job, self._take(delivery))

    def cancel(self, job_id: str, delivery: Delivery) -> None:
        """Cancel the task of a job; acknowledged once the ledger has its end.

        Args:
            delivery: what brought the cancellation.
        """
        running = self._executor.cancel(job_id, delivery.job.caller)
        task = asyncio.create_task(self._cancel(job_id, running, delivery))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def close(self) -> None:
        """Break off what runs: the next start goes on with it."""
        for task in self._cancelling:
            task.cancel()
        await asyncio.gather(*self._cancelling, return_exceptions=True)
        await self._executor.close()

    async def _cancel(
        self, job_id: str, running: asyncio.Task[None] | None, delivery: Delivery
    ) -> None:
        if running is not None:
            await asyncio.wait([running])
        try:
            # For a task that did run as well: its job may not have been accepted, and come again.
            await self._ledger.refuse(job_id, received=self._clock.now())
        except sqlite3.Error as error:
            # Not acknowledged: it is delivered again in a while.
            log.error("cancellation not recorded", job=job_id, reason=str(error))
            return
        await delivery.acknowledge()

    async def _take(self, delivery: Delivery) -> None:
        job = delivery.job
        try:
            accepted = self._accept(delivery)
            if accepted is None:
                if self._ledger.refused(job.id):
                    await self._outbox.end(self._executor.event(job, CANCELLED, error="cancelled"))
                await delivery.acknowledge()
                return
            if delivery.needs_leave:
                await accepted
                if not await self._has_leave(delivery):
                    await delivery.acknowledge()
                    return
            await self._perform(delivery, None, accepted)
        except sqlite3.Error as error:
            # Neither begun nor acknowledged: it is delivered again in a while, perhaps to another.
            log.error("job not accepted", job=job.id, reason=str(error))

    async def _resume(self, delivery: Delivery, started: float | None) -> None:
        if self._clock.now() > delivery.job.expires:
            # Perhaps only by this node's clock; the end could be sent to nobody now anyway.
            await self._clock.known.wait()
        if started is not None or await self._has_leave(delivery):
            await self._perform(delivery, started, None)

    async def _has_leave(self, delivery: Delivery) -> bool:
        """Return whether this node may begin; another node's task is dropped from the ledger."""
        job = delivery.job
        if await delivery.leave():
            caller = await delivery.cancelled_by()
            if caller is not None:
                self._executor.cancel(job.id, caller)
            return True
        await self._ledger.persist(lambda: self._ledger.drop(job.id), job.id)
        return False

    async def _perform(
        self, delivery: Delivery, interrupted: float | None, accepted: Change | None
    ) -> None:
        """Run a task, or refuse it, and record its end.

        Args:
            interrupted: when it was begun, by an agent that ended meanwhile; seconds since 1970.
            accepted: that the ledger has it; None where it had it before.

        Raises:
            sqlite3.Error: the ledger does not have it, and it was refused.
        """
        begun = time.monotonic()
        ended = self._executor.refusal(delivery.job, interrupted)
        if ended is None:
            ended = await self._run(delivery, interrupted)
        else:
            if accepted is not None:
                await accepted
            await delivery.acknowledge()
        self._executor.log_end(delivery.job, ended, begun)
        await self._outbox.end(ended)

    async def _run(self, delivery: Delivery, interrupted: float | None) -> Event:
        job = delivery.job
        started = self._executor.now(job.id) if interrupted is None else interrupted
        # Written together with the acceptance.
        begin = self._ledger.start(job.id, started)
        recorded = asyncio.create_task(self._record(begin, started, delivery))
        try:
            ended = None
            operation = catalog.get(job.operation)
            if operation is not None and operation.effect is Effect.ONCE:
                await recorded
                # That may have taken long.
                ended = self._executor.refusal(job, interrupted)
            if ended is None:
                ended = await self._executor.execute(job, started)
            await recorded
            return ended
        finally:
            recorded.cancel()

    async def _record(self, begin: Change, started: float, delivery: Delivery) -> None:
        """Acknowledge a task once the ledger has its begin on the disk, however long that takes.

        What may run twice need not wait for this: if it is lost, the job is delivered again.
        """
        job_id = delivery.job.id

        def again() -> Change:
            self._accept(delivery)
            return self._ledger.start(job_id, started)

        try:
            await begin
        except sqlite3.Error as error:
            log.error("begin of task not recorded yet", job=job_id, reason=str(error))
            await self._ledger.persist(again, job_id)
        await delivery.acknowledge()

    def _accept(self, delivery: Delivery) -> Change | None:
        return self._ledger.accept(
            delivery.job, received=self._clock.now(), sequence=delivery.sequence
        )
