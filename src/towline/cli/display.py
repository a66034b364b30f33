"""A job's progress, shown while it goes on: drawn on a terminal, or else in lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from towline.cli.cells import in_form, node_name, twins
from towline.cli.form import Form
from towline.cli.terminal import drawable, say
from towline.cli.words import in_words, sum_in_words

if TYPE_CHECKING:
    from towline.client import Progress
    from towline.wire.progress import NodeProgress

LINES_EVERY = 5.0
"""Seconds between lines, and before the first: a job that is over sooner needs none."""
FEW = 20
"""Up to so many nodes have a line each."""


class Display(Protocol):
    """What shows a job's progress."""

    def show(self, progress: Progress) -> None:
        """Show how far the job is now."""

    def say(self, line: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """End the showing."""


class Lines:
    """Prints a few lines of a job's progress now and then, where there is nothing to draw on.

    Args:
        print_line: prints one of them.
        every: seconds between them.
        clock: the present moment in seconds.
    """

    def __init__(
        self,
        print_line: Callable[[str], None] | None = None,
        *,
        every: float = LINES_EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._print = print_line or partial(say, error=True)
        self._every = every
        self._clock = clock
        self._next = clock() + every
        self._printed: dict[str, str] = {}

    def show(self, progress: Progress) -> None:
        """Print what has changed since the last lines, if they were long enough ago."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + self._every
        lines = {"": f"job {progress.job_id}: {sum_in_words(progress.total)}"}
        nodes: Iterable[NodeProgress] = progress.nodes.values()
        alike = twins((node.hostname, node.machine_id) for node in nodes)
        if len(progress.nodes) > FEW:
            nodes = (*progress.total.slowest, *progress.total.failed)
        for node in nodes:
            name = in_form(node_name(node.hostname, node.machine_id, alike), Form())
            lines[node.machine_id] = f"  {name}: {in_words(node)}"
        for name, line in lines.items():
            if self._printed.get(name) != line:
                self._print(line)
        self._printed = lines

    def say(self, line: str) -> None:
        """Print a line to standard output."""
        say(line)

    def close(self) -> None:
        """Do nothing."""


def display() -> Display:
    """Return what suits standard error: a screen where it can be drawn on, else lines."""
    if not drawable(sys.stderr):
        return Lines()
    # Slow to import, and most commands don't need it.
    from rich.console import Console

    from towline.cli.screen import Screen

    return Screen(Console(stderr=True, highlight=False))
