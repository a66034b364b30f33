"""Lines with bars, as wide as a terminal allows.

Names are never cut. Where there is little room bars shrink first, then vanish, and what stands
beside them is said in fewer words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from towline.cli.tables import GAP, cut, text_width
from towline.cli.terminal import printable

WIDEST = 30
NARROWEST = 8
"""Columns: a bar that would have fewer says nothing, and vanishes."""
LEAST_WORDS = 8
"""Columns: of words that would have fewer nothing is shown."""
GOOD, BAD = "green", "red"


class Line(msgspec.Struct, frozen=True):
    """A line with a bar.

    Attributes:
        name: of what it is, never cut.
        state: in a word.
        style: what the state is drawn in.
        done: how full the bar is, from 0 to 1; None for no bar.
        beside: what stands beside it, ever shorter: the first that fits is shown.
    """

    name: str
    state: str
    style: str
    done: float | None
    beside: Sequence[str]


def drawn(
    lines: Sequence[Line],
    whole: int,
    *,
    name: int = 0,
    state: int,
    beside: int,
    ids: bool = False,
) -> list[RenderableType]:
    """Return lines with bars below each other; nothing where there is none.

    Args:
        whole: the terminal's columns.
        name: columns that names take at least.
        state: columns for the states, as wide as they will ever be: what moves is hard to read.
        beside: columns that bars leave to what is beside them.
        ids: whether the states are ids, which are shown whole or not at all.
    """
    if not lines:
        return []
    name = max(name, widest_name(lines))
    if ids and name + len(GAP) + state > whole:
        state = 0
    widths = _widths(whole, name, state, beside)
    table = Table.grid(padding=(0, len(GAP), 0, 0))
    for width in filter(None, widths):
        table.add_column(width=width, no_wrap=True, overflow="ellipsis")
    for line in lines:
        cells = (
            Text(printable(line.name)),
            Text(printable(line.state), line.style),
            Text("")
            if line.done is None
            else ProgressBar(total=1.0, completed=line.done, width=widths[2]),
            Text(fitting([*map(printable, line.beside)], widths[-1])),
        )
        table.add_row(*(cell for width, cell in zip(widths, cells, strict=True) if width))
    return [table]


def widest_name(lines: Iterable[Line]) -> int:
    """Return how many columns the longest name takes; 0 where there is none."""
    return max((text_width(printable(line.name)) for line in lines), default=0)


def fitting(forms: Sequence[str], width: int) -> str:
    """Return the first of these that is not wider than this; of the last what can be read of it."""
    found = [form for form in forms if text_width(form) <= width]
    return found[0] if found else cut(forms[-1], width) if width >= LEAST_WORDS else ""


def _widths(whole: int, name: int, state: int, beside: int) -> tuple[int, int, int, int]:
    """Return the columns of a line's name, state, bar and of what is beside it; 0 for none."""
    left = whole - len(GAP) - name
    state = max(0, min(state, left))
    if state:
        left -= state + len(GAP)
    bar = min(WIDEST, left - beside - len(GAP))
    if bar < NARROWEST:
        bar = 0
    else:
        left -= bar + len(GAP)
    return min(name, whole), state, bar, max(0, left)
