"""Waiting: between attempts, and for something that may not come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable


class Pauses:
    """The pauses between attempts at one thing, drawn at random below a bound that doubles.

    Attributes:
        until: when the last one ends, by the event loop's clock.

    Args:
        shortest, longest: seconds that the bound has at first, and at most.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = self._bound = shortest
        self._longest = longest
        self.until = 0.0

    def next(self) -> float:
        """Begin a pause now; return when it ends, by the event loop's clock."""
        pause = random.uniform(self._bound / 2, self._bound)
        self._bound = min(2 * self._bound, self._longest)
        self.until = asyncio.get_running_loop().time() + pause
        return self.until

    async def wait(self) -> None:
        """Wait for as long as the next pause takes."""
        self.next()
        await asyncio.sleep(self.until - asyncio.get_running_loop().time())

    def reset(self) -> None:
        """Begin with the shortest again: an attempt has succeeded."""
        self._bound = self._shortest


async def within(seconds: float | None, awaited: Awaitable[object]) -> bool:
    """Await something for so long at most; None for as long as it takes.

    Returns:
        whether it came in time. If not, it was cancelled.
    """
    try:
        async with asyncio.timeout(seconds):
            await awaited
    except TimeoutError:
        return False
    return True
