"""What is printed on terminals of several widths, compared with files in `tests/screens/`.

The files are to be looked at, by whoever changes what is printed: `WRITE_SCREENS=1 scripts/test
unit` writes them anew, and `git diff tests/screens` shows what has changed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path

WIDTHS = (40, 80, 140)
"""Columns of a narrow terminal beside another, of the usual one, and of a wide one."""
SCREENS = Path(__file__).parents[1] / "screens"
WRITE = "WRITE_SCREENS"


class Terminal(io.StringIO):
    """Stands for standard output where that is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def compare(name: str, printed: Callable[[int], str], widths: Iterable[int] = WIDTHS) -> None:
    """Compare what is printed at each width with the files `NAME.80.txt`, and so on.

    Parameters: `printed` returns what is printed on a terminal of so many columns.
    """
    for width in widths:
        path = SCREENS / f"{name}.{width}.txt"
        text = "".join(f"{line.rstrip()}\n" for line in printed(width).splitlines())
        if os.environ.get(WRITE):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        expected = path.read_text() if path.exists() else ""
        assert text == expected, f"{path.name} differs; {WRITE}=1 writes it anew"
