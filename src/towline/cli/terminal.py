"""What a terminal is shown: whoever a text is from, nothing in it controls the terminal."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def drawable(stream: TextIO) -> bool:
    """Return whether a picture can be drawn on a stream, and drawn anew in its place.

    Without TERM nobody knows what the terminal can do; TTY_COMPATIBLE=0 says that it can't.
    """
    able = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return able and os.environ.get("TTY_COMPATIBLE") != "0" and stream.isatty()


def printable(text: str) -> str:
    """Return one line, with what is no visible character escaped, ends of lines included."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_json(text: str) -> str:
    """Return JSON, which means the same, with what is no visible character escaped as JSON does.

    Control characters below the blank are escaped in any JSON; others, and those that turn the
    direction of what follows, are not. JSON is UTF-8 (RFC 8259): where standard output is not, all
    but ASCII is escaped.
    """
    import json

    wide = _is_utf_8(sys.stdout.encoding)
    return "\n".join(
        line
        if line.isprintable() and (wide or line.isascii())
        else "".join(
            c if c.isprintable() and (wide or c.isascii()) else json.dumps(c)[1:-1] for c in line
        )
        for line in text.split("\n")
    )


def _is_utf_8(encoding: str | None) -> bool:
    # Of a stream in memory there is none.
    return encoding is None or encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def say(*lines: str, error: bool = False) -> None:
    """Print lines to standard output, or to standard error: all that commands print goes here."""
    text = "\n".join(map(printable, lines))
    print(text, file=sys.stderr if error else sys.stdout, flush=True)
