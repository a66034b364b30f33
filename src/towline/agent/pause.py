"""Pauses between attempts: drawn at random below a bound that doubles."""

from __future__ import annotations

import asyncio
import random


class Pauses:
    """The pauses between attempts at one thing.

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
