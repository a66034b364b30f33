"""Turns: however many follow streams, the rest of the controller has its share of the loop."""

from __future__ import annotations

import asyncio
from collections import deque

SLICE = 20
"""Turns that are given together: so many at most stand before whoever else waits."""
EVERY = 0.01
"""Seconds from one slice to the next."""


class Turns:
    """Gives those who follow streams their turns to read and to send, in the order of asking.

    A turn that is free is given at once.

    Args:
        together, every: see the constants.
    """

    def __init__(self, *, together: int = SLICE, every: float = EVERY) -> None:
        self._together = together
        self._every = every
        self._free = together
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Return when it is one's turn."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.call_later(self._every, self._give)
        if self._free:
            self._free -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _give(self) -> None:
        given = 0
        while self._waiting and given < self._together:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                given += 1
        self._free = self._together - given
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(self._every, self._give) if given else None
