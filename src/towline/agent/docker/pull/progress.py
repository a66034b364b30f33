"""How far a pull is, while it goes on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull import steps
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.faults import Fault
from towline.wire.event import Step
from towline.wire.progress import (
    COOLING_DOWN,
    DOWNLOADING,
    EXTRACTING,
    PREPARING,
    QUEUED,
    RETRYING,
    WAITING,
    TaskProgress,
)

FIRST_AFTER = 0.2
"""Seconds that a pull goes on before its progress is sent: most of present images are over."""
SEND_EVERY = 0.5
WINDOW = 5.0
"""Seconds over which a rate is taken: long enough that layers' ends don't show in it, short enough
that a pull that stands still is seen to."""
SHORTEST_WINDOW = 0.5


class Rate:
    """How much a growing figure has grown a second, lately."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, figure: int, now: float) -> int:
        """Return the rate by now; 0 while there is too little to take it from.

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


class PullProgress(Hook):
    """Sends how far a pull is, until its block ends.

    Args:
        send: given the progress, at most twice a second; the same one, too.
        clock: returns seconds; it only goes forwards, and is that of the attempts' layers.
    """

    def __init__(
        self,
        send: Callable[[TaskProgress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._clock = clock
        self._attempt: Attempt | None = None
        self._failed = self._queued = ""
        self._phase = RETRYING
        self._arriving, self._unpacking = Rate(), Rate()
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def _send_on(self) -> None:
        await asyncio.sleep(FIRST_AFTER)
        while True:
            # Also when the engine says nothing: the rate of a pull that stands still falls.
            self._send(self.progress())
            await asyncio.sleep(SEND_EVERY)

    async def before(self, attempt: Attempt) -> None:
        """Begin anew: what an attempt before brought, the engine names again."""
        self._attempt, self._failed = attempt, ""

    async def failed(self, attempt: Attempt, fault: Fault) -> None:
        """Remember why there is a pause."""
        # An engine that is away is noticed before the attempt proper.
        self._attempt, self._failed = attempt, fault.reason
        self._phase = COOLING_DOWN if fault.kind is Kind.BUSY else RETRYING

    def step(self, step: Step) -> None:
        """Remember whether the pull waits for its turn, as the job's timeline says."""
        if step.name in (steps.QUEUED, steps.DEQUEUED):
            self._queued = step.message if step.name == steps.QUEUED else ""

    def progress(self) -> TaskProgress:
        """Return how far the pull is at this moment."""
        if self._queued:
            return TaskProgress(QUEUED, self._queued)
        if self._attempt is None:
            return TaskProgress(PREPARING)
        now = self._clock()
        layers = self._attempt.layers
        parts = layers.all()
        arriving = self._arriving.take(layers.gained, now)
        fetched, size = layers.fetched, layers.announced
        extracted = sum(part.extracted for part in parts)
        if layers.fetching:
            # What is unpacked meanwhile waits for what arrives, and has no rate of its own.
            self._unpacking = Rate()
        unpacking = self._unpacking.take(extracted, now)
        unsized = sum(not part.size and part.state in (WAITING, DOWNLOADING) for part in parts)
        phase, rate, rest = DOWNLOADING, arriving, size - fetched
        if not layers.fetching:
            # Where the engine counts no bytes of this, there is no rate and no end in sight.
            phase, rest = EXTRACTING, size - extracted
            rate = unpacking if layers.counted else 0
        elif not parts:
            phase = PREPARING
        if self._failed:
            phase, rate = self._phase, 0
        return TaskProgress(
            phase,
            self._failed,
            self._attempt.number,
            parts,
            extracted,
            fetched=fetched,
            size=size,
            unsized=unsized,
            rate=rate,
            left=round(rest / rate) if rate else None,
        )
