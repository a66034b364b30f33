"""A node's own pace: so many pulls at a time, the rest in the order in which they came."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from towline.agent.docker.pull.steps import dequeued, queued
from towline.wire.event import Step

MAX_PULLS = 3
REPORTED_AFTER = 0.2
"""Seconds that a pull waits before it says so: most waits are over by then."""


class Slots:
    """The slots for pulls at one engine.

    Attributes:
        busy: how many are taken.

    Args:
        count: how many there are.
        reported_after: seconds after which a wait is recorded.
    """

    def __init__(self, count: int = MAX_PULLS, *, reported_after: float = REPORTED_AFTER) -> None:
        self._count = count
        self._reported_after = reported_after
        self._queue: deque[asyncio.Future[None]] = deque()
        self.busy = 0

    @property
    def free(self) -> bool:
        """Whether whoever comes now gets a slot at once."""
        return self.busy < self._count and not self._queue

    @contextlib.asynccontextmanager
    async def slot(self, step: Callable[[Step], None]) -> AsyncIterator[bool]:
        """Occupy a slot for as long as the block lasts; yields whether it was waited for.

        Args:
            step: records that a wait lasts, and for what, and later that it is over.
        """
        waited = not self.free
        if not waited:
            self.busy += 1
        else:
            wait = Wait(self._words(), step, self._reported_after)
            try:
                await self._wait()
            finally:
                wait.give_up()
            wait.over()
        try:
            yield waited
        finally:
            self._pass_on()

    def _words(self) -> str:
        runs = f"{self.busy} {'pull runs' if self.busy == 1 else 'pulls run'}"
        waits = f" and {len(self._queue)} wait" if self._queue else ""
        return f"queued: {runs}{waits} before it"

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            else:
                with contextlib.suppress(ValueError):
                    self._queue.remove(turn)
            raise

    def _pass_on(self) -> None:
        """Give a slot to who has waited longest; free it where nobody waits."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1


class Wait:
    """A wait that is recorded if it lasts; its end is recorded then, too.

    Args:
        words: what it is for.
        step: records the wait, and that it is over; not if it is given up.
        reported_after: seconds after which it is recorded.
    """

    def __init__(
        self, words: str, step: Callable[[Step], None], reported_after: float = REPORTED_AFTER
    ) -> None:
        self._words = words
        self._step = step
        self._since = time.monotonic()
        self._reported = False
        self._timer = asyncio.get_running_loop().call_later(reported_after, self._report)

    def _report(self) -> None:
        self._reported = True
        self._step(queued(self._words))

    def over(self) -> None:
        """End the wait: what was waited for has come."""
        self.give_up()
        if self._reported:
            self._reported = False
            self._step(dequeued(f"its turn after {time.monotonic() - self._since:.1f} s"))

    def give_up(self) -> None:
        """End the wait: nobody waits any more."""
        self._timer.cancel()
