"""What is printed of a job's results: a summary, a row for what is worth one, and who failed why.

Of one node everything is shown. Of several a change is summed up, with a row for each where they
are few; of many, only nodes whose value is another than most have get a row. What a read has found
is what was asked for, and always shown; what a change lists, where it is not much. Nodes that did
not do it stand together by why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from towline.cli.cells import (
    Cell,
    cell_of,
    head_of,
    image_names,
    in_form,
    node_name,
    twins,
)
from towline.cli.form import Form
from towline.cli.result_kind import Kind, kind_of
from towline.cli.tables import INDENT, Column, below, hanging, sign, table_lines, value_lines
from towline.cli.terminal import printable, say
from towline.cli.words import seconds_in_words
from towline.operation import OUTCOME, RESULT_RESERVED, STATUS, AnyOperation
from towline.units import show_size

Row = dict[str, Any]
FEW = 20
"""Up to so many nodes have a row each, and so many reasons and names are listed."""
CHANGED, COUNT = "changed", "count"
ORDER = (
    *("ok", "would run", "could run", "failed", "would fail"),
    *("skipped", "expired", "cancelled", "running", "pending"),
)
"""In which order statuses are told."""
WHY = ("error", "reason", "waits")
"""What says why a node's status is as it is: the first that is there."""


def print_results(
    results: list[Row],
    operation: AnyOperation | None,
    form: Form,
    *,
    seconds: float | None = None,
    title: str = "",
) -> None:
    """Print the results of a job for people.

    Args:
        results: as the API has them.
        operation: which one; None for one that this version doesn't know.
        seconds: how long it took; None where that is not to be said.
        title: what the job is called where it is one of several.
    """
    lines = result_lines(results, operation, form, seconds=seconds, title=title)
    if lines:
        say(*lines)
    kind = kind_of(operation, results)
    more = ": --limit shows more" if kind.limited else ""
    for node in _Results(results, kind, form).nodes_with_more():
        say(f"{node} has more than these{more}", error=True)


def names_of(results: list[Row], operation: AnyOperation | None, job_id: str) -> list[str]:
    """Return what `-o name` prints of results: what they list, or else the job."""
    kind = kind_of(operation, results)
    if kind.items is None or (operation is not None and not kind.reads):
        return [job_id]
    field, names = kind.items
    return [str(item[names[0]]) for row in results for item in row.get(field) or () if names]


def result_lines(
    results: list[Row],
    operation: AnyOperation | None,
    form: Form,
    *,
    seconds: float | None = None,
    title: str = "",
    now: float | None = None,
) -> list[str]:
    """Return the lines of the results of a job; see `print_results`.

    Args:
        now: the present moment, in seconds since 1970; None to look.
    """
    kind = kind_of(operation, results)
    return lines_of_kind(results, kind, form, seconds=seconds, title=title, now=now)


def lines_of_kind(
    results: list[Row],
    kind: Kind,
    form: Form,
    *,
    seconds: float | None = None,
    title: str = "",
    now: float | None = None,
) -> list[str]:
    """Return the lines of what nodes did, or would do; see `result_lines`.

    Args:
        kind: what is known of it.
    """
    found = _Results(results, kind, form, now)
    if len(found.nodes) == 1 and len(results) == 1 and not (found.listing and found.ok):
        sections = [found.block(seconds, title)]
    else:
        summed = title or kind.sums or not kind.reads
        above = found.summary(seconds, title) if summed else []
        sections = [[*above, *found.table()], found.groups()]
    sections.insert(1, found.listed())
    parts = [lines for lines in sections if lines]
    return [line for n, lines in enumerate(parts) for line in ([""] if n else []) + lines]


class _Results:
    """The results of a job, as they are shown.

    Args:
        kind: what is known of them.
    """

    def __init__(
        self, results: list[Row], kind: Kind, form: Form, now: float | None = None
    ) -> None:
        self._now = now
        self._form = form
        self._kind = kind
        self._alike = twins((row["hostname"], row.get("machine_id")) for row in results)
        self._rows = results
        # An operation may answer several rows for a node.
        by_node = {(row["hostname"], row.get("machine_id")): row for row in reversed(results)}
        self.nodes = [*reversed(by_node.values())]
        self.ok = [row for row in self.nodes if self._well(row)]
        self._same = {
            name: Counter(str(row[name]) for row in self.ok if name in row).most_common()
            for name in kind.same
        }

    def summary(self, seconds: float | None, title: str) -> list[str]:
        """Return how many nodes have which status, what they have in common, and how long it took.

        `300 ok (280 changed), 2 failed · sha256:11fa8c2b41d0 · 27 s`
        """
        counts = Counter(map(self._status, self.nodes))
        parts = []
        for status in sorted(counts, key=_place):
            of = [row for row in self.ok if self._status(row) == status and CHANGED in row]
            of = [] if self._kind.reads else of
            changed = sum(row[CHANGED] for row in of)
            more = f" ({changed} {self._kind.changes[0]})" if of else ""
            parts.append(f"{counts[status]} {status}{more}")
        # Where all have read what was asked for, that is all that there is to say.
        told = self._kind.sums and self._kind.reads and len(self.ok) == len(self.nodes)
        facts = [] if told else [", ".join(parts) or "no node"]
        if self._kind.items is not None and not self.listing:
            count, name = sum(map(self._count, self.ok)), head_of(self._kind.items[0]).lower()
            facts.append(f"{count} {name.removesuffix('s') if count == 1 else name}")
        facts += [self._shown(name, values[0][0]) for name, values in self._same.items() if values]
        facts += [
            self._kind.sum_of.format(head_of(name).lower(), self._sum(name))
            for name in self._kind.sums
        ]
        if seconds is not None and not told:
            facts.append(seconds_in_words(seconds))
        said = f" {sign('·', '-')} ".join(facts)
        return hanging(f"{title}: " if title else "", said, self._form.width, indent=INDENT)

    def block(self, seconds: float | None, title: str) -> list[str]:
        """Return all that is known of the only node, a line a value."""
        (row,) = self.nodes
        status = self._status(row)
        if self._well(row) and isinstance(row.get(CHANGED), bool) and not self._kind.reads:
            status += f", {self._kind.changes[not row[CHANGED]]}"
        if seconds is not None and not self._kind.reads:
            status += f", {seconds_in_words(seconds)}"
        values: dict[str, Cell | list[Cell]] = {
            **{"node": self._name(row), self._kind.status: status}
        }
        for name in self._fields([row]):
            if name != CHANGED:
                values[name.replace("_", " ")] = self._lines(name, self._value(row, name))
        values |= {name: str(row[name]) for name in WHY if row.get(name)}
        lines = value_lines(values, self._form, now=self._now)
        return [printable(title), *lines] if title else lines

    def table(self) -> list[str]:
        """Return the rows of those nodes that are worth one."""
        if self.listing:
            return self._items()
        few = len(self.nodes) <= FEW or self._form.all_nodes
        if self._kind.reads:
            rows = [row for row in self._rows if self._well(row)]
        elif few:
            rows = self._rows
        else:
            rows = [row for row in self._rows if self._differs(row)]
        if not rows:
            return []
        names = self._fields(rows)
        # What they differ in comes first; what they have in common the summary has said.
        differing = [name for name, values in self._same.items() if len(values) > 1]
        names = [name for name in names if name not in self._same or self._form.output == "wide"]
        names = [*differing, *(name for name in names if name not in differing)]
        status = [] if self._kind.reads else [Column(head_of(self._kind.status))]
        return self._table(
            [Column("NODE"), *status, *_columns(names, never=differing)],
            [
                [
                    self._name(row),
                    *([self._status(row)] if status else []),
                    *(self._cell(name, self._value(row, name)) for name in names),
                ]
                for row in rows
            ],
        )

    def groups(self) -> list[str]:
        """Return the nodes of which there is a reason, together where it is the same."""
        groups: dict[tuple[str, str], list[str]] = {}
        for row in self.nodes:
            status = self._status(row)
            why = str(row.get("error") or row.get("reason") or "")
            if not why and row.get("waits"):
                why = f"waits: {row['waits']}"
            # Of few nodes the table has it all where there is no reason.
            if why or (not self._well(row) and (len(self.nodes) > FEW or self._kind.reads)):
                name = in_form(self._name(row), self._form)
                groups.setdefault((status, why), []).append(name)
        most = most_names(self._form)
        ordered = sorted(groups.items(), key=lambda group: (_place(group[0][0]), -len(group[1])))
        lines: list[str] = []
        for (status, why), names in ordered[:most]:
            lines += self._group(status, why, names, most)
        if len(ordered) > len(ordered[:most]):
            left = sum(len(names) for _, names in ordered[most:])
            lines.append(f"{left} nodes more for other reasons: --all-nodes shows them")
        return lines

    def nodes_with_more(self) -> list[str]:
        """Return the nodes that have more of the things that were asked for."""
        # What is not listed has not been cut either.
        if not (self.listing or self.listed()):
            return []
        return [
            in_form(self._name(row), self._form)
            for row in self.ok
            if any(row.get(name) for name in self._kind.more)
        ]

    def _group(self, status: str, why: str, names: list[str], most: int | None) -> list[str]:
        count = f"{len(names)} nodes " if len(names) > 1 else ""
        width = self._form.width
        lines = hanging(f"{count}{status}: ", in_a_row(names, most), width, indent=INDENT // 2)
        return [*lines, *(below(why, width) if why else [])]

    @property
    def listing(self) -> bool:
        """Whether what the results list is what was asked for."""
        return self._kind.items is not None and (self._kind.reads or self._kind.unknown)

    def listed(self) -> list[str]:
        """Return a row for each thing that a change lists: of one node, or where they are few."""
        if self._kind.items is None or self.listing:
            return []
        few = len(self.nodes) == 1 or sum(map(self._count, self.ok)) <= FEW
        return self._items() if few or self._form.all_nodes else []

    def _items(self) -> list[str]:
        """Return a row for each thing that the results list."""
        assert self._kind.items is not None
        field, names = self._kind.items
        # Of the only node all else has been said.
        alone = len(self.nodes) == 1 and not self.listing
        rows = [
            [
                *([] if alone else [self._name(row)]),
                *(self._cell(name, item.get(name)) for name in names),
            ]
            for row in self.ok
            for item in row.get(field) or ()
        ]
        if not rows and not (self.ok and self.listing):
            return []
        never = [*names[:1], "name", "names"]
        node = [] if alone else [Column("NODE")]
        return self._table([*node, *_columns(names, never=never, late=self._kind.size)], rows)

    def _table(self, columns: list[Column], rows: Iterable[list[Cell]]) -> list[str]:
        return table_lines(columns, rows, self._form, width=self._form.width, now=self._now)

    def _status(self, row: Row) -> str:
        return str(row.get(self._kind.status) or row.get(OUTCOME) or row.get(STATUS))

    def _well(self, row: Row) -> bool:
        return self._status(row) in self._kind.well

    def _name(self, row: Row) -> Cell:
        return node_name(row["hostname"], row.get("machine_id"), self._alike)

    def _fields(self, rows: list[Row]) -> list[str]:
        """Return the names of the values that rows have, whether they changed something first."""
        hidden = RESULT_RESERVED | {self._kind.status, *self._kind.more}
        if self._kind.items is not None and any(COUNT in row for row in rows):
            hidden |= {COUNT}
        if self._kind.reads:
            hidden |= {CHANGED}
        names = dict.fromkeys(name for row in rows for name in row if name not in hidden)
        return sorted(names, key=lambda name: name != CHANGED)

    def _differs(self, row: Row) -> bool:
        return self._well(row) and any(
            name in row and str(row[name]) != values[0][0] for name, values in self._same.items()
        )

    def _shown(self, name: str, value: str) -> str:
        return in_form(self._cell(name, value), self._form)

    def _count(self, row: Row) -> int:
        """Return how many things a row lists, or how many there are in all where it says so."""
        assert self._kind.items is not None
        return int(row.get(COUNT, len(row.get(self._kind.items[0]) or ())))

    def _value(self, row: Row, name: str) -> object:
        """Return a value of a row; of the things that it lists how many they are."""
        listed = self._kind.items is not None and name == self._kind.items[0]
        return self._count(row) if listed and name in row else row.get(name)

    def _lines(self, name: str, value: object) -> Cell | list[Cell]:
        """Return the cells of a value, a line each where it is several."""
        if not isinstance(value, list):
            return self._cell(name, value)
        return [self._cell(name, each) for each in value]

    def _sum(self, name: str) -> str:
        found = sum(row[name] for row in self.ok if isinstance(row.get(name), int))
        return show_size(found) if name in self._kind.size else str(found)

    def _cell(self, name: str, value: object) -> Cell:
        if name in self._kind.images and value:
            return image_names(value if isinstance(value, list) else [str(value)])
        if name in self._kind.size and isinstance(value, int):
            return show_size(value)
        return cell_of(value, name)


def most_names(form: Form) -> int | None:
    """Return how many names are listed at most; None for all, as what is no terminal is sent."""
    return None if form.all_nodes or form.width is None else FEW


def in_a_row(names: Sequence[str], most: int | None) -> str:
    """Return names beside each other, so many at most, and how many more there are."""
    shown = ", ".join(names[:most])
    left = len(names) - len(names[:most])
    return f"{shown} and {left} more" if left else shown


def _columns(
    names: Sequence[str], *, never: Sequence[str], late: Sequence[str] = ()
) -> list[Column]:
    """Return the columns of values: the last give way first.

    Args:
        never: those that never do.
        late: those that do after all others.
    """
    return [
        Column(head_of(name))
        if name in never
        else Column(*(head_of(name), 1 if name in late else number + 2), least=8, optional=True)
        for number, name in enumerate(names)
    ]


def _place(status: str) -> int:
    return ORDER.index(status) if status in ORDER else len(ORDER)
