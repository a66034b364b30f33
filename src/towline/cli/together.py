"""Carrying out what a command asks for: several jobs at a time, shown together.

Each order is in a thread of its own, so that ^C needs not wait for a controller, or a name server,
that doesn't answer.
"""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from towline.cli import spoken
from towline.cli.orders import Errand, Order, Stage
from towline.cli.showing import Showing
from towline.errors import ApiError, Unreachable

if TYPE_CHECKING:
    from towline.cli.form import Form
    from towline.client import Client, Progress

TOGETHER = 8
"""Jobs of one command that are under way at a time; the others follow as these end. A node does a
few at a time anyway."""
LOOK_EVERY = 0.25
"""Seconds of silence after which the deadline is looked at."""
GRACE = 0.5
"""Seconds beyond the deadline in which orders end by themselves."""
SILENCE = 15.0
"""Seconds without news after which it is asked whether the controller is still there."""


def carry_out(
    client: Client,
    orders: Sequence[Order],
    deadline: float,
    form: Form,
    *,
    status_of: Callable[[str], str] = lambda error: "failed",
    ids: bool = True,
) -> None:
    """Carry out orders, a few at a time, and show how far they are; what becomes of each is in it.

    Args:
        client: knows the job options.
        deadline: until when to wait, by `time.monotonic`.
        form: in which form the results will be printed.
        status_of: returns how one node ended, by the error that answered the request.
        ids: whether the jobs' ids are said before their requests are sent.
    """
    showing = Showing(orders, ids=ids and form.for_people)
    try:
        _Together(client, orders, deadline, showing, form, status_of).run()
    finally:
        showing.close()
        context = click.get_current_context(silent=True)
        for order in orders:
            if order.error is not None and context is not None:
                spoken.translate(order.error, context.command)


class _Together:
    """Threads that carry out orders, and the one that shows what they bring."""

    def __init__(
        self,
        client: Client,
        orders: Sequence[Order],
        deadline: float,
        showing: Showing,
        form: Form,
        status_of: Callable[[str], str],
    ) -> None:
        self._deadline = deadline
        self._showing = showing
        self._waiting = collections.deque(orders)
        self._open = dict.fromkeys(orders)
        self._threads: list[threading.Thread] = []
        self._left_behind = False
        self._news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._watched = form.for_people
        self._errand = Errand(
            client,
            deadline,
            show=self._progress if self._watched else None,
            note=lambda order, words: self._news.put(partial(showing.note, order, words)),
            status_of=status_of,
        )

    def run(self) -> None:
        """Carry out all orders."""
        for _ in range(min(TOGETHER, len(self._open))):
            self._start()
        heard = time.monotonic()
        while self._open:
            self._showing.look()
            try:
                self._news.get(timeout=LOOK_EVERY)()
                heard = time.monotonic()
            except queue.Empty:
                now = time.monotonic()
                if now >= self._deadline + GRACE:
                    self._give_up()
                elif self._watched and now >= heard + SILENCE:
                    self._probe()
                    heard = time.monotonic()
        if not self._left_behind:
            # They have nothing left to do. One that is still ending while Python itself comes to
            # its end may run into what is gone by then.
            for thread in self._threads:
                thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        try:
            while self._waiting:
                order = self._waiting.popleft()
                self._news.put(partial(self._showing.begin, order))
                self._errand.carry_out(order)
                self._news.put(partial(self._end, order))
        except IndexError:
            return  # Another thread took the last one.
        except Exception as error:  # noqa: BLE001 - it is raised by the thread that waits
            self._news.put(partial(_raise, error))

    def _progress(self, order: Order, progress: Progress) -> None:
        self._news.put(partial(self._show, order, progress))

    def _show(self, order: Order, progress: Progress) -> None:
        if order in self._open:
            self._showing.progress(order, progress)

    def _end(self, order: Order) -> None:
        if order not in self._open:
            return
        del self._open[order]
        if isinstance(order.error, Unreachable):
            # Nor would it answer the others. Threads may take some of them meanwhile.
            with contextlib.suppress(IndexError):
                while True:
                    del self._open[self._waiting.popleft()]
        if self._watched:
            self._showing.ended(order)

    def _made(self) -> list[Order]:
        return [order for order in self._open if order.stage is Stage.MADE]

    def _leave(self, order: Order) -> None:
        """End an order whose thread may stay where it is."""
        self._left_behind = True
        self._end(order)

    def _give_up(self) -> None:
        """End orders that are followed in silence, once the wait is over."""
        for order in self._made():
            if not self._answered(order):
                return
            self._leave(order)
            if self._waiting:
                # Its thread may stay where it is.
                self._start()

    def _probe(self) -> None:
        """End all orders if the controller isn't there any more."""
        for order in self._made()[:1]:
            if self._answered(order) and order.error is not None:
                self._leave(order)

    def _answered(self, order: Order) -> bool:
        """Ask how far an order is; where nobody is there to answer, end all of them."""
        try:
            self._errand.ask_again(order)
        except Unreachable as error:
            for each in self._made():
                each.error = error
                self._leave(each)
            return False
        except ApiError as error:
            order.error = error
        return True


def _raise(error: Exception) -> None:
    raise error
