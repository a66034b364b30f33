"""Units as people write and read them: durations, sizes, shares of a whole, moments."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")
LONGEST_DURATION = 3650 * _DURATION_UNITS["d"]
"""Ten years, in seconds: anything longer is a slip of the finger, and dates overflow."""


def parse_duration(text: str) -> float:
    """Return a duration in seconds; a bare number is seconds.

        >>> parse_duration("1.5h"), parse_duration("30")
        (5400.0, 30.0)

    Raises:
        ValueError: `text` is not a duration, or is longer than ten years.
    """
    match = _DURATION_FORM.fullmatch(text.strip())
    seconds = float(match[1]) * _DURATION_UNITS[match[2] or "s"] if match else -1.0
    if not 0 <= seconds <= LONGEST_DURATION:
        raise ValueError(f"{text[:40]!r} is not a duration, write for example 30s, 5m, 12h or 90d")
    return seconds


def show_duration(seconds: float) -> str:
    """Return a duration as `parse_duration` reads it, in the largest unit that it is whole in.

    >>> show_duration(5400.0), show_duration(86400.0)
    ('90m', '1d')
    """
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _DURATION_UNITS[unit] == 0:
            return f"{seconds / _DURATION_UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms"


SIZE_UNITS = {
    **{"": 1, "b": 1},
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", 1)},
}
"""Bytes by the unit's name in lower case."""
_SIZE_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*|%)", re.IGNORECASE)
_SHOWN_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
LARGEST_SIZE = 1024**6
"""An exbibyte, in bytes: anything larger is a slip of the finger."""


def parse_size(text: str) -> int:
    """Return a size in bytes; a bare number is bytes.

        >>> parse_size("1GiB"), parse_size("1.5 MB")
        (1073741824, 1500000)

    Raises:
        ValueError: `text` is not a size, or is larger than an exbibyte.
    """
    match = _SIZE_FORM.fullmatch(text.strip())
    unit = SIZE_UNITS.get(match[2].lower()) if match else None
    size = float(match[1]) * unit if match and unit else -1.0
    if not 0 <= size <= LARGEST_SIZE:
        raise ValueError(f"{text[:40]!r} is not a size, write for example 500MB or 1GiB")
    return int(size)


def show_size(size: int) -> str:
    """Return a size as people read it, `1.50 GiB`, at most half a per cent off.

    Args:
        size: bytes, 0 or more.
    """
    number, power = float(size), 0
    # 1023.6 KiB would be shown as 1024 KiB.
    while number >= 999.5 and power < len(_SHOWN_UNITS) - 1:
        number, power = number / 1024, power + 1
    digits = 0 if power == 0 or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {_SHOWN_UNITS[power]}"


class Share(msgspec.Struct, frozen=True):
    """A share of a whole: the larger of a size and a percentage.

    Attributes:
        size: bytes.
        percent: of the whole, 0 to 100.
    """

    size: int = 0
    percent: float = 0.0

    def of(self, whole: int) -> int:
        """Return the share of a whole of so many bytes, in bytes."""
        return max(self.size, int(whole * self.percent / 100))

    def __str__(self) -> str:
        parts = [show_size(self.size)] if self.size or not self.percent else []
        if self.percent:
            parts.append(f"{self.percent:g}%")
        return " and ".join(parts)


def parse_share(text: str) -> Share:
    """Return a share that is written as a size, a percentage, or both with a comma between.

        >>> parse_share("1GiB, 5%")
        Share(size=1073741824, percent=5.0)

    Raises:
        ValueError: a part of `text` is neither, or there are two of a kind.
    """
    sizes: list[int] = []
    percents: list[float] = []
    for part in text.split(","):
        match = _SIZE_FORM.fullmatch(part.strip())
        if match is not None and match[2] == "%" and float(match[1]) <= 100:
            percents.append(float(match[1]))
            continue
        try:
            sizes.append(parse_size(part))
        except ValueError:
            raise ValueError(
                f"{part.strip()[:40]!r} is neither a size nor a percentage, "
                "write for example 1GiB, 5%, or both: '1GiB,5%'"
            ) from None
    if len(sizes) > 1 or len(percents) > 1:
        raise ValueError(f"{text[:40]!r} has two of a kind, write one size, one percentage or both")
    return Share(sizes[0] if sizes else 0, percents[0] if percents else 0.0)


def show_uptime(seconds: float) -> str:
    """Return for how long something has run as people read it.

    >>> show_uptime(93784.0)
    '1d 2h 3m'
    """
    minutes = int(max(0.0, seconds) // 60)
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    return f"{days}d {hours}h {minutes}m"


def timestamp(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as RFC 3339 text in UTC to the millisecond.

        >>> timestamp(0.25)
        '1970-01-01T00:00:00.250Z'

    Raises:
        OverflowError, ValueError, OSError: the moment is outside of the calendar's years.
    """
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
