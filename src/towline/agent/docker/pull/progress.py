"""Telling how far a pull is, while it goes on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from towline.agent.docker.pull import steps
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.faults import Fault, Kind
from towline.wire.event import Step
from towline.wire.progress import (
    DOWNLOADING,
    EXTRACTING,
    PREPARING,
    QUEUED,
    RESTING,
    RETRYING,
    WAITING,
    TaskProgress,
)

FIRST_AFTER = 0.2
"""Seconds that a pull goes on before it is told of: most pulls of present images are over."""
TELL_EVERY = 0.5
WINDOW = 5.0
"""Seconds over which a rate is taken: long enough that layers' ends don't show in it, short enough
that a pull that stands still is seen to."""
SHORTEST_WINDOW = 0.5


class Rate:
    """How much a growing figure has grown a second, lately."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, figure: int, now: float) -> int:
        """Return the rate by now; 0 while there is too little to tell it by.

        Args:
            figure: what grows; less than before begins anew.
            now: seconds by a clock that only goes forwards.
        """
        samples = self._samples
        if samples and figure < samples[-1][1]:
            samples.clear()
        samples.append((now, figure))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW:
            samples.popleft()
        since, before = samples[0]
        passed = now - since
        return round((figure - before) / passed) if passed >= SHORTEST_WINDOW else 0


class Telling(Hook):
    """Makes reports of a pull, until its block ends.

    Args:
        tell: given each report, at most two a second; the same one, too.
    """

    def __init__(self, tell: Callable[[TaskProgress], None]) -> None:
        self._tell = tell
        self._attempt: Attempt | None = None
        self._failed = self._queued = ""
        self._phase = RETRYING
        self._arriving, self._unpacking = Rate(), Rate()
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()

    async def _keep(self) -> None:
        await asyncio.sleep(FIRST_AFTER)
        while True:
            # Also when the engine says nothing: the rate of a pull that stands still falls.
            self._tell(self.report(time.monotonic()))
            await asyncio.sleep(TELL_EVERY)

    async def before(self, attempt: Attempt) -> None:
        """Begin anew: what an attempt before brought, the engine tells again."""
        self._attempt, self._failed = attempt, ""

    async def failed(self, attempt: Attempt, fault: Fault) -> None:
        """Remember why there is a pause."""
        # An engine that is away is noticed before the attempt proper.
        self._attempt, self._failed = attempt, fault.reason
        self._phase = RESTING if fault.kind is Kind.RESTING else RETRYING

    def step(self, step: Step) -> None:
        """Remember whether it waits for its turn, as the job's timeline tells."""
        if step.name in (steps.QUEUED, steps.DEQUEUED):
            self._queued = step.message if step.name == steps.QUEUED else ""

    def report(self, now: float) -> TaskProgress:
        """Return how far the pull is.

        Args:
            now: the moment, as `time.monotonic` has it.
        """
        if self._queued:
            return TaskProgress(QUEUED, self._queued)
        if self._attempt is None:
            return TaskProgress(PREPARING)
        layers = self._attempt.layers
        told = layers.all()
        arriving = self._arriving.take(layers.gained, now)
        fetched, size = layers.fetched, layers.announced
        extracted = sum(layer.extracted for layer in told)
        if layers.fetching:
            # What is unpacked meanwhile waits for what arrives, and tells no rate of its own.
            self._unpacking = Rate()
        unpacking = self._unpacking.take(extracted, now)
        unsized = sum(not layer.size and layer.state in (WAITING, DOWNLOADING) for layer in told)
        phase, rate, rest = DOWNLOADING, arriving, size - fetched
        if not layers.fetching:
            # Where the engine tells no bytes of this, there is no rate and no end in sight.
            phase, rest = EXTRACTING, size - extracted
            rate = unpacking if layers.counted else 0
        elif not told:
            phase = PREPARING
        if self._failed:
            phase, rate = self._phase, 0
        return TaskProgress(
            phase,
            self._failed,
            self._attempt.number,
            told,
            unsized,
            *(fetched, size, extracted, rate),
            left=round(rest / rate) if rate else None,
        )
