"""What the machine says of itself."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
from pathlib import Path

import msgspec

_MEMORY = re.compile(rb"^(MemTotal|MemAvailable): +([0-9]+) kB$", re.MULTILINE)


class Facts(msgspec.Struct, frozen=True):
    """What doesn't change while an agent runs.

    Attributes:
        distribution, os_version: as /etc/os-release has them; "" where it is not there.
        booted: when the machine was started; seconds since 1970, by its own clock.
    """

    architecture: str
    kernel: str
    cpu_count: int
    distribution: str
    os_version: str
    booted: float


def facts() -> Facts:
    """Return what is known of this machine.

    Source: uname(2), os-release(5), clock_gettime(2).
    """
    system = {}
    with contextlib.suppress(OSError, ValueError):
        system = platform.freedesktop_os_release()
    return Facts(
        architecture=platform.machine(),
        kernel=platform.release(),
        cpu_count=os.cpu_count() or 0,
        distribution=system.get("ID", ""),
        os_version=system.get("VERSION_ID", ""),
        booted=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME),
    )


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

    Source: proc_meminfo(5). Free is what programs can have without swapping (MemAvailable).
    """
    try:
        found = dict(_MEMORY.findall(Path("/proc/meminfo").read_bytes()))
        total, free = 1024 * int(found[b"MemTotal"]), 1024 * int(found[b"MemAvailable"])
    except (OSError, LookupError):
        return None
    return total, free, total - free
