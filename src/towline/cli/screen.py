"""Jobs' progress, drawn on a terminal: the layers of one node, a bar a node, or a summary.

Names are never cut. Where there is little room bars shrink first, then vanish, and what stands
beside them is said in fewer words.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from towline.cli.cells import in_form, node_name, twins
from towline.cli.form import Form
from towline.cli.tables import GAP, cut, text_width
from towline.cli.terminal import printable, say
from towline.cli.words import in_words, shorter, sum_in_words
from towline.units import show_size
from towline.wire.progress import EXTRACTING, PART_STATES, PHASES

if TYPE_CHECKING:
    from towline.client import NodeProgress, PartProgress, Progress

ROWS = 30
"""Up to so many nodes have a bar each, where the terminal is high enough."""
WIDEST_BAR = 30
NARROWEST_BAR = 8
"""Columns: a bar that would have fewer says nothing, and vanishes."""
BESIDE_NODE, BESIDE_LAYER = 42, 22
"""Columns for what stands beside a bar, while the bar can give some of its own."""
LEAST_WORDS = 8
"""Columns: of words that would have fewer nothing is shown."""
WIDEST_STATE = max(len(state) for state in (*PART_STATES, *PHASES))
GOOD, BAD = "green", "red"
COLOURS = {"ok": GOOD, "failed": BAD, "expired": BAD, "cancelled": "yellow", "skipped": "yellow"}


class _Line(msgspec.Struct, frozen=True):
    """A line with a bar.

    Attributes:
        name: of what it is, never cut.
        state: in a word; "" where `beside` says it.
        style: what the state is drawn in.
        done: how full the bar is, from 0 to 1; None for no bar.
        beside: what stands beside it, ever shorter: the first that fits is shown.
    """

    name: str
    state: str
    style: str
    done: float | None
    beside: Sequence[str]


class Screen:
    """Draws how far jobs are on a terminal, below what is printed, whenever that changes.

    One job is drawn node by node, or layer by layer where it is one node's alone; of several jobs
    each is a line.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        # Drawn when there is news and not by a clock: on a slow connection each drawing counts.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            # Standard output may be a file: nothing is drawn there.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._begun = False
        self._jobs: dict[str, tuple[str, Progress]] = {}
        self._last: dict[str, NodeProgress] = {}

    def show(self, progress: Progress, title: str = "") -> None:
        """Draw how far a job is now, together with the jobs that were shown before.

        Args:
            title: what people call it, for example its image; needed where there are several.
        """
        shown = self.draw(progress, title)
        if not self._begun:
            self._begun = True
            self._live.start()
        self._live.update(shown, refresh=True)

    def say(self, line: str) -> None:
        """Print a line to standard output; where that is a terminal, above what is drawn."""
        if sys.stdout.isatty():
            self._console.print(Text(printable(line)), soft_wrap=True)
        else:
            say(line)

    def close(self) -> None:
        """Remove what is drawn. The results take its place."""
        if self._begun:
            self._live.stop()

    def draw(self, progress: Progress, title: str = "") -> RenderableType:
        """Return what is drawn once a job is as far as this; see `show`."""
        self._jobs[progress.job_id] = title, progress
        if len(self._jobs) > 1:
            return self._several()
        nodes = progress.nodes
        for machine, node in nodes.items():
            if node.phase is not None:
                self._last[machine] = node
        if len(nodes) == 1 and sum(progress.total.nodes.values()) == 1:
            (node,) = nodes.values()
            return self._layers(node)
        if len(nodes) <= min(ROWS, self._console.height - 4):
            shown = self._bars(list(nodes.values()))
            return Group(*shown, self._line(sum_in_words(progress.total)))
        return self._summary(progress)

    def _several(self) -> RenderableType:
        """Return what is drawn of several jobs: a line each, those that go on before others."""
        jobs = sorted(self._jobs.values(), key=lambda each: each[1].done)
        room = max(1, self._console.height - 3)
        lines = [_job(title or progress.job_id, progress) for title, progress in jobs[:room]]
        drawn = self._drawn(lines, state=0)
        left = len(jobs) - len(lines)
        return Group(*drawn, *([self._line(f"… {left} jobs more")] if left else []))

    def _layers(self, node: NodeProgress) -> RenderableType:
        """Return what is drawn of one node: a line a layer."""
        # The progress of a node that has ended has no layers any more.
        latest = node if node.phase is not None else self._last.get(node.machine_id, node)
        layers = latest.parts
        room = max(1, self._console.height - 3)
        lines = [_layer(each, node.status == "ok") for each in layers[-room:]]
        drawn = self._drawn(lines, beside=BESIDE_LAYER)
        if len(layers) > room:
            drawn = [self._line(f"… {len(layers) - room} layers more"), *drawn]
        return Group(*drawn, self._about(node))

    def _bars(self, nodes: list[NodeProgress]) -> list[RenderableType]:
        """Return what is drawn of several nodes: a bar each."""
        alike = twins((node.hostname, node.machine_id) for node in nodes)
        return self._drawn([_node(node, alike) for node in nodes])

    def _summary(self, progress: Progress) -> RenderableType:
        """Return what is drawn of many nodes: one bar, the slowest nodes and those that failed."""
        total = progress.total
        # A bar by itself doesn't end its line.
        whole = Table.grid()
        width = max(10, min(2 * WIDEST_BAR, self._console.width - 2))
        whole.add_row(ProgressBar(total=1.0, completed=total.complete, width=width))
        parts: list[RenderableType] = [
            whole,
            self._line(f"{total.complete:.0%}: {sum_in_words(total)}"),
        ]
        alike = twins((node.hostname, node.machine_id) for node in progress.nodes.values())
        some = {
            head: [_node(node, alike) for node in nodes]
            for head, nodes in (("slowest", total.slowest), ("failed", total.failed))
            if nodes
        }
        name = _widest([line for lines in some.values() for line in lines])
        for head, lines in some.items():
            parts += [self._line(head, COLOURS.get(head, "")), *self._drawn(lines, name=name)]
        return Group(*parts)

    def _about(self, node: NodeProgress) -> Text:
        """Return what is drawn below the layers of a node."""
        style = COLOURS.get(node.status, "") if node.phase is None else ""
        forms = [in_words(node)]
        if node.phase is not None:
            forms += [f"{node.phase}, {form}" for form in shorter(node)[1:] if form]
        room = self._console.width - text_width(node.hostname) - len(": ")
        return self._line(f"{node.hostname}: {_fitting(forms, room)}", style)

    def _line(self, text: str, style: str = "") -> Text:
        return Text(printable(text), style, no_wrap=True, overflow="ellipsis")

    def _drawn(
        self,
        lines: Sequence[_Line],
        *,
        name: int = 0,
        state: int = WIDEST_STATE,
        beside: int = BESIDE_NODE,
    ) -> list[RenderableType]:
        """Return lines with bars, as wide as the terminal allows.

        Args:
            name: columns that names take at least.
            state: columns for the states, as wide as they will ever be: what moves is hard to read.
            beside: columns that bars leave to what is beside them.
        """
        if not lines:
            return []
        widths = _widths(self._console.width, max(name, _widest(lines)), state, beside)
        table = Table.grid(padding=(0, len(GAP), 0, 0))
        for width in filter(None, widths):
            table.add_column(width=width, no_wrap=True, overflow="ellipsis")
        for line in lines:
            words = _fitting([*map(printable, line.beside)], widths[-1])
            cells = (
                Text(printable(line.name)),
                Text(printable(line.state), line.style),
                Text("")
                if line.done is None
                else ProgressBar(total=1.0, completed=line.done, width=widths[2]),
                Text(words, "" if line.state else line.style),
            )
            table.add_row(*(cell for width, cell in zip(widths, cells, strict=True) if width))
        return [table]


def _widest(lines: Iterable[_Line]) -> int:
    return max((text_width(printable(line.name)) for line in lines), default=0)


def _widths(whole: int, name: int, state: int, beside: int) -> tuple[int, int, int, int]:
    """Return the columns of a line's name, state, bar and of what is beside it; 0 for none.

    Args:
        whole: the terminal's.
        name: what the longest name needs.
        state: what states need.
        beside: what is left to the last, while the bar can give some of its own.
    """
    left = whole - len(GAP) - name
    state = max(0, min(state, left))
    if state:
        left -= state + len(GAP)
    bar = min(WIDEST_BAR, left - beside - len(GAP))
    if bar < NARROWEST_BAR:
        bar = 0
    else:
        left -= bar + len(GAP)
    return min(name, whole), state, bar, max(0, left)


def _fitting(forms: Sequence[str], width: int) -> str:
    """Return the first of these that is not wider than this; of the last what can be read of it."""
    fitting = [form for form in forms if text_width(form) <= width]
    return fitting[0] if fitting else cut(forms[-1], width) if width >= LEAST_WORDS else ""


def _job(title: str, progress: Progress) -> _Line:
    """Return the line of one of several jobs."""
    total = progress.total
    counts = sum_in_words(total)
    if not progress.done:
        share = f"{total.complete:.0%}"
        return _Line(title, "", "", total.complete, (f"{share}: {counts}", share))
    well = total.nodes.keys() <= {"ok"}
    return _Line(title, "", GOOD if well else BAD, 1.0, (counts, "ok" if well else "not ok"))


def _node(node: NodeProgress, alike: frozenset[str]) -> _Line:
    name = in_form(node_name(node.hostname, node.machine_id, alike), Form())
    beside = [node.error or node.reason or ""] if node.phase is None else shorter(node)
    state = node.phase or node.status
    return _Line(name, state, COLOURS.get(node.status, ""), _share(node), beside)


def _share(node: NodeProgress) -> float | None:
    """Return how full the bar of a node is; None for no bar."""
    if node.status == "ok":
        return 1.0
    if not node.size:
        return None
    if node.phase != EXTRACTING:
        return node.fetched / node.size
    # Some engines don't say how much they have unpacked.
    return node.extracted / node.size if node.extracted or node.rate else None


def _layer(layer: PartProgress, over: bool) -> _Line:
    """Return the line of a layer.

    Args:
        over: whether the node is done with all.
    """
    state = "done" if over and layer.state != "present" else layer.state
    style = GOOD if state in ("done", "present") else ""
    size = show_size(layer.size) if layer.size else ""
    done, beside = None, [size]
    if state == "downloading" and layer.size:
        done = layer.fetched / layer.size
        beside = [f"{show_size(layer.fetched)} of {size}", f"{done:.0%}"]
    elif state == EXTRACTING and layer.size and layer.extracted:
        done = layer.extracted / layer.size
    return _Line(layer.id, state, style, done, beside)
