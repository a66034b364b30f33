"""Watching a list: it is shown, and shown again when something in it changes, until ^C.

On a terminal it is drawn anew in its place. Elsewhere each change is a line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import click
import msgspec

from towline.cli.cells import Cell, Moment, in_form
from towline.cli.form import Form
from towline.cli.output import print_json, print_names
from towline.cli.tables import GAP, Column, print_table, sign, table_lines
from towline.cli.terminal import drawable, say
from towline.errors import ApiError
from towline.units import timestamp

T = TypeVar("T")

ASK_EVERY = 2.0
"""Seconds between the answer to one request and the next."""
TOO_MANY, SERVERS_FAULT = 429, 500
"""Statuses that pass: too many requests, and whatever is from here on."""

watch_option = click.option(
    *("-w", "--watch"),
    is_flag=True,
    help="Go on, and show what changes, until ^C.",
)


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """How a list of things is shown.

    Attributes:
        columns: those of the table.
        row: returns a thing's cells.
        name: returns what names it for scripts.
        key: returns what no other thing has.
        urgent: whether it comes first where there isn't room for all.
        leaves: whether it is news that a thing is no longer in the list.
    """

    columns: Sequence[Column]
    row: Callable[[T], Sequence[Cell]]
    name: Callable[[T], str]
    key: Callable[[T], str]
    urgent: Callable[[T], bool]
    leaves: bool = True

    def mark(self, thing: T) -> Hashable:
        """Return what is shown of a thing, but for its ages."""
        return tuple(cell for cell in self.row(thing) if not isinstance(cell, Moment))


class _Showing(Protocol):
    def show(self, things: list[Any]) -> None:
        """Show what there is now."""

    def lost(self, why: str) -> None:
        """Say that the controller doesn't answer."""

    def close(self) -> None:
        """End the showing."""


def watch(
    ask: Callable[[], list[T]], listing: Listing[T], form: Form, *, every: float = ASK_EVERY
) -> None:
    """Show a list, and what changes in it, for ever: ^C ends it.

    A controller that doesn't answer, or can't, is asked again for as long as a stream is.

    Args:
        ask: returns what there is now.
        every: see `ASK_EVERY`.

    Raises:
        UsageError: no such form can go on for ever.
        ApiError: the first request failed, or a later one was refused; or the controller has not
            answered for `LONGEST_AWAY` of the client's streams.
    """
    if form.output == "yaml":
        raise click.UsageError("--watch prints no YAML: -o json prints a line for each change.")
    things = ask()
    showing = _showing(listing, form)
    try:
        while True:
            showing.show(things)
            time.sleep(every)
            things = _asked(ask, showing, every)
    finally:
        showing.close()


def _asked(ask: Callable[[], list[T]], showing: _Showing, every: float) -> list[T]:
    # Whoever has asked once has imported it by now.
    from towline.client.streams import LONGEST_AWAY

    since: float | None = None
    while True:
        try:
            return ask()
        except ApiError as error:
            if error.status and error.status != TOO_MANY and error.status < SERVERS_FAULT:
                raise
            now = time.monotonic()
            since = now if since is None else since
            if now - since >= LONGEST_AWAY:
                raise
            showing.lost(error.error)
        time.sleep(every)


def _showing(listing: Listing[T], form: Form) -> _Showing:
    """Return what suits standard output: a table drawn on it where it can be, or else lines."""
    if not (form.for_people and drawable(sys.stdout)):
        return Lines(listing, form)
    # Slow to import, and most commands don't need it.
    from rich.console import Console

    return Drawn(listing, form, Console(highlight=False))


class Lines(Generic[T]):
    """Prints the list, and then a line for each change.

    Args:
        clock: the present moment, in seconds since 1970.
    """

    def __init__(
        self, listing: Listing[T], form: Form, clock: Callable[[], float] = time.time
    ) -> None:
        self._listing = listing
        self._form = form
        self._clock = clock
        self._known: dict[str, tuple[Hashable, T]] | None = None
        self._lost = False

    def show(self, things: list[T]) -> None:
        """Print what is new, or another than it was."""
        if self._lost:
            self._lost = False
            say("the controller answers again", error=True)
        now = {self._listing.key(each): (self._listing.mark(each), each) for each in things}
        known, self._known = self._known, now
        if known is None:
            self._begin(things)
            return
        for key, (mark, thing) in now.items():
            if key not in known or known[key][0] != mark:
                self._print("changed" if key in known else "added", thing)
        if self._listing.leaves:
            for key, (_, thing) in known.items():
                if key not in now:
                    self._print("gone", thing)

    def lost(self, why: str) -> None:
        """Say that the controller doesn't answer, once."""
        if not self._lost:
            say(f"lost the controller, and goes on asking: {why}", error=True)
        self._lost = True

    def close(self) -> None:
        """Do nothing."""

    def _begin(self, things: list[T]) -> None:
        if self._form.for_people:
            print_table(self._listing.columns, map(self._listing.row, things), self._form)
            return
        for thing in things:
            self._print("listed", thing)

    def _print(self, event: str, thing: T) -> None:
        now = timestamp(self._clock())
        if self._form.document:
            print_json(
                {"timestamp": now, "event": event, **_plain(thing)},
                indent=None,
            )
        elif self._form.output == "name":
            if event != "gone":
                print_names([self._listing.name(thing)])
        else:
            # The line has its own moment: how long ago another one was is for tables.
            wide = self._form.output == "wide"
            cells = [
                in_form(cell, self._form)
                for column, cell in zip(
                    self._listing.columns, self._listing.row(thing), strict=True
                )
                if wide or not (column.wide or isinstance(cell, Moment))
            ]
            say(GAP.join([now, *(["gone"] if event == "gone" else []), *filter(None, cells)]))


class Drawn(Generic[T]):
    """Draws the list on a terminal, in its place.

    Args:
        console: where to draw.
    """

    def __init__(self, listing: Listing[T], form: Form, console: Any) -> None:
        from rich.live import Live

        self._listing = listing
        self._form = form
        self._console = console
        # Drawn when there is news and not by a clock: on a slow connection each drawing counts.
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._things: list[T] = []
        self._drawn: list[str] | None = None

    def show(self, things: list[T]) -> None:
        """Draw what there is now, where it is another picture than before."""
        self._things = things
        self._draw(self.lines(things))

    def lost(self, why: str) -> None:
        """Draw below the list that the controller doesn't answer."""
        self._draw([*self.lines(self._things), "", f"lost the controller, goes on asking: {why}"])

    def close(self) -> None:
        """Leave what was drawn last."""
        if self._drawn is not None:
            self._live.stop()

    def lines(self, things: list[T]) -> list[str]:
        """Return the lines of as many rows as there is room for."""
        width, room = self._console.width, self._console.height - 3
        shown = things
        if len(things) > room:
            # Of what there is no room for it is the rest that can be done without.
            shown = sorted(things, key=lambda each: not self._listing.urgent(each))[:room]
        rows = map(self._listing.row, shown)
        lines = table_lines(self._listing.columns, rows, self._form, width=width)[: room + 1]
        if len(things) > len(shown) or len(lines) > room:
            lines = lines[:room]
            left = max(len(things) - (len(lines) - 1), 1)
            lines.append(f"{sign('…', '...')} {left} more, for which there is no room")
        return lines

    def _draw(self, lines: list[str]) -> None:
        from rich.text import Text

        if lines == self._drawn:
            return
        if self._drawn is None:
            self._live.start()
        self._drawn = lines
        self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)


def _plain(thing: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(thing)
    return found
