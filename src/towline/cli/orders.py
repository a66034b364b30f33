"""Jobs that a command asks for: each by an id that is chosen before anything is sent.

Whatever becomes of the command, or of its connection, the job can be named.
"""

from __future__ import annotations

import enum
import math
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from towline.cli import watch
from towline.cli.outcome import statuses_of
from towline.errors import ApiError, TowlineError, Unreachable
from towline.wire.event import UNFINISHED
from towline.wire.job import new_id, own_id
from towline.wire.target import ANY

if TYPE_CHECKING:
    from towline.client import Client, Progress

FORBIDDEN = 403
FIRST_WAIT = 1.0
"""Seconds that the first request waits; from then on a person is shown the progress."""
LONGEST_WAIT = 30.0
"""Seconds that each further request waits where no progress is shown."""
TAKEN_WITHIN = 5.0
"""Seconds to wait until some node has taken a job for any node: all may be busy."""
AFTERWARDS = 0.1
"""Seconds to wait for results once the progress says that every node that is there has ended."""
PATIENCE = 20.0
"""Seconds for which a request is sent again whose answer was lost: a controller is started again in
less, and there may be others."""
PAUSE = 1.0
"""Seconds between such requests, and between looks at a job that are answered at once."""

Rows: TypeAlias = list[dict[str, Any]]


class Stage(enum.Enum):
    """What is known of an order."""

    WAITING = "not sent yet"
    SENT = "sent, and not answered"
    MADE = "its job was made"
    REFUSED = "no job was made"


class Order:
    """A job that a command asks for.

    Attributes:
        name: what tells it from the others of the command, an image for one; "" for the only one.
        key: the `Idempotency-Key` of its request.
        job_id: the job's id, None while it isn't known.
        stage: what is known of it.
        rows: the results of its nodes as far as they are known.
        seconds: how long it took until nobody waited for it any more; None while somebody does.
        operation: the name of what the job does, where the controller has said it.
        told: the status of its nodes where their results can't be read: by the error that answered
            for a single one.
        error: what has ended it in place of results.

    Args:
        ask: sends the request, with the key and the seconds to wait; returns the job's id, and its
            results where the answer has them.
        key: the user's own key; None for the id of a job.
    """

    def __init__(
        self,
        ask: Callable[[str, float], tuple[str, Rows | None]],
        *,
        name: str = "",
        key: str | None = None,
    ) -> None:
        self.ask = ask
        self.name = name
        self.key = new_id() if key is None else key
        self.job_id = own_id(self.key)
        self.stage = Stage.WAITING
        self.rows: Rows = []
        self.seconds: float | None = None
        self.operation: str | None = None
        self.told: str | None = None
        self.error: TowlineError | None = None

    @classmethod
    def made(cls, job_id: str) -> Self:
        """Return the order of a job that was made before."""
        order = cls(_never, key=job_id)
        order.job_id, order.stage = job_id, Stage.MADE
        return order

    @property
    def statuses(self) -> list[str]:
        """The status of each node, as far as it is known."""
        return statuses_of(self.rows) if self.told is None else [self.told]

    @property
    def goes_on(self) -> bool:
        """Whether its job goes on, or may do so."""
        if self.stage is Stage.SENT:
            return True
        known = self.stage is Stage.MADE
        return known and (not self.statuses or any(s in UNFINISHED for s in self.statuses))


def _never(key: str, wait: float) -> tuple[str, Rows | None]:
    raise AssertionError("nothing is asked for that was made before")


class Errand:
    """Carries out orders: sends their requests, and waits for the nodes that are there.

    Args:
        client: knows the job options.
        deadline: until when to wait, by `time.monotonic`.
        show: takes the progress of an order; None where nobody looks at it.
        note: takes a line that people are to know.
        status_of: returns how one node ended, by the error that answered the request.
    """

    def __init__(
        self,
        client: Client,
        deadline: float,
        *,
        show: Callable[[Order, Progress], None] | None,
        note: Callable[[Order, str], None],
        status_of: Callable[[str], str],
        patience: float = PATIENCE,
    ) -> None:
        self._client = client
        self._deadline = deadline
        self._show = show
        self._note = note
        self._status_of = status_of
        self._patience = patience
        self._blind = False

    @property
    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def carry_out(self, order: Order) -> None:
        """Carry out an order; what has ended it stands in it then."""
        begun = time.monotonic()
        try:
            self._send(order, min(FIRST_WAIT, self._left))
            if order.told is None:
                self._follow(order)
        except TowlineError as error:
            order.error = error
        order.seconds = time.monotonic() - begun

    def ask_again(self, order: Order) -> None:
        """Learn how far the job of an order is that is being carried out: by now, or at all.

        Raises:
            ApiError: the controller doesn't answer, or not what is asked.
        """
        if order.stage is Stage.MADE and not self._blind:
            self._further(order, 0.0)

    def _send(self, order: Order, wait: float) -> None:
        """Send the request, again where its answer is lost: the job is the same."""
        order.stage = Stage.SENT if order.stage is Stage.WAITING else order.stage
        known = order.stage is Stage.MADE

        def ask() -> None:
            nonlocal known
            try:
                order.job_id, rows = order.ask(order.key, wait)
            except Unreachable as error:
                # The first that was never sent is no reason to doubt.
                known = known or error.unknown
                if not known:
                    order.stage = Stage.REFUSED
                    raise _Hopeless(error) from error
                raise
            except ApiError as error:
                if error.job_id is not None:
                    order.job_id, order.stage = error.job_id, Stage.MADE
                    self._single(order, error)
                    return
                if _of_another_time(order, error):
                    # The clocks are far apart. The answer says the id.
                    order.key, order.job_id = str(uuid.uuid4()), None
                    ask()
                    return
                if order.stage is Stage.SENT:
                    order.stage = Stage.REFUSED
                raise
            order.stage = Stage.MADE
            if rows is not None:
                order.rows = rows
                return
            try:
                self._look(order, 0.0)
            except ApiError as error:
                if error.status != FORBIDDEN:
                    raise
                self._note(order, "no results can be shown: the token lacks job:read")
                order.told = "pending"

        self._patiently(order, ask)

    def _single(self, order: Order, error: ApiError) -> None:
        """Take the end of a single node, which answers as an error, as every other end."""
        try:
            self._look(order, 0.0)
        except ApiError as refused:
            if refused.status != FORBIDDEN:
                raise
            # A token that may pull need not be one that may read jobs.
            order.told, order.error = self._status_of(error.error), error

    def _follow(self, order: Order) -> None:
        """Wait for the nodes that are there, until the deadline."""
        untaken = min(self._deadline, time.monotonic() + TAKEN_WITHIN)
        while _untaken(order) and time.monotonic() < untaken:
            self._further(order, FIRST_WAIT)
        while self._awaited(order):
            began = time.monotonic()
            if self._show is None or self._blind:
                self._further(order, min(LONGEST_WAIT, self._left))
            else:
                self._watch(order, self._show)
                self._further(order, AFTERWARDS)
            if self._awaited(order):
                # The controller answers at once where every node that has not ended is away.
                time.sleep(max(0.0, min(PAUSE - (time.monotonic() - began), self._left)))

    def _awaited(self, order: Order) -> bool:
        return order.told is None and self._left > 0 and any(map(watch.awaited_row, order.rows))

    def _watch(self, order: Order, show: Callable[[Order, Progress], None]) -> None:
        """Show the progress until the nodes that are there have ended, or the deadline is past."""
        try:
            watch.watch(
                self._client,
                str(order.job_id),
                self._deadline,
                lambda progress: show(order, progress),
            )
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            self._without_looking(order)

    def _further(self, order: Order, wait: float) -> None:
        """Learn how far the job is, within so many seconds."""
        if not self._blind:
            try:
                self._patiently(order, lambda: self._look(order, wait))
            except ApiError as error:
                if error.status != FORBIDDEN:
                    raise
                self._without_looking(order)
        if self._blind:
            # The same request answers with the results of the same job.
            self._send(order, wait)

    def _without_looking(self, order: Order) -> None:
        if not self._blind:
            self._blind = True
            self._note(order, "no progress can be shown: the token lacks job:read")

    def _look(self, order: Order, wait: float) -> None:
        found = self._client.job(str(order.job_id), wait=wait)
        order.rows, order.operation = found.rows or [], found.operation.type

    def _patiently(self, order: Order, ask: Callable[[], None]) -> None:
        """Ask, and again for a while where there is no answer."""
        lost = math.inf
        while True:
            try:
                ask()
            except _Hopeless as error:
                raise error.cause from None
            except Unreachable as error:
                if lost == math.inf:
                    lost = time.monotonic()
                    self._note(order, f"no answer, asking again: {error.error}")
                if time.monotonic() - lost >= self._patience:
                    raise
                time.sleep(PAUSE)
            else:
                return


class _Hopeless(Exception):
    """Nothing was sent, and nobody is there: nothing to be patient for."""

    def __init__(self, cause: Unreachable) -> None:
        super().__init__(cause)
        self.cause = cause


def _untaken(order: Order) -> bool:
    return [row["hostname"] for row in order.rows] == [str(ANY)]


def _of_another_time(order: Order, error: ApiError) -> bool:
    return order.key == order.job_id and "can't become a job's id" in error.error
