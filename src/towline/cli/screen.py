"""A job's progress, drawn on a terminal: the layers of one node, a bar a node, or a summary."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from towline.cli.bars import BAD, GOOD, WIDEST, Line, drawn, fitting, widest_name
from towline.cli.cells import in_form, node_name, twins
from towline.cli.form import Form
from towline.cli.tables import text_width
from towline.cli.terminal import printable, say
from towline.cli.words import in_words, shorter, sum_in_words
from towline.units import show_size
from towline.wire.progress import EXTRACTING, PART_STATES, PHASES

if TYPE_CHECKING:
    from towline.client import NodeProgress, PartProgress, Progress

ROWS = 30
"""Up to so many nodes have a bar each, where the terminal is high enough."""
BESIDE_NODE, BESIDE_LAYER = 42, 22
"""Columns for what stands beside a bar, while the bar can give some of its own."""
WIDEST_STATE = max(len(state) for state in (*PART_STATES, *PHASES))
COLOURS = {"ok": GOOD, "failed": BAD, "expired": BAD, "cancelled": "yellow", "skipped": "yellow"}


class Screen:
    """Draws a job's progress on a terminal, below what is printed, whenever it changes.

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
        self._last: dict[str, NodeProgress] = {}

    def show(self, progress: Progress) -> None:
        """Draw how far the job is now."""
        if not self._begun:
            self._begun = True
            self._live.start()
        self._live.update(self.draw(progress), refresh=True)

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

    def draw(self, progress: Progress) -> RenderableType:
        """Return what is drawn of a job's progress."""
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

    def _layers(self, node: NodeProgress) -> RenderableType:
        """Return what is drawn of one node: a line a layer."""
        # The progress of a node that has ended has no layers any more.
        latest = node if node.phase is not None else self._last.get(node.machine_id, node)
        layers = latest.parts
        room = max(1, self._console.height - 3)
        lines = [_layer(each, node.status == "ok") for each in layers[-room:]]
        shown = self._drawn(lines, beside=BESIDE_LAYER)
        if len(layers) > room:
            shown = [self._line(f"… {len(layers) - room} layers more"), *shown]
        return Group(*shown, self._about(node))

    def _bars(self, nodes: list[NodeProgress]) -> list[RenderableType]:
        """Return what is drawn of several nodes: a bar each."""
        alike = twins((node.hostname, node.machine_id) for node in nodes)
        return self._drawn([_node(node, alike) for node in nodes])

    def _summary(self, progress: Progress) -> RenderableType:
        """Return what is drawn of many nodes: one bar, the slowest nodes and those that failed."""
        total = progress.total
        # A bar by itself doesn't end its line.
        whole = Table.grid()
        width = max(10, min(2 * WIDEST, self._console.width - 2))
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
        name = widest_name([line for lines in some.values() for line in lines])
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
        return self._line(f"{node.hostname}: {fitting(forms, room)}", style)

    def _line(self, text: str, style: str = "") -> Text:
        return Text(printable(text), style, no_wrap=True, overflow="ellipsis")

    def _drawn(
        self, lines: Sequence[Line], *, name: int = 0, beside: int = BESIDE_NODE
    ) -> list[RenderableType]:
        return drawn(lines, self._console.width, name=name, state=WIDEST_STATE, beside=beside)


def _node(node: NodeProgress, alike: frozenset[str]) -> Line:
    name = in_form(node_name(node.hostname, node.machine_id, alike), Form())
    beside = [node.error or node.reason or ""] if node.phase is None else shorter(node)
    state = node.phase or node.status
    return Line(name, state, COLOURS.get(node.status, ""), _share(node), beside)


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


def _layer(layer: PartProgress, over: bool) -> Line:
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
    return Line(layer.id, state, style, done, beside)
