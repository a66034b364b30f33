"""Durations as people write them: `30s`, `5m`, `12h`, `90d`."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST = 3650 * UNITS["d"]
"""Ten years: past that a duration is a slip of the finger, and dates overflow."""

_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")


def parse_duration(text: str) -> float:
    """Return the seconds that `text` names; a bare number is seconds.

    Raises:
        ValueError: `text` is no duration, negative, or over ten years.
    """
    match = _FORM.fullmatch(text.strip())
    seconds = float(match[1]) * UNITS[match[2] or "s"] if match else -1.0
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"{text[:40]!r} is not a duration, write for example 30s, 5m, 12h or 90d")
    return seconds
