"""Conditions: whether the machine is short of memory, processors or disk, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable

from towline.agent.fields import clean, clean_moment
from towline.agent.host.facts import Disk
from towline.units import show_size
from towline.wire.node import Condition, Conditions

MOST_MEMORY = 0.9
"""Share of the memory in use above which there is pressure."""
MOST_LOAD = 2.0
"""Runnable tasks for each processor above which the load is high: a mean over 5 minutes, since
many a job keeps a machine busy for one."""
MOST_DISK = 90.0
"""Per cent of a disk in use above which there is pressure."""


class Watch:
    """Says how a machine is, and remembers since when it is so.

    Args:
        now: returns seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._known = Conditions()

    def look(
        self,
        memory: tuple[int, int, int] | None,
        load: tuple[float, float, float] | None,
        cpu_count: int,
        disk: Disk | None,
    ) -> Conditions:
        """Return the conditions; None for each of which nothing is known.

        Args:
            memory: bytes: total, free, used.
            load: the mean number of runnable tasks over 1, 5 and 15 minutes.
            disk: the fullest.
        """
        known = self._known
        memory_pressure = high_load = disk_pressure = None
        if memory is not None:
            total, _, used = memory
            reason = f"{used / total:.0%} of {show_size(total)} of memory is in use"
            memory_pressure = self._since(known.memory_pressure, used > MOST_MEMORY * total, reason)
        if load is not None and cpu_count:
            reason = f"a load of {load[1]:.1f} over 5 minutes; processors: {cpu_count}"
            high_load = self._since(known.high_load, load[1] > MOST_LOAD * cpu_count, reason)
        if disk is not None:
            reason = f"{disk.used:.0f}% of the disk at {clean(disk.path)} is in use"
            disk_pressure = self._since(known.disk_pressure, disk.used > MOST_DISK, reason)
        self._known = Conditions(memory_pressure, high_load, disk_pressure)
        return self._known

    def _since(self, known: Condition | None, status: bool, reason: str) -> Condition:
        same = known is not None and known.status == status
        since = known.since if known is not None and same else clean_moment(self._now())
        return Condition(since, status, reason if status else "")
