"""The runner: tasks that change something, each through the ledger from its begin to its end."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable

import structlog

from towline.agent.delivery import Delivery
from towline.agent.executor import Executor
from towline.agent.ledger import Ledger
from towline.agent.outbox import Outbox
from towline.broker.clock import Clock
from towline.operation import Effect, catalog
from towline.wire.event import CANCELLED
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

    def resume(self, delivered: Callable[[Job], Delivery]) -> None:
        """Go on with what was under way when the agent ended.

        Args:
            delivered: returns a job of the ledger as the delivery that it came by.
        """
        for job, started in self._ledger.unfinished():
            self._executor.spawn(job, self._resume(delivered(job), started))

    def take(self, delivery: Delivery) -> None:
        """Begin a task, unless it has been already; acknowledged once it stands in the ledger."""
        self._executor.spawn(delivery.job, self._take_on(delivery))

    def cancel(self, job_id: str, delivery: Delivery) -> None:
        """Cancel the task of a job; acknowledged once its end stands in the ledger.

        Args:
            delivery: what brought the cancellation.
        """
        running = self._executor.cancel(job_id, delivery.job.caller)

        async def settle() -> None:
            if running is not None:
                await asyncio.wait([running])
            else:
                self._ledger.refuse(job_id)
                await self._ledger.commit()
            await delivery.acknowledge()

        task = asyncio.create_task(settle())
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def stop(self) -> None:
        """Leave what runs to the next start."""
        for task in self._cancelling:
            task.cancel()
        await self._executor.stop()

    async def _take_on(self, delivery: Delivery) -> None:
        job = delivery.job
        try:
            if not self._ledger.accept(job, delivery.sequence):
                if self._ledger.refused(job.id):
                    await self._outbox.end(self._executor.event(job, CANCELLED, error="cancelled"))
                await delivery.acknowledge()
                return
            if delivery.needs_leave:
                await self._ledger.commit()
                if not await self._has_leave(delivery):
                    await delivery.acknowledge()
                    return
            await self._perform(job, None, delivery)
        except sqlite3.Error as error:
            # Not acknowledged: it is delivered again in a while.
            log.error("job not taken on", job=job.id, reason=str(error))

    async def _resume(self, delivery: Delivery, started: float | None) -> None:
        job = delivery.job
        if self._clock.now() > job.expires:
            # Perhaps only by this node's clock; the end could be sent to nobody now anyway.
            await self._clock.known.wait()
        if started is None and not await self._has_leave(delivery):
            return
        await self._perform(job, started, delivery)

    async def _has_leave(self, delivery: Delivery) -> bool:
        """Return whether this node may begin; another node's task is dropped from the ledger."""
        if await delivery.leave():
            caller = await delivery.cancelled_by()
            if caller is not None:
                self._executor.cancel(delivery.job.id, caller)
            return True
        self._ledger.drop(delivery.job.id)
        await self._ledger.commit()
        return False

    async def _perform(self, job: Job, started: float | None, delivery: Delivery) -> None:
        """Run a task that stands in the ledger, and record its end there.

        Raises:
            sqlite3.Error: the ledger could not be written; nothing was begun, and `delivery` not
                acknowledged.
        """
        begun = time.monotonic()
        ended = self._executor.refusal(job, started)
        if ended is None and started is None:
            started = time.time()
            self._ledger.start(job.id, started)
        stored = asyncio.create_task(self._acknowledge(delivery))
        try:
            if ended is None:
                operation = catalog.get(job.operation)
                if operation is not None and operation.effect is Effect.ONCE:
                    await stored
                ended = await self._executor.execute(job, started)
            await stored
        finally:
            stored.cancel()
        self._executor.log_end(job, ended, begun)
        await self._outbox.end(ended)

    async def _acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge what the ledger has on the disk.

        What may run twice need not wait for this: if it is lost, the job is delivered again.
        """
        await self._ledger.commit()
        await delivery.acknowledge()
