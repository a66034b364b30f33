"""The tasks that run on this node at this moment: begun, cancelled, and how each ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
import structlog

from towline import __version__
from towline.agent.capabilities import Capabilities
from towline.agent.fields import clean, clean_moment, clean_name
from towline.agent.node import Node
from towline.agent.outbox import Outbox
from towline.agent.progress import ProgressSender
from towline.agent.provider import Task
from towline.broker.clock import Clock, running
from towline.errors import ProviderUnreachable, TaskFailed, TowlineError
from towline.operation import Effect, catalog
from towline.runtime.part import is_cancelled
from towline.units import timestamp
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.event import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    LED,
    OWN_CODES,
    SKIPPED,
    STARTED,
    STEP,
    Event,
    Lead,
    Step,
)
from towline.wire.fact_references import refers, resolve
from towline.wire.job import CONVERGE, READ, Job
from towline.wire.release import Release
from towline.wire.report import LARGEST_REPORT
from towline.wire.subjects import report_subject

log = structlog.get_logger()

T = TypeVar("T")

ANNOUNCED_AFTER = 0.5
"""Seconds that a task must run before its start is reported: what ends sooner says so with its end,
and costs one event less."""
ANNOUNCED_PER_NODE = 0.001
"""Seconds longer for each node of the job: thousands that begin together would all report it just
when they report their ends, and nobody follows each of them."""


class Mode(msgspec.Struct, frozen=True):
    """How a task is run.

    Attributes:
        fresh: see `Task`.
        announced: whether its start is reported already, or is not to be.
        recorded: whether its steps are recorded: not those of what is answered past the ledger.
    """

    fresh: bool = True
    announced: bool = False
    recorded: bool = True


class Executor:
    """Runs the bodies of operations.

    Args:
        clock: by it jobs expire.
        outbox: what reports steps and starts of tasks.
        progress: what sends how many bytes are done.
        facts: returns what is known of the machine by name, for references to it.
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
        facts: Callable[[], Mapping[str, str]],
        *,
        announced_after: float = ANNOUNCED_AFTER,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._capabilities = capabilities
        self._clock = clock
        self._outbox = outbox
        self._progress = progress
        self._facts = facts
        self._announced_after = announced_after
        self._wall_clock = wall_clock
        self._ahead: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._bodies: dict[str, asyncio.Task[Any]] = {}
        self._cancelled: dict[str, str] = {}
        outbox.over = self._over

    @property
    def task_count(self) -> int:
        """How many tasks there are at this moment."""
        return len(self._running)

    def runs(self, job_id: str) -> bool:
        """Return whether the task of a job is under way."""
        return job_id in self._running

    def spawn(self, job_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Do the work that takes the task of a job from its begin to its end."""
        task = asyncio.create_task(work, name=job_id)
        self._running[job_id] = task
        self._ahead[job_id] = self._wall_clock() - running()

        def finished(task: asyncio.Task[None]) -> None:
            self._running.pop(job_id, None)
            self._ahead.pop(job_id, None)
            self._cancelled.pop(job_id, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("task broke off", job=job_id, exc_info=error)

        task.add_done_callback(finished)

    def cancel(self, job_id: str, reason: str) -> asyncio.Task[None] | None:
        """Cancel the task of a job; return what ends when the task has ended, None where none runs.

        Args:
            reason: why, for people. The first one counts: a second one must not break off what the
                operation does to end well.
        """
        running = self._running.get(job_id)
        if running is not None and job_id not in self._cancelled:
            self._cancelled[job_id] = reason
            if job_id in self._bodies:
                self._bodies[job_id].cancel()
        return running

    def _over(self, job_id: str) -> None:
        if self.cancel(job_id, "broken off: it has ended for the controllers") is not None:
            log.warning("task has ended for the controllers", job=job_id)

    async def unless_cancelled(self, job_id: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what some work of a task returns, None where the task is cancelled."""
        if job_id in self._cancelled:
            work.close()
            return None
        task = asyncio.current_task()
        assert task is not None
        self._bodies[job_id] = task
        try:
            return await work
        except asyncio.CancelledError:
            # Of two cancellations one is another's, who wants the whole task to end.
            if job_id not in self._cancelled or task.cancelling() != 1:
                raise
            return None
        finally:
            del self._bodies[job_id]
            if job_id in self._cancelled:
                task.uncancel()

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

    def reads(self, job: Job) -> bool:
        """Return whether a job only reads: both sides must say so."""
        operation = catalog.task(job.operation)
        return job.effect == READ and (operation is None or operation.effect is Effect.READ)

    def once(self, job: Job) -> bool:
        """Return whether a job must not run twice: whichever side says so."""
        operation = catalog.task(job.operation)
        return job.effect not in (READ, CONVERGE) or (
            operation is not None and operation.effect is Effect.ONCE
        )

    def refusal(self, release: Release, started: float | None) -> Event | None:
        """Return the event that ends a task which is not to be begun (again), or None.

        Args:
            started: when it was begun, by an agent that ended meanwhile; seconds since 1970.
        """
        job = job_of(release)

        def ended(kind: str, error: str) -> Event:
            return self.event(job.id, kind, started=started, error=error)

        if job.id in self._cancelled:
            return self.cancelled(job.id, started)
        operation = catalog.task(job.operation)
        if operation is None:
            return ended(SKIPPED, f"this agent ({__version__}) does not know {job.operation}")
        if started is not None and self.once(job):
            return ended(FAILED, "interrupted: the agent ended while it ran, it is not run again")
        now = self._clock.now()
        if now > job.expires:
            reason = (
                "not begun before" if started is None else "interrupted, and not begun again after"
            )
            return ended(EXPIRED, f"{reason} the job expired at {timestamp(job.expires)}")
        if now > release.expires and started is None:
            over = timestamp(release.expires)
            return ended(EXPIRED, f"not begun before its turn was over at {over}")
        if not self._capabilities.offers(operation.requires):
            return ended(SKIPPED, f"this node has no {operation.requires}")
        return None

    async def execute(self, release: Release, started: float | None, mode: Mode) -> Event:
        """Run a task unless it is cancelled; return the event that ends it."""
        job = job_of(release)
        try:
            ended = await self.unless_cancelled(job.id, self._announced(release, started, mode))
            return ended or self.cancelled(job.id, started)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            # A library that cancels its own futures ends no task in silence.
            log.exception("operation broke off", job=job.id, operation=job.operation)
            return self.broke_off(job.id, started, error)
        except Exception as error:
            log.exception("operation broke off", job=job.id, operation=job.operation)
            return self.broke_off(job.id, started, error)

    def event(
        self,
        job_id: str,
        kind: str,
        *,
        moment: float | None = None,
        started: float | None = None,
        error: str | None = None,
        code: int | None = None,
        data: Any = None,
    ) -> Event:
        """Return an event of this node's.

        Args:
            moment: when it came to be, in seconds since 1970; None for now.
            code, data: see `Event`.
        """
        return Event(
            job_id,
            self._node.machine,
            self._node.hostname,
            kind,
            clean_moment(self.now(job_id) if moment is None else moment),
            started=None if started is None else clean_moment(started),
            data=data,
            error=None if error is None else clean(error),
            code=code,
        )

    def cancelled(self, job_id: str, started: float | None = None) -> Event:
        """Return the end of a task that was cancelled."""
        return self.event(job_id, CANCELLED, started=started, error=self._cancelled[job_id])

    def broke_off(self, job_id: str, started: float | None, error: BaseException) -> Event:
        """Return the end of a task at an error that nobody expected."""
        reason = f"unexpected {type(error).__name__}: {error}"
        return self.event(job_id, FAILED, started=started, error=reason)

    def _step(self, job_id: str, step: Step) -> Event:
        event = self.event(job_id, STEP, error=step.message)
        waits = None if step.waits is None else clean_name(step.waits)
        return msgspec.structs.replace(event, step=clean_name(step.name), waits=waits)

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

    async def _announced(self, release: Release, started: float | None, mode: Mode) -> Event:
        """Run the operation, and report its start if it takes a while."""
        if mode.announced:
            return await self._call(release, started, mode)
        announcing: list[asyncio.Task[None]] = []

        async def announce(event: Event) -> None:
            receipt = await self._outbox.insist(event)
            if receipt.over:
                self._over(event.job)

        def begin() -> None:
            event = self.event(release.id, STARTED, moment=started)
            announcing.append(asyncio.create_task(announce(event)))

        after, job = self._announced_after, job_of(release)
        if not self.once(job):
            # Of what must not run twice it matters whether a node that is gone had begun it.
            after += job.nodes * ANNOUNCED_PER_NODE
        timer = asyncio.get_running_loop().call_later(after, begin)
        try:
            return await self._call(release, started, mode)
        finally:
            timer.cancel()
            for task in announcing:
                task.cancel()

    async def _call(self, release: Release, started: float | None, mode: Mode) -> Event:
        job = job_of(release)

        def failed(error: str, code: int | None = None) -> Event:
            return self.event(job.id, FAILED, started=started, error=error, code=code)

        operation = catalog.task(job.operation)
        assert operation is not None
        try:
            given = job.parameters
            given = resolve(given, self._facts()) if refers(given) else given
            parameters = operation.read(given, resolved=True)
        except ValueError as error:
            return failed(f"this agent ({__version__}) can't read the parameters: {error}")

        def step(step: Step) -> None:
            if mode.recorded:
                self._outbox.step(self._step(job.id, step))

        async def found(value: str) -> Lead:
            return await self._found(job.id, value)

        task = Task(
            job,
            release,
            mode.fresh,
            step,
            lambda progress: self._progress.send(job.id, progress),
            found if release.leads else None,
        )
        try:
            result = await operation.function(
                self._node.serving(task), **msgspec.structs.asdict(parameters)
            )
        except TowlineError as error:
            if isinstance(error, ProviderUnreachable):
                self._capabilities.probe_now(operation.requires)
            return failed(error.error, error.code if error.code in OWN_CODES else None)
        finally:
            self._progress.end(job.id)
        ended = self.event(job.id, COMPLETED, started=started, data=msgspec.to_builtins(result))
        body = msgspec.json.encode(ended)
        if len(body) > LARGEST_REPORT:
            return failed(
                f"its result has {len(body)} bytes, more than the {LARGEST_REPORT} that a node "
                "may report: ask for less of it"
            )
        try:
            messages.report(report_subject(self._node.machine), body)
        except Unreadable as error:
            return failed(f"its result can't be reported: {error}")
        return ended

    async def _found(self, job_id: str, value: str) -> Lead:
        """Report what a task that leads has found; return the lead that is stored."""
        data = {"value": clean(value), "hostname": self._node.hostname}
        receipt = await self._outbox.insist(self.event(job_id, LED, data=data))
        if receipt.lead is None:
            reason = receipt.reason or "the job has ended"
            raise TaskFailed(f"the controllers do not take what was found: {reason}")
        return receipt.lead


def job_of(release: Release) -> Job:
    """Return the job of a release that has one."""
    assert release.job is not None
    return release.job
