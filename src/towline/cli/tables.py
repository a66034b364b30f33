"""Tables as they are printed: as wide as the terminal, and no name ever cut.

A column says when it gives way where there is not enough room: names and ids never do, others are
cut, and then left out, those that matter least first. Words take what is left of the line; those
that are longer stand below their row. What is no terminal is sent everything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from towline.cli.cells import NOTHING, Cell, Short, in_form
from towline.cli.form import Form
from towline.cli.terminal import printable, say

GAP = "  "
INDENT = 4
"""Columns before what stands below a row."""
FEW_WORDS = 24
"""Columns: words that need no more stand on the line of their row; other columns give way."""
MOST_LINES = 4
"""Lines below a row, unless everything is asked for."""
_MARK, _PLAIN_MARK = "…", "..."


class Column(msgspec.Struct, frozen=True):
    """A column of a table.

    Attributes:
        head: what stands above it.
        gives_way: 0 for a column that is never cut or left out; of others the one with the highest
            figure is the first.
        least: columns to which it may be cut; 0 for one that is left out rather than cut.
        wide: whether it is there only with `-o wide`.
        optional: whether it is left out where all its cells are empty.
        words: whether its cells are sentences. Only the last column's are.
    """

    head: str
    gives_way: int = 0
    least: int = 0
    wide: bool = False
    optional: bool = False
    words: bool = False


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    form: Form | None = None,
    *,
    now: float | None = None,
) -> None:
    """Print rows under a head: what `table_lines` returns, on standard output."""
    form = form or Form()
    say(*table_lines(columns, rows, form, width=form.width, now=now))


def table_lines(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    form: Form,
    *,
    width: int | None,
    now: float | None = None,
) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: each with a cell for each of `columns`.
        width: columns of the terminal; None for no bounds.
        now: the present moment, in seconds since 1970; None to look.
    """
    given = [[*row] for row in rows]
    ids = {
        number
        for row in given
        for number, cell in enumerate(row)
        if isinstance(cell, Short) and cell.id
    }
    # A part of an id is none: it is left out rather than cut.
    columns = [
        msgspec.structs.replace(column, least=0) if number in ids else column
        for number, column in enumerate(columns)
    ]
    cells = [[printable(in_form(cell, form, now)) for cell in row] for row in given]
    shown = [
        number
        for number, column in enumerate(columns)
        if (form.output == "wide" or not column.wide)
        and not (column.optional and not any(row[number] for row in cells))
    ]
    words = [number for number in shown if columns[number].words]
    shown = [number for number in shown if number not in words]
    natural = {
        number: max(map(text_width, [column.head, *(row[number] or NOTHING for row in cells)]))
        for number, column in enumerate(columns)
        if number in shown
    }
    few = [
        len(GAP) + max(wide for wide in map(text_width, texts) if wide <= FEW_WORDS)
        for texts in ([columns[number].head, *(row[number] for row in cells)] for number in words)
    ]
    room = None if width is None else width - sum(few)
    widths = fit(columns, natural, room)
    left = None if width is None else width - sum(widths.values()) - len(GAP) * len(widths)
    inline = left is None or left >= sum(few) - len(GAP)
    head = [cut(columns[number].head, wide) for number, wide in widths.items()]
    lines = [_line(head, widths, [columns[n].head for n in words] if inline else [])]
    for row in cells:
        beside = [row[number] for number in words if row[number]]
        fits = left is None or (inline and sum(map(text_width, beside)) <= left)
        begin = [cut(row[number] or NOTHING, wide) for number, wide in widths.items()]
        lines.append(_line(begin, widths, beside if fits else []))
        if not fits and width is not None:
            for each in beside:
                lines += below(each, width, most=MOST_LINES)
    return lines


def fit(columns: Sequence[Column], natural: dict[int, int], width: int | None) -> dict[int, int]:
    """Return how wide the columns are that are shown, by their numbers.

    Args:
        natural: how wide each would be with all that stands in it.
        width: columns of the terminal; None for no bounds.
    """
    left = dict(natural)
    while width is not None:
        widths = dict(left)
        over = sum(widths.values()) + len(GAP) * (len(widths) - 1) - width
        way = sorted(
            (number for number in left if columns[number].gives_way),
            key=lambda number: (-columns[number].gives_way, -number),
        )
        for number in way:
            least = columns[number].least
            if over > 0 and least:
                taken = min(over, max(0, widths[number] - max(least, 1)))
                widths[number] -= taken
                over -= taken
        if over <= 0 or not way:
            return widths
        del left[way[0]]
    return left


def value_lines(
    values: Mapping[str, Cell | list[Cell]], form: Form, *, now: float | None = None
) -> list[str]:
    """Return what one thing is: names and values, a line each, without those that are empty.

    What is longer than the rest of its line goes on below, indented as the values are. A value may
    be a list, with a line for each.
    """
    shown = {
        printable(name): [
            text
            for cell in (given if isinstance(given, list) else [given])
            if (text := in_form(cell, form, now))
        ]
        for name, given in values.items()
    }
    margin = max((text_width(name) for name, texts in shown.items() if texts), default=0) + len(GAP)
    lines: list[str] = []
    for name, texts in shown.items():
        for number, text in enumerate(texts):
            begin = name if number == 0 else ""
            lines += hanging(begin + " " * (margin - text_width(begin)), text, form.width)
    return lines


def below(text: str, width: int | None, *, most: int | None = None) -> list[str]:
    """Return words as lines below a row, indented and wrapped.

    Args:
        width: columns of the terminal; None for one line.
        most: so many lines at most; None for all.
    """
    return hanging(" " * INDENT, text, width, most=most)


def hanging(
    begin: str,
    text: str,
    width: int | None,
    *,
    indent: int | None = None,
    most: int | None = None,
) -> list[str]:
    """Return words as lines that begin below each other, behind what the first line begins with.

    Args:
        width: columns of the terminal; None for one line.
        indent: columns before the further lines, in place of as many as stand before the first.
        most: so many lines at most; None for all.
    """
    text = printable(text)
    indent = text_width(begin) if indent is None else indent
    # What begins a line is part of it: it ends where the others do.
    room = 0 if width is None else max(FEW_WORDS // 2, width - indent)
    if width is None or text_width(begin) + text_width(text) <= width:
        return [begin + text]
    if " " not in text and room < text_width(text) <= width:
        # Ids are copied: one that is broken in two is none.
        return [begin.rstrip(), " " * min(INDENT, width - text_width(text)) + text]
    lines = wrapped(text, room, before=max(0, text_width(begin) - indent))
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), room)]
    margin = " " * indent
    return [f"{margin if number else begin}{line}" for number, line in enumerate(lines)]


def wrapped(text: str, width: int, *, before: int = 0) -> list[str]:
    """Return a text as lines of so many columns at most, broken between words where that can be.

    Args:
        before: columns of the first line that are taken.
    """
    lines, taken = [""], before
    for word in text.split():
        blank = " " if lines[-1] else ""
        if taken + len(blank) + text_width(word) <= width:
            lines[-1] += blank + word
            taken += len(blank) + text_width(word)
            continue
        if taken:
            lines.append("")
            taken = 0
        for character in word:
            wide = text_width(character)
            if taken + wide > width:
                lines.append("")
                taken = 0
            lines[-1] += character
            taken += wide
    return lines


def text_width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    # Slow to import, and names are mostly ASCII.
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return a text of so many columns at most, with a mark at its end where it was cut."""
    if text_width(text) <= width:
        return text
    mark = sign(_MARK, _PLAIN_MARK)
    if text.isascii():
        return text[: max(0, width - len(mark))] + mark
    from rich.cells import set_cell_size

    return set_cell_size(text, max(0, width - len(mark))).rstrip() + mark


def sign(character: str, plain: str) -> str:
    """Return a character where standard output can have it, or else what stands for it."""
    try:
        character.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return plain
    return character


def _line(cells: list[str], widths: dict[int, int], beside: list[str]) -> str:
    padded = (
        cell + " " * (wide - text_width(cell))
        for cell, wide in zip(cells, widths.values(), strict=True)
    )
    return GAP.join([*padded, *beside]).rstrip()
