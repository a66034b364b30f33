"""Moments of this machine, whose ages no change of its clock can alter."""

from __future__ import annotations

import time
from collections.abc import Callable

from towline.broker.clock import running

STEP = 1.0
"""Seconds by which the clock must have been set before moments are shown anew: less is the steady
correction that a clock is given all the time, and a moment that is shown twice looks the same."""


class Moment:
    """A moment: its age by the clock that nobody sets, its time by the clock that people read.

    Args:
        clock: this machine's clocks.
        running: seconds since the machine was started; below 0 for what was before that.
        wall: seconds since 1970, as the clock was set when this was made.
    """

    def __init__(self, clock: LocalClock, running: float, wall: float) -> None:
        self._clock = clock
        self._wall = wall
        self.running = running

    @property
    def age(self) -> float:
        """Seconds since then."""
        return self._clock.running() - self.running

    @property
    def time(self) -> float:
        """Seconds since 1970, as the clock is set now."""
        step = (self._clock.wall() - self._clock.running()) - (self._wall - self.running)
        return self._wall + step if abs(step) > STEP else self._wall


class LocalClock:
    """This machine's clocks.

    Args:
        running: returns the seconds since the machine was started.
        wall: returns the seconds since 1970, as the clock is set.
    """

    def __init__(
        self, running: Callable[[], float] = running, wall: Callable[[], float] = time.time
    ) -> None:
        self.running = running
        self.wall = wall

    def moment(self, ago: float = 0.0) -> Moment:
        """Return the moment that was `ago` seconds ago."""
        return Moment(self, self.running() - ago, self.wall() - ago)
