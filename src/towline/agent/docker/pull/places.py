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
TOLD_AFTER = 0.2
"""Seconds that a pull waits before it says so: most waits are over by then."""


class Places:
    """The places for pulls at one engine.

    Attributes:
        busy: how many are taken.

    Args:
        most: how many there are.
    """

    def __init__(self, most: int = MAX_PULLS) -> None:
        self._most = most
        self._queue: deque[asyncio.Future[None]] = deque()
        self.busy = 0

    @contextlib.asynccontextmanager
    async def place(self, step: Callable[[Step], None]) -> AsyncIterator[None]:
        """Keep a place for as long as the block lasts.

        Args:
            step: records that a wait lasts, and for what, and later that it is over.
        """
        if self.busy < self._most and not self._queue:
            self.busy += 1
        else:
            wait = Wait(self._words(), step)
            try:
                await self._wait()
            finally:
                wait.give_up()
            wait.over()
        try:
            yield
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
        """Give a place to who has waited longest; free it where nobody waits."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1


class Wait:
    """A wait that is recorded if it lasts, and then its end, too.

    Args:
        words: what it is for.
        step: records the wait, and that it is over; not if it is given up.
    """

    def __init__(self, words: str, step: Callable[[Step], None]) -> None:
        self._words = words
        self._step = step
        self._since = time.monotonic()
        self._told = False
        self._timer = asyncio.get_running_loop().call_later(TOLD_AFTER, self._tell)

    def _tell(self) -> None:
        self._told = True
        self._step(queued(self._words))

    def over(self) -> None:
        """What was waited for has come."""
        self.give_up()
        if self._told:
            self._told = False
            self._step(dequeued(f"its turn after {time.monotonic() - self._since:.1f} s"))

    def give_up(self) -> None:
        """Nobody waits any more."""
        self._timer.cancel()
