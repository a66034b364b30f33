"""The one wildcard: `*`, in names and texts of which several are meant."""

ANYTHING = "*"
"""Stands for any characters, or none, also those that separate parts."""


def matches(pattern: str, text: str) -> bool:
    """Return whether a text is one of a pattern's.

    It takes time in proportion to both, whoever has written the pattern.

    >>> matches("web-*.example", "web-01.example")
    True
    """
    first, *others = pattern.split(ANYTHING)
    if not others:
        return pattern == text
    *between, last = others
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    place, end = len(first), len(text) - len(last)
    for part in between:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return text.endswith(last)
