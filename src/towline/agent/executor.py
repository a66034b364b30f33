"""The tasks that run on this node at this moment: begun, cancelled, and how each ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from towline import __version__
from towline.agent.capabilities import Capabilities
from towline.agent.node import Node
from towline.agent.outbox import Outbox
from towline.agent.progress import ProgressSender
from towline.agent.provider import Task
from towline.broker.clock import Clock, running
from towline.errors import ProviderUnreachable, TowlineError
from towline.operation import Effect, catalog
from towline.units import timestamp
from towline.wire.event import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    SKIPPED,
    STARTED,
    STEP,
    Event,
    Step,
)
from towline.wire.job import Job

log = structlog.get_logger()

ANNOUNCED_AFTER = 0.5
"""Seconds that a task must run before its start is reported: what ends sooner says so with its end,
and costs one event less."""
LONGEST_ERROR = 4000
"""Characters of an error that are reported: what a provider answers may be a whole page, and the
broker takes no message without bounds."""


class Executor:
    """Runs the bodies of operations.

    Args:
        clock: by it jobs expire.
        outbox: what delivers steps and starts of tasks.
        progress: what sends how many bytes are done.
        announced_after: seconds that a task must run before its start is reported.
        wall_clock: returns seconds since 1970; may be set while tasks run.
    """

    def __init__(
        self,
        node: Node,
        capabilities: Capabilities,
        clock: Clock,
        outbox: Outbox,
        progress: ProgressSender,
        *,
        announced_after: float = ANNOUNCED_AFTER,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._capabilities = capabilities
        self._clock = clock
        self._outbox = outbox
        self._progress = progress
        self._announced_after = announced_after
        self._wall_clock = wall_clock
        self._ahead: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._bodies: dict[str, asyncio.Task[Event]] = {}
        self._cancelled: dict[str, str] = {}

    @property
    def task_count(self) -> int:
        """How many tasks there are at this moment."""
        return len(self._running)

    def runs(self, job_id: str) -> bool:
        """Return whether the task of a job is under way."""
        return job_id in self._running

    def spawn(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """Do the work that takes the task of a job from its begin to its end."""
        task = asyncio.create_task(work, name=job.id)
        self._running[job.id] = task
        self._ahead[job.id] = self._wall_clock() - running()

        def finished(task: asyncio.Task[None]) -> None:
            self._running.pop(job.id, None)
            self._ahead.pop(job.id, None)
            self._cancelled.pop(job.id, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("task broke off", job=job.id, exc_info=error)

        task.add_done_callback(finished)

    def cancel(self, job_id: str, caller: str) -> asyncio.Task[None] | None:
        """Cancel the task of a job; return what ends when the task has ended, None where none runs.

        Args:
            caller: who wants that.
        """
        running = self._running.get(job_id)
        if running is not None:
            self._cancelled[job_id] = caller
            if job_id in self._bodies:
                self._bodies[job_id].cancel()
        return running

    def now(self, job_id: str) -> float:
        """Return seconds since 1970 by this node's clock as it was when the task was spawned.

        So the moments of a task are in order, and as far apart as they were, if the clock is set
        meanwhile.
        """
        ahead = self._ahead.get(job_id)
        return self._wall_clock() if ahead is None else ahead + running()

    async def close(self) -> None:
        """Break off all tasks, and wait until they are."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def refusal(self, job: Job, started: float | None) -> Event | None:
        """Return the event that ends a task which is not to be begun (again), or None.

        Args:
            started: when it was begun, by an agent that ended meanwhile; seconds since 1970.
        """

        def ended(kind: str, error: str) -> Event:
            return self.event(job, kind, started=started, error=error)

        if job.id in self._cancelled:
            return self._was_cancelled(job, started)
        operation = catalog.get(job.operation)
        if operation is None:
            return ended(SKIPPED, f"this agent ({__version__}) does not know {job.operation}")
        if started is not None and operation.effect is Effect.ONCE:
            return ended(FAILED, "interrupted: the agent ended while it ran, it is not run again")
        if self._clock.now() > job.expires:
            reason = (
                "not begun before" if started is None else "interrupted, and not begun again after"
            )
            return ended(EXPIRED, f"{reason} the job expired at {timestamp(job.expires)}")
        if not self._capabilities.offers(operation.requires):
            return ended(SKIPPED, f"this node has no {operation.requires}")
        return None

    async def execute(self, job: Job, started: float | None) -> Event:
        """Run a task unless it is cancelled; return the event that ends it."""
        if job.id in self._cancelled:
            return self._was_cancelled(job, started)
        body = asyncio.create_task(self._announced(job, started))
        self._bodies[job.id] = body
        try:
            return await body
        except asyncio.CancelledError as error:
            own = asyncio.current_task()
            if own is not None and own.cancelling():
                raise
            if job.id in self._cancelled:
                return self._was_cancelled(job, started)
            # A library that cancels its own futures ends no task in silence.
            log.exception("operation broke off", job=job.id, operation=job.operation)
            return self._broke_off(job, started, error)
        except Exception as error:
            log.exception("operation broke off", job=job.id, operation=job.operation)
            return self._broke_off(job, started, error)
        finally:
            del self._bodies[job.id]

    def event(
        self,
        job: Job,
        kind: str,
        *,
        moment: float | None = None,
        started: float | None = None,
        error: str | None = None,
        data: Any = None,
    ) -> Event:
        """Return an event of this node's.

        Args:
            moment: when it came to be, in seconds since 1970; None for now.
        """
        return Event(
            job.id,
            self._node.machine,
            self._node.hostname,
            kind,
            self.now(job.id) if moment is None else moment,
            started=started,
            data=data,
            error=error if error is None or len(error) <= LONGEST_ERROR else _cut(error),
        )

    def _step(self, job: Job, step: Step) -> Event:
        event = self.event(job, STEP, error=step.message)
        return msgspec.structs.replace(event, step=step.name, waits=step.waits)

    def log_end(self, job: Job, ended: Event, begun: float) -> None:
        """Log the end of a task.

        Args:
            begun: when its work was begun, by the monotonic clock.
        """
        log.info(
            "task ended",
            job=job.id,
            node=self._node.hostname,
            operation=job.operation,
            outcome=ended.kind,
            error=ended.error,
            milliseconds=round((time.monotonic() - begun) * 1000, 1),
            trace=job.trace,
        )

    def _was_cancelled(self, job: Job, started: float | None) -> Event:
        reason = f"cancelled by {self._cancelled[job.id]}"
        return self.event(job, CANCELLED, started=started, error=reason)

    def _broke_off(self, job: Job, started: float | None, error: BaseException) -> Event:
        reason = f"unexpected {type(error).__name__}: {error}"
        return self.event(job, FAILED, started=started, error=reason)

    async def _announced(self, job: Job, started: float | None) -> Event:
        """Run the operation, and report its start if it takes a while."""
        announcing: list[asyncio.Task[None]] = []

        def announce() -> None:
            event = self.event(job, STARTED, moment=started)
            announcing.append(asyncio.create_task(self._outbox.announce(event)))

        timer = asyncio.get_running_loop().call_later(self._announced_after, announce)
        try:
            return await self._call(job, started)
        finally:
            timer.cancel()
            for task in announcing:
                task.cancel()

    async def _call(self, job: Job, started: float | None) -> Event:
        def failed(error: str) -> Event:
            return self.event(job, FAILED, started=started, error=error)

        operation = catalog.get(job.operation)
        assert operation is not None
        try:
            parameters = operation.read(job.parameters)
        except (msgspec.ValidationError, ValueError) as error:
            return failed(f"this agent ({__version__}) can't read the parameters: {error}")
        node = self._node.serving(
            Task(
                job,
                lambda step: self._outbox.step(self._step(job, step)),
                lambda progress: self._progress.send(job.id, progress),
            )
        )
        try:
            result = await operation.function(node, **msgspec.structs.asdict(parameters))
        except TowlineError as error:
            if isinstance(error, ProviderUnreachable):
                self._capabilities.probe_now(operation.requires)
            return failed(error.error)
        finally:
            self._progress.end(job.id)
        return self.event(job, COMPLETED, started=started, data=msgspec.to_builtins(result))


def _cut(error: str) -> str:
    return f"{error[:LONGEST_ERROR]} … ({len(error)} characters in all)"
