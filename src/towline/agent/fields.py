"""Fields of what nodes send, made such that controllers can read them."""

from __future__ import annotations

import re

from towline.wire.fields import EARLIEST, LATEST
from towline.wire.text import readable

_NO_NAME = re.compile(r"[^!-~]")
LONGEST = 4000
"""Characters of a text that are sent: what a provider answers may be a whole page."""
LONGEST_NAME = 255


def clean(text: str) -> str:
    """Return a text as it can be sent: control characters replaced, the rest cut off."""
    cleaned = readable(text)
    if len(cleaned) <= LONGEST:
        return cleaned
    return f"{cleaned[:LONGEST]} … ({len(cleaned)} characters in all)"


def clean_name(text: str) -> str:
    """Return a word of the protocol as it can be sent: visible ASCII, not too long."""
    return _NO_NAME.sub("?", text)[:LONGEST_NAME]


def clean_moment(seconds: float) -> float:
    """Return a moment by this node's clock, which may show anything, as it can be sent."""
    return min(max(seconds, EARLIEST), LATEST)
