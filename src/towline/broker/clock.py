"""Another side's clock, as far as its answers show it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def running() -> float:
    """Return the seconds since the machine was started."""
    # Unlike the monotonic clock it goes on while the machine sleeps, and nobody sets it.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Another side's clock, as far as its answers show it: the broker's, or the controllers'.

    Attributes:
        known: set once it has been said what time it is there.
        running: returns the seconds since the machine was started.
    """

    def __init__(self, running: Callable[[], float] = running) -> None:
        self.running = running
        self._ahead: float | None = None
        self.known = asyncio.Event()

    def observe(self, moment: float, sent: float) -> None:
        """Take from an answer what time it was there, between the request and now.

        Args:
            moment: seconds since 1970, by that clock.
            sent: when the request was sent, in seconds, as `running` gives them.
        """
        least, most = moment - self.running(), moment - sent
        # Each answer leaves a span as wide as it took; a slow one says nothing new.
        ahead = (least + most) / 2 if self._ahead is None else self._ahead
        self._ahead = min(max(ahead, least), most)
        self.known.set()

    def passed(self, moment: float) -> None:
        """Take from a message that a moment has passed there: then it was sent.

        Args:
            moment: seconds since 1970, by that clock.
        """
        if self._ahead is not None:
            self._ahead = max(self._ahead, moment - self.running())

    def now(self) -> float:
        """Return seconds since 1970; by our own clock while nothing was answered."""
        return time.time() if self._ahead is None else self._ahead + self.running()
