"""How far a job is, shown while it goes on: lines now and then, unless a terminal is drawn on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from towline.cli.output import printable
from towline.cli.words import in_words, sum_in_words

if TYPE_CHECKING:
    from towline.client import Progress
    from towline.wire.progress import NodeProgress

LINES_EVERY = 5.0
"""Seconds between lines where there is no terminal; before the first one, too."""
FEW = 20
"""Nodes up to which lines tell of each."""


class Display(Protocol):
    """What shows how far a job is."""

    def show(self, progress: Progress) -> None:
        """Show how far it is now."""

    def say(self, line: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """Show nothing more."""


class Lines:
    """Tells how far a job is where there is no terminal: in a few lines now and then.

    Args:
        say: prints a line of it.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self._next = time.monotonic() + LINES_EVERY
        self._told: dict[str, str] = {}

    def show(self, progress: Progress) -> None:
        """Print what has changed since the last lines, if these were long enough ago."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LINES_EVERY
        told = {"": f"job {progress.job_id}: {sum_in_words(progress.total)}"}
        nodes: Iterable[NodeProgress] = progress.nodes.values()
        if len(progress.nodes) > FEW:
            nodes = (*progress.total.slowest, *progress.total.failed)
        told |= {node.machine_id: f"  {node.hostname}: {in_words(node)}" for node in nodes}
        for name, line in told.items():
            if self._told.get(name) != line:
                self._say(printable(line))
        self._told = told

    def say(self, line: str) -> None:
        """Print a line to standard output."""
        print(line, flush=True)

    def close(self) -> None:
        """Nothing is open."""


def display() -> Display:
    """Return what suits where standard error goes: a terminal is drawn on, else there are lines."""
    if not sys.stderr.isatty():
        return Lines()
    # Slow to import, and of no use to most commands.
    from towline.cli.screen import Screen

    return Screen()
