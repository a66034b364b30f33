"""How the machine is at this moment."""

from __future__ import annotations

import os
import time

import psutil


def booted() -> float:
    """Return when the machine was started, in seconds since 1970, by its own clock.

    Source: clock_gettime(2).
    """
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def load_average() -> tuple[float, float, float] | None:
    """Return the mean number of runnable tasks over 1, 5 and 15 minutes; None if it is not known.

    Source: getloadavg(3), which can't say it where /proc is not mounted, for example.
    """
    try:
        return os.getloadavg()
    except OSError:
        return None


def memory() -> tuple[int, int, int] | None:
    """Return the machine's memory in bytes: total, free and used; None if it is not known.

    Free is what programs can have without swapping.
    """
    try:
        found = psutil.virtual_memory()
    except OSError:
        return None
    return found.total, found.available, found.total - found.available
