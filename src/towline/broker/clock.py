"""The broker's clock, as far as its answers tell it."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime


class Clock:
    """The broker's clock, as far as it has told us: by it jobs expire, whatever ours says."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self.known = asyncio.Event()

    def tell(self, moment: str, asked: float) -> None:
        """Learn what time it was at the broker between a question and its answer, now.

        Args:
            asked: when it was asked, in seconds, as `running` gives them.
        """
        told = datetime.fromisoformat(moment).timestamp()
        least, most = told - running(), told - asked
        # Each answer leaves a span as wide as it took; a slow one tells nothing new.
        ahead = (least + most) / 2 if self._ahead is None else self._ahead
        self._ahead = min(max(ahead, least), most)
        self.known.set()

    def passed(self, moment: float) -> None:
        """Learn that a moment is over at the broker, in seconds since 1970: it stored something."""
        if self._ahead is not None:
            self._ahead = max(self._ahead, moment - running())

    def now(self) -> float:
        """Return seconds since 1970; by our own clock while the broker has told nothing."""
        return time.time() if self._ahead is None else self._ahead + running()


def running() -> float:
    """Return the seconds since the machine was started."""
    # Unlike the monotonic clock it goes on while the machine sleeps, and nobody sets it.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
