"""The progress of several jobs, drawn on a terminal: a line each, as many as there is room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from towline.cli import bars
from towline.cli.cells import job_id
from towline.cli.orders import Order, Stage
from towline.cli.outcome import exit_status
from towline.cli.terminal import printable
from towline.cli.words import sum_in_words

if TYPE_CHECKING:
    from towline.client import Progress

SHORT_JOB = 12
"""Columns of a job's short id."""
BESIDE = 36
"""Columns for what stands beside a bar, while the bar can give some of its own."""
AROUND = 3
"""Lines of the terminal that are left free."""
ENDED = {0: ("done", "green"), 1: ("failed", "red"), 3: ("not done", "yellow")}
"""What is said of a job by the exit status that it makes, and in which colour."""


class Board:
    """Draws how far each of several orders is, whenever that changes.

    Args:
        orders: all of them.
        console: where to draw; None for standard error.
    """

    def __init__(self, orders: Sequence[Order], console: Console | None = None) -> None:
        self._orders = orders
        self._console = console or Console(stderr=True, highlight=False)
        self._progress: dict[Order, Progress] = {}
        self._begun: set[Order] = set()
        self._over: set[Order] = set()
        # Drawn when there is news and not by a clock: on a slow connection each drawing counts.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def begin(self, order: Order) -> None:
        """Draw that the request of an order is being sent."""
        self._begun.add(order)
        self._live.update(self.draw(), refresh=True)

    def say(self, line: str) -> None:
        """Print a line above what is drawn."""
        self._console.print(Text(printable(line)), soft_wrap=True)

    def show(self, order: Order, progress: Progress) -> None:
        """Draw how far the job of an order is."""
        self._progress[order] = progress
        self._live.update(self.draw(), refresh=True)

    def ended(self, order: Order) -> None:
        """Draw that nobody waits for an order any more."""
        self._over.add(order)
        self._live.update(self.draw(), refresh=True)

    def close(self) -> None:
        """Remove what is drawn."""
        self._live.stop()

    def draw(self) -> RenderableType:
        """Return what is drawn: first what goes on, then what has ended last."""
        begun = (self._begun | self._progress.keys()) - self._over
        going_on = [each for each in self._orders if each in begun]
        over = [each for each in self._orders if each in self._over]
        room = max(1, self._console.height - AROUND)
        shown = {*going_on[:room], *over[len(over) - max(0, room - len(going_on)) :]}
        lines = [self._line(order) for order in self._orders if order in shown]
        drawn = bars.drawn(lines, self._console.width, state=SHORT_JOB, beside=BESIDE, ids=True)
        counts = Counter(self._state(order)[0] for order in self._orders)
        summary = ", ".join(f"{count} {state}" for state, count in counts.items())
        return Group(*drawn, Text(summary, no_wrap=True, overflow="ellipsis"))

    def _state(self, order: Order) -> tuple[str, str]:
        if order in self._over:
            if order.error is not None and order.told is None:
                return "failed", "red"
            return ENDED.get(exit_status(order.statuses), ("goes on", ""))
        return ("waiting", "") if order.stage is Stage.WAITING else ("under way", "")

    def _line(self, order: Order) -> bars.Line:
        state, style = self._state(order)
        job = job_id(order.job_id).short if order.job_id else ""
        progress = self._progress.get(order)
        if order in self._over or progress is None:
            return bars.Line(order.name, job, style, None, (state,))
        total = progress.total
        words = (sum_in_words(total), f"{total.complete:.0%}")
        return bars.Line(order.name, job, "", total.complete, words)
