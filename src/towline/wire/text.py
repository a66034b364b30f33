"""Text that somebody sent: shown, and checked for characters that no name has."""

import re

_NOT_VISIBLE_ASCII = re.compile(r"[^!-~]")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What `towline.wire.fields.Text` doesn't take, and surrogates, which no UTF-8 has."""


def readable(text: str) -> str:
    """Return a text as whoever decodes a `Text` takes it: control characters replaced."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def quoted(text: str) -> str:
    """Show text that somebody sent: quoted, control characters escaped, the middle left out.

    Parameters:
        text: anything, of any length; at most 80 characters of it are shown.
    """
    return repr(text if len(text) <= 80 else f"{text[:39]}…{text[-40:]}")


def problem_with_characters(text: str) -> str | None:
    """Say which character of a name is not visible ASCII and what to do, or None if all are.

    Parameters:
        text: anything; only its first such character is spoken of.
    """
    found = _NOT_VISIBLE_ASCII.search(text)
    if found is None:
        return None
    character = found.group()
    if character == " ":
        kind = "white space"
    elif character < " " or character == "\x7f":
        kind = f"the control character {character!r}"
    else:
        kind = f"{character!r}, which is not ASCII"
    return f"it holds {kind} (character {found.start() + 1}), leave that out"
