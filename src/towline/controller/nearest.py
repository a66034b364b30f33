"""Which of many names one that there is not may stand for: those that are worth comparing."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

COMPARED = 50
"""Names that are compared in full, of those that would come before and after the one that was
meant, read from either end: to sort 10,000 takes some milliseconds, to compare them all a tenth of
a second."""


def nearest(text: str, names: Iterable[str]) -> set[str]:
    """Return the names that begin or end most like a text; upper and lower case are the same."""
    wanted = text.lower()
    known = {name.lower(): name for name in names}
    found = _around(wanted, list(known))
    found |= {each[::-1] for each in _around(wanted[::-1], [name[::-1] for name in known])}
    return {known[each] for each in found}


def _around(text: str, names: list[str]) -> set[str]:
    """Return the names that would stand around a text in their order."""
    names.sort()
    place = bisect.bisect_left(names, text)
    return {*names[max(0, place - COMPARED) : place + COMPARED]}
