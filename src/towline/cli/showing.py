"""What is shown on standard error while a command waits for the jobs that it has asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from towline.cli.display import Display, Lines, display
from towline.cli.orders import Order
from towline.cli.terminal import drawable, printable, say

if TYPE_CHECKING:
    from towline.cli.several import Board
    from towline.client import Progress

AT_ONCE = 1.0
"""Seconds within which a job has ended at once: its results are all that there is to say."""
ERASE = "\r\x1b[2K"
"""What removes the line that a terminal's cursor is in (ECMA-48, EL)."""


class Showing:
    """Says which jobs there are to be, and how far they are.

    A terminal that is killed has the id from before anything is sent; it is removed where the job
    ends at once. Elsewhere, in a log, there is a line for each job that doesn't.

    Args:
        orders: what the command asks for.
        ids: whether the ids are said.
    """

    def __init__(self, orders: Sequence[Order], *, ids: bool) -> None:
        self._several = len(orders) > 1
        self._ids = ids
        self._orders = orders
        self._terminal = drawable(sys.stderr)
        self._displays: dict[Order, Display] = {}
        self._board: Board | None = None
        self._written = False
        self._unsaid: dict[Order, float] = {}

    def begin(self, order: Order) -> None:
        """Say which job there is to be, whose request is being sent."""
        if not self._ids or order.job_id is None:
            return
        if self._terminal and not self._several:
            sys.stderr.write(printable(_announced(order)))
            sys.stderr.flush()
            self._written = True
        elif self._terminal:
            self._drawn().begin(order)
        else:
            self._unsaid[order] = time.monotonic()

    def look(self) -> None:
        """Say which jobs there are that have not ended at once."""
        for order, since in [*self._unsaid.items()]:
            if time.monotonic() - since >= AT_ONCE:
                del self._unsaid[order]
                say(_announced(order), error=True)

    def progress(self, order: Order, progress: Progress) -> None:
        """Show how far the job of an order is; what says its id stays above that."""
        if self._written:
            self._written = False
            say("", error=True)
        if self._several and self._terminal:
            self._drawn().show(order, progress)
            return
        if order not in self._displays:
            self._displays[order] = Lines() if self._several else display()
        self._displays[order].show(progress)

    def ended(self, order: Order) -> None:
        """Show that an order has been carried out."""
        self._unsaid.pop(order, None)
        if self._several and self._terminal:
            self._drawn().ended(order)

    def note(self, order: Order, words: str) -> None:
        """Say something that people are to know."""
        said = f"{order.name}: {words}" if order.name else words
        if self._board is not None:
            self._board.say(said)
        else:
            self.close()
            say(said, error=True)

    def close(self) -> None:
        """Remove what is drawn."""
        self._erase()
        for each in self._displays.values():
            each.close()
        self._displays.clear()
        if self._board is not None:
            self._board.close()
            self._board = None

    def _erase(self) -> None:
        if self._written:
            self._written = False
            sys.stderr.write(ERASE)
            sys.stderr.flush()

    def _drawn(self) -> Board:
        if self._board is None:
            # Slow to import, and most commands don't need it.
            from towline.cli.several import Board

            self._board = Board(self._orders)
        return self._board


def _announced(order: Order) -> str:
    return f"job {order.job_id}" + (f": {order.name}" if order.name else "")
