"""Trying until it is there: a pull as often as it takes, and as it makes sense."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import structlog

from towline.agent.docker.engine import Engine
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull import steps
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.faults import Fault, classify
from towline.agent.docker.pull.fetching import Fetching
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.slots import Slots
from towline.agent.provider import Task
from towline.errors import TaskFailed, TowlineError
from towline.operations.docker import Pulled
from towline.wire.event import Step

log = structlog.get_logger()

FIRST_PAUSE = 2.0
"""Seconds that the pause after the first attempt is at most; it doubles with each."""
LONGEST_PAUSE = 120.0
DISCARDED_AFTER = 3.0
"""Seconds that a containerd image store is given, beyond the pause, to throw a layer away that came
wrong: it does with its next garbage collection, at most some 0.3 s later where there are few
images and the machine has time. Until then it fails by that layer again."""
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


class Pull:
    """One pull, tried again where that may help.

    Args:
        hooks: what has a say in each attempt, in this order.
        step: records a step in the jobs' timelines.
        slots: where each attempt waits for its turn.
        tasks: returns the tasks that share the pull.
    """

    def __init__(
        self,
        engine: Engine,
        order: Order,
        hooks: Sequence[Hook],
        step: Callable[[Step], None],
        slots: Slots,
        pauses: Pauses,
        tasks: Callable[[], list[Task]],
    ) -> None:
        self._engine = engine
        self._order = order
        self._hooks = hooks
        self._step = step
        self._slots = slots
        self._pauses = pauses
        self._tasks = tasks
        self._fetching = Fetching(engine, order, hooks)
        self._failed = 0
        self._cooldowns = 0
        self._alike: Counter[str] = Counter()

    async def run(self) -> Pulled:
        """Have the image there, or find that there is no hope.

        Raises:
            TaskFailed: it could not be pulled; with the engine's own words.
        """
        attempt = Attempt(self._order, 1, self._step, self._tasks)
        while True:
            try:
                found = await self._fetching.first_look()
                if found is not None:
                    return found
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
            # What all nodes of a job are given stays; all else may be another by now.
            attempt = Attempt(
                *(self._order, self._failed + 1, self._step, self._tasks),
                lead=attempt.lead,
                asks=True,
            )

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
        """Make the attempt when the node has a slot for it and all hooks agree.

        What turns out to be there already takes none.
        """
        while True:
            for hook in self._hooks:
                await hook.ready(attempt)
            for hook in self._hooks:
                await hook.prepare(attempt)
            found = await self._fetching.look(attempt, ask=not self._slots.free)
            if found is not None:
                return found
            async with self._slots.slot(self._step) as waited:
                if waited:
                    # Hours may have passed: a credential may be another by now.
                    attempt.outdate()
                    for hook in self._hooks:
                        await hook.prepare(attempt)
                if not all(hook.allows(attempt) for hook in self._hooks):
                    continue
                return await self._fetching.fetch(attempt)


def _ended(error: TaskFailed, fault: Fault, attempt: Attempt) -> TaskFailed:
    """Return the failure that ends a pull: the last attempt's, what mends it, and which it was."""
    error.error = fault.told
    if attempt.number > 1:
        error.error = f"{error.error} (attempt {attempt.number} of {attempt.order.retries + 1})"
    error.args = (error.error,)
    return error
