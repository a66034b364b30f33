"""Units as people write them: durations, sizes, shares of a whole, moments."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_DURATION = 3650 * _DURATIONS["d"]
"""Ten years: past that a duration is a slip of the finger, and dates overflow."""
_DURATION_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")


def parse_duration(text: str) -> float:
    """Return the seconds that `text` names; a bare number is seconds.

    Raises:
        ValueError: `text` is no duration, negative, or over ten years.
    """
    match = _DURATION_FORM.fullmatch(text.strip())
    seconds = float(match[1]) * _DURATIONS[match[2] or "s"] if match else -1.0
    if not 0 <= seconds <= LONGEST_DURATION:
        raise ValueError(f"{text[:40]!r} is not a duration, write for example 30s, 5m, 12h or 90d")
    return seconds


SIZE_UNITS = {
    **{"": 1, "b": 1},
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", 1)},
}
LARGEST_SIZE = 1024**6
"""An exbibyte: past that a size is a slip of the finger."""
_SIZE_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*|%)", re.IGNORECASE)
_SHOWNSIZE_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


class Share(msgspec.Struct, frozen=True):
    """So much of a whole: the larger of a size and a percentage.

    Attributes:
        size: bytes.
        percent: of the whole, 0 to 100.
    """

    size: int = 0
    percent: float = 0.0

    def of(self, whole: int) -> int:
        """Return the bytes that it comes to for a whole of so many."""
        return max(self.size, int(whole * self.percent / 100))

    def __str__(self) -> str:
        parts = [show_size(self.size)] if self.size or not self.percent else []
        if self.percent:
            parts.append(f"{self.percent:g}%")
        return " and ".join(parts)


def parse_size(text: str) -> int:
    """Return the bytes that `text` names; a bare number is bytes.

        >>> parse_size("1GiB"), parse_size("1.5 MB")
        (1073741824, 1500000)

    Raises:
        ValueError: `text` is no size, or over an exbibyte.
    """
    match = _SIZE_FORM.fullmatch(text.strip())
    unit = SIZE_UNITS.get(match[2].lower()) if match else None
    size = float(match[1]) * unit if match and unit else -1.0
    if not 0 <= size <= LARGEST_SIZE:
        raise ValueError(f"{text[:40]!r} is not a size, write for example 500MB or 1GiB")
    return int(size)


def parse_share(text: str) -> Share:
    """Return the share that `text` names: a size, a percentage, or both, with a comma between.

        >>> parse_share("1GiB, 5%")
        Share(size=1073741824, percent=5.0)

    Raises:
        ValueError: a part of it is neither, or there are two of a kind.
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


def show_size(size: int) -> str:
    """Return a size as people read it, `1.5 GiB`, at most half a per cent off.

    Args:
        size: bytes, 0 or more.
    """
    number, power = float(size), 0
    # 1023.6 KiB would be shown as 1024 KiB.
    while number >= 999.5 and power < len(_SHOWNSIZE_UNITS) - 1:
        number, power = number / 1024, power + 1
    digits = 0 if power == 0 or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {_SHOWNSIZE_UNITS[power]}"


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 text in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
