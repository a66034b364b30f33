"""A job's progress, drawn on a terminal: the layers of one node, a bar a node, or a summary."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from towline.cli.terminal import printable, say
from towline.cli.words import amounts, in_words, sum_in_words
from towline.units import show_size
from towline.wire.progress import PART_STATES, PHASES

if TYPE_CHECKING:
    from towline.client import NodeProgress, PartProgress, Progress

ROWS = 30
"""Up to so many nodes have a bar each, where the terminal is high enough."""
WIDEST_BAR = 30
WIDEST_STATE = max(len(state) for state in (*PART_STATES, *PHASES))
GOOD, BAD = "green", "red"
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
            return Group(self._bars(list(nodes.values())), _line(sum_in_words(progress.total)))
        return self._summary(progress)

    def _layers(self, node: NodeProgress) -> RenderableType:
        """Return what is drawn of one node: a line a layer."""
        table = _grid()
        # The progress of a node that has ended has no layers any more.
        latest = node if node.phase is not None else self._last.get(node.machine_id, node)
        over = node.status == "ok"
        layers = latest.parts
        room = max(1, self._console.height - 3)
        for layer in layers[-room:]:
            state = "done" if over and layer.state != "present" else layer.state
            style = GOOD if state in ("done", "present") else ""
            table.add_row(
                Text(printable(layer.id)),
                Text(printable(state), style),
                *_layer_bar(layer, state),
            )
        if len(layers) > room:
            return Group(_line(f"… {len(layers) - room} layers more"), table, _about(node))
        return Group(table, _about(node))

    def _bars(self, nodes: list[NodeProgress]) -> RenderableType:
        """Return what is drawn of several nodes: a bar each."""
        table = _grid()
        for node in nodes:
            table.add_row(
                Text(printable(node.hostname)),
                Text(printable(node.phase or node.status), COLOURS.get(node.status, "")),
                _bar(node),
                Text(_beside(node), no_wrap=True, overflow="ellipsis"),
            )
        return table

    def _summary(self, progress: Progress) -> RenderableType:
        """Return what is drawn of many nodes: one bar, the slowest nodes and those that failed."""
        total = progress.total
        # A bar by itself doesn't end its line.
        whole = Table.grid()
        whole.add_row(ProgressBar(total=1.0, completed=total.complete, width=self._width()))
        parts: list[RenderableType] = [
            whole,
            _line(f"{total.complete:.0%}: {sum_in_words(total)}"),
        ]
        for head, style, nodes in (
            ("slowest", "", total.slowest),
            ("failed", BAD, total.failed),
        ):
            if nodes:
                parts += [_line(head, style), self._bars(nodes)]
        return Group(*parts)

    def _width(self) -> int:
        return max(10, min(2 * WIDEST_BAR, self._console.width - 2))


def _grid() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    # As wide as they will ever be: columns that move are hard to read.
    table.add_column(no_wrap=True, min_width=WIDEST_STATE)
    table.add_column(no_wrap=True, min_width=WIDEST_BAR)
    table.add_column(no_wrap=True, overflow="ellipsis")
    return table


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def _about(node: NodeProgress) -> Text:
    style = COLOURS.get(node.status, "") if node.phase is None else ""
    return _line(f"{node.hostname}: {in_words(node)}", style)


def _beside(node: NodeProgress) -> str:
    if node.phase is None:
        return printable(node.error or node.reason or "")
    return printable(", ".join([*amounts(node), *filter(None, [node.note])]))


def _bar(node: NodeProgress) -> RenderableType:
    if node.status == "ok":
        return _progress_bar(1, 1)
    if not node.size:
        return Text("")
    if node.phase == "extracting":
        return _progress_bar(node.extracted, node.size, unknown=not node.rate)
    return _progress_bar(node.fetched, node.size)


def _layer_bar(layer: PartProgress, state: str) -> tuple[RenderableType, RenderableType]:
    if state == "downloading" and layer.size:
        amount = f"{show_size(layer.fetched)} of {show_size(layer.size)}"
        return _progress_bar(layer.fetched, layer.size), Text(amount)
    if state == "extracting" and layer.size:
        bar: Any = _progress_bar(layer.extracted, layer.size) if layer.extracted else Text("")
        return bar, Text(show_size(layer.size))
    return Text(""), Text(show_size(layer.size) if layer.size else "")


def _progress_bar(done: int, size: int, *, unknown: bool = False) -> RenderableType:
    if unknown and not done:
        return Text("")
    return ProgressBar(total=size, completed=done, width=WIDEST_BAR)
