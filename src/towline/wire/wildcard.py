"""The one wildcard: `*`, in names and texts of which several are meant."""

from collections.abc import Callable

ANYTHING = "*"
"""Stands for any characters, or none, also those that separate parts."""


def matches(pattern: str, text: str) -> bool:
    """Return whether a text is one of a pattern's.

    It takes time in proportion to both, whoever has written the pattern.

    >>> matches("web-*.example", "web-01.example")
    True
    """
    return matcher(pattern)(text)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return what says of thousands of texts whether they are a pattern's; see `matches`."""
    first, *others = pattern.split(ANYTHING)
    if not others:
        return pattern.__eq__
    *between, last = others
    begins, ends = len(first), len(last)
    least = begins + ends

    def matches(text: str) -> bool:
        if len(text) < least or not text.startswith(first) or not text.endswith(last):
            return False
        place, end = begins, len(text) - ends
        for part in between:
            found = text.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True

    return matches
