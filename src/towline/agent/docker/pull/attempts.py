"""Trying until it is there: a pull as often as it takes, and as it makes sense."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
import structlog

from towline.agent.docker import answers
from towline.agent.docker.engine import Engine
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull import naming, stall, steps
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.faults import Fault, classify
from towline.agent.docker.pull.layers import Layers
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.slots import Slots
from towline.errors import TaskFailed, TowlineError
from towline.operations.docker import Pulled
from towline.wire.event import Step
from towline.wire.job import Job
from towline.wire.reference import InvalidReference, Reference

log = structlog.get_logger()

T = TypeVar("T")

FIRST_PAUSE = 2.0
"""Seconds that the pause after the first attempt is at most; it doubles with each."""
LONGEST_PAUSE = 120.0
DISCARDED_AFTER = 1.0
"""Seconds that a containerd image store is given, beyond the pause, to throw a layer away that came
wrong: it does with its next garbage collection, at most some 0.3 s later where there are few
images. Until then it fails by that layer again."""
ENGINE_BACK_WITHIN = 30.0
"""Seconds that a pull waits for an engine that went away, beyond the pause: it restarts."""
LOOK_EVERY = 0.5
MOST_COOLDOWNS = 20
"""Cooldowns of its registry that a pull waits for. Of those of which the registry doesn't say how
long, that many are some four hours."""


class Pauses(msgspec.Struct, frozen=True):
    """What lies between two attempts, in seconds; see the constants."""

    first: float = FIRST_PAUSE
    longest: float = LONGEST_PAUSE
    discarded_after: float = DISCARDED_AFTER
    engine_back_within: float = ENGINE_BACK_WITHIN


class Attempts:
    """Pulls images, trying again where that may help.

    Args:
        hooks: what has a say in each attempt, in this order.
        slots: where each attempt waits for its turn.
    """

    def __init__(self, engine: Engine, hooks: Sequence[Hook], slots: Slots, pauses: Pauses) -> None:
        self._engine = engine
        self._hooks = hooks
        self._slots = slots
        self._pauses = pauses

    async def pull(
        self,
        order: Order,
        progress: Hook,
        step: Callable[[Step], None],
        jobs: Callable[[], list[Job]],
    ) -> Pulled:
        """Pull an image.

        Args:
            progress: the hook of this pull alone.
            step: records a step in the jobs' timelines.
            jobs: returns the jobs that share the pull.

        Raises:
            TaskFailed: it could not be pulled; with the engine's own words.
        """
        hooks = [progress, *self._hooks]
        return await _Pull(self._engine, order, hooks, step, self._slots, self._pauses, jobs).run()


class _Pull:
    """One pull, until the image is there or there is no hope."""

    def __init__(
        self,
        engine: Engine,
        order: Order,
        hooks: Sequence[Hook],
        step: Callable[[Step], None],
        slots: Slots,
        pauses: Pauses,
        jobs: Callable[[], list[Job]],
    ) -> None:
        self._engine = engine
        self._order = order
        self._hooks = hooks
        self._step = step
        self._slots = slots
        self._pauses = pauses
        self._jobs = jobs
        self._before: answers.Image | None = None
        self._looked = False
        self._failed = 0
        self._cooldowns = 0
        self._alike: Counter[str] = Counter()

    async def run(self) -> Pulled:
        while True:
            attempt = Attempt(self._order, self._failed + 1, self._step, self._jobs)
            try:
                if not self._looked:
                    # Once: an attempt whose end never reached us may have changed it.
                    self._before = await self._engine.image(self._order.name)
                    self._looked = True
                    if self._before is not None and self._order.policy == "missing":
                        return present(self._order, self._before)
                return await self._in_turn(attempt)
            except TaskFailed as failure:
                error = failure
                for hook in self._hooks:
                    error = hook.explain(attempt, error)
                fault = classify(error, self._order.reference)
                pause = await self._after(attempt, fault)
                if pause is None:
                    raise _ended(error, fault, attempt) from failure
            await asyncio.sleep(pause)
            await self._engine_back()

    async def _after(self, attempt: Attempt, fault: Fault) -> float | None:
        """Return for how many seconds to wait after a failed attempt; None to give up."""
        if fault.kind is Kind.BUSY and self._order.retries:
            # Nobody's fault: the registry is left alone for a while, and asked again.
            self._cooldowns += 1
        else:
            self._failed += 1
        for hook in self._hooks:
            await hook.failed(attempt, fault)
        self._alike[fault.alike] += 1
        given_up = fault.attempts is not None and self._alike[fault.alike] >= fault.attempts
        given_up = given_up or self._cooldowns > MOST_COOLDOWNS
        pause = None
        if not given_up and self._failed <= self._order.retries:
            pause = self._pause(fault)
        what = f"attempt {attempt.number} of {self._order.retries + 1} failed: {fault.told}"
        then = "it is not tried again" if pause is None else f"tried again in {pause:.1f} s"
        log.warning("attempt failed", image=self._order.name, kind=fault.kind.value, reason=what)
        attempt.step(steps.attempt(f"{what} ({fault.kind.value}; {then})"))
        return pause

    def _pause(self, fault: Fault) -> float:
        # Full jitter: nodes whose pulls failed together must not come back together.
        failed = max(1, self._failed)
        pause = random.uniform(0, min(self._pauses.longest, self._pauses.first * 2 ** (failed - 1)))
        return pause + (self._pauses.discarded_after if fault.kind is Kind.DAMAGED else 0.0)

    async def _engine_back(self) -> None:
        """Return when the engine answers, or has not for long enough: it may be restarting."""
        deadline = time.monotonic() + self._pauses.engine_back_within
        while time.monotonic() < deadline:
            try:
                await self._engine.ping()
                return
            except TowlineError:
                await asyncio.sleep(LOOK_EVERY)

    async def _in_turn(self, attempt: Attempt) -> Pulled:
        """Make the attempt when the node has a slot for it and all hooks agree."""
        while True:
            for hook in self._hooks:
                await hook.ready(attempt)
            async with self._slots.slot(self._step):
                if all(hook.allows(attempt) for hook in self._hooks):
                    return await self._try(attempt)

    async def _try(self, attempt: Attempt) -> Pulled:
        for hook in self._hooks:
            await hook.before(attempt)
        reference, lead = self._order.reference, attempt.lead
        digest = lead.value if lead is not None else reference.digest
        has = naming.Present()
        if lead is not None:
            has = await naming.present(self._engine, reference, lead.value)
        if not has.whole:
            watches = [hook.watch(attempt) for hook in self._hooks]
            digest = await beside(self._follow(attempt, digest), *watches)
        if lead is not None:
            await naming.give(self._engine, reference, lead.value, has)
        after = await self._engine.image(self._order.name)
        if after is None:
            name = self._order.name
            raise TaskFailed(f"the Docker Engine reported success, but knows no image {name}")
        changed = self._before is None or self._before.id != after.id
        return Pulled(after.id, after.size, changed, reference.tag, digest)

    async def _follow(self, attempt: Attempt, digest: str | None) -> str | None:
        """Follow the engine's pull to its end; return the manifest digest that it names."""
        reference = self._order.reference
        tag = digest or reference.tag or "latest"
        finished = False
        # Its clocks begin now: before, it has waited for others than the engine.
        attempt.layers = Layers(time.monotonic())
        # Left, or cancelled, it closes the connection, by which the engine breaks the pull off.
        async with aclosing(self._engine.pull(reference.repository, tag, attempt.auth)) as messages:
            while (message := await _next(messages, attempt)) is not None:
                for hook in self._hooks:
                    hook.during(attempt, message)
                status = str(message.get("status", ""))
                if status.startswith("Digest: "):
                    digest = status.removeprefix("Digest: ")
                elif status.startswith("Status: "):
                    finished = True
        if not finished:
            raise TaskFailed(
                "the Docker Engine's progress stream ended before the pull was complete"
            )
        return digest


def _ended(error: TaskFailed, fault: Fault, attempt: Attempt) -> TaskFailed:
    """Return the failure that ends a pull: the last attempt's, what mends it, and which it was."""
    error.error = fault.told
    if attempt.number > 1:
        error.error = f"{error.error} (attempt {attempt.number} of {attempt.order.retries + 1})"
    error.args = (error.error,)
    return error


async def beside(work: Coroutine[Any, Any, T], *watches: Coroutine[Any, Any, None]) -> T:
    """Return what `work` returns, or raise what it raises; what a watch raises ends it before."""
    working = asyncio.create_task(work)
    watching = [asyncio.create_task(watch) for watch in watches]
    going: set[asyncio.Task[Any]] = {working, *watching}
    try:
        while not working.done():
            ended, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            # Work that ends well in the same moment is not spoilt by what a watch says.
            if not working.done():
                for watch in ended:
                    watch.result()
        return working.result()
    finally:
        for task in (working, *watching):
            task.cancel()
        await asyncio.gather(working, *watching, return_exceptions=True)


async def _next(
    messages: AsyncGenerator[dict[str, Any], None], attempt: Attempt
) -> dict[str, Any] | None:
    """Return the engine's next message, None at the end; `TaskFailed` when nothing moves."""
    layers, timeout = attempt.layers, attempt.order.stall_timeout
    left = stall.left(layers, timeout, time.monotonic())
    try:
        if left <= 0:  # an engine that talks, and does nothing
            raise TimeoutError
        async with asyncio.timeout(left):
            message = await anext(messages)
    except StopAsyncIteration:
        return None
    except TimeoutError as error:
        raise TaskFailed(stall.words(layers, timeout)) from error
    layers.apply(message, time.monotonic())
    return message


def present(order: Order, found: answers.Image) -> Pulled:
    """Return what a pull of a present image brings; its digest where the engine knows one."""
    repository = order.reference.repository
    digest = order.reference.digest
    for known in found.repo_digests or ():
        name, _, value = known.partition("@")
        # What has lost its name is called "<none>" by some engines.
        with contextlib.suppress(InvalidReference):
            if Reference.parse(name).repository == repository:
                digest = value
    return Pulled(found.id, found.size, False, order.reference.tag, digest)
