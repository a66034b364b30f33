"""How often each of many may do something, so that the others have their time, too."""

from __future__ import annotations

import time
from collections.abc import Callable

REMEMBERED = 20_000
"""Of whom is remembered what they have spent, before those are forgotten that have all of it."""


class Rate:
    """Counts what each of many spends: so much at once, and so much a second for long.

    Args:
        rate: what each may spend a second.
        burst: what it may spend at once, when it has spent nothing for a while.
        clock: seconds that only grow.
    """

    def __init__(
        self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._spent: dict[str, tuple[float, float]] = {}
        """What each has spent, and when that was so."""
        self._tidied = REMEMBERED

    def __len__(self) -> int:
        return len(self._spent)

    def spend(self, who: str, cost: float = 1.0) -> bool:
        """Take of what somebody may spend; return whether there was anything left of it.

        Args:
            cost: the last of what there is pays for more than it has.
        """
        now = self._clock()
        spent, before = self._spent.get(who, (0.0, now))
        spent = max(0.0, spent - (now - before) * self._rate)
        left = spent < self._burst
        self._spent[who] = (spent + cost if left else spent, now)
        if len(self._spent) > self._tidied:
            self._tidy(now)
        return left

    def _tidy(self, now: float) -> None:
        """Forget those that have all that they may spend."""
        self._spent = {
            who: (spent, before)
            for who, (spent, before) in self._spent.items()
            if spent > (now - before) * self._rate
        }
        # Where most are busy, it isn't tried with each one again.
        self._tidied = max(REMEMBERED, 2 * len(self._spent))
