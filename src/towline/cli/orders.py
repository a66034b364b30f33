"""Jobs that a command asks for: each by an id that is chosen before anything is sent.

Whatever becomes of the command, or of its connection, the job can be named.
"""

from __future__ import annotations

import enum
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from towline.cli import watch
from towline.cli.outcome import statuses_of
from towline.errors import ApiError, TowlineError, Unreachable
from towline.wire.event import UNFINISHED
from towline.wire.job import NO_OWN_ID, new_id, own_id
from towline.wire.target import ANY

if TYPE_CHECKING:
    from towline.client import Client, Progress

FORBIDDEN = 403
TOO_MANY = 429
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
"""Seconds between such requests, and between looks at a job that are answered at once. It is also
what the `Retry-After` of a controller says."""

Rows: TypeAlias = list[dict[str, Any]]
T = TypeVar("T")


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
        chosen: whether the command has chosen the key by itself.
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
        self.chosen = key is None
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
    def failure(self) -> TowlineError | None:
        """What has ended it in place of results, unless it is how a single node has ended."""
        return self.error if self.told is None else None

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
        doubt = order.stage is Stage.MADE

        def ask() -> Rows | None:
            nonlocal doubt
            try:
                order.job_id, rows = order.ask(order.key, wait)
            except Unreachable as error:
                doubt = doubt or error.unknown
                raise
            order.stage = Stage.MADE
            return rows

        try:
            rows = self._patiently(order, ask, doubt=doubt)
        except ApiError as error:
            if error.job_id is not None and not isinstance(error, Unreachable):
                order.job_id, order.stage = error.job_id, Stage.MADE
                self._single(order, error)
                return
            if order.stage is Stage.SENT and not doubt:
                if order.chosen and NO_OWN_ID in error.error:
                    # The clocks are far apart. The answer says the id.
                    order.key, order.job_id, order.chosen = str(uuid.uuid4()), None, False
                    self._send(order, wait)
                    return
                order.stage = Stage.REFUSED
            raise
        if rows is not None:
            order.rows = rows
            return
        try:
            self._patiently(order, partial(self._look, order, 0.0))
        except ApiError as error:
            if error.status != FORBIDDEN:
                raise
            self._note(order, "no results can be shown: the token lacks job:read")
            order.told = "pending"

    def _single(self, order: Order, error: ApiError) -> None:
        """Take the end of a single node, which answers as an error, as every other end.

        So is an answer taken whose results can't be read: those of the job may be.
        """
        try:
            self._patiently(order, partial(self._look, order, 0.0))
        except ApiError as refused:
            if 200 <= error.status < 300:
                raise error from refused
            if isinstance(refused, Unreachable):
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
            if error.status == FORBIDDEN:
                self._without_looking(order)
            elif not _passing(error):
                raise
            # Else the question how far it is, which follows, is asked with patience.

    def _further(self, order: Order, wait: float) -> None:
        """Learn how far the job is, within so many seconds."""
        if not self._blind:
            try:
                self._patiently(order, partial(self._look, order, wait))
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

    def _patiently(self, order: Order, ask: Callable[[], T], *, doubt: bool = True) -> T:
        return patiently(ask, partial(self._note, order), doubt=doubt, patience=self._patience)


def patiently(
    ask: Callable[[], T],
    note: Callable[[str], None],
    *,
    doubt: bool,
    patience: float = PATIENCE,
) -> T:
    """Ask, and again for a while where there is no answer, or too much is asked just now.

    Args:
        note: takes a line that people are to know.
        doubt: whether the question is about something that was done, or may have been. Without,
            the first request that was never sent, or was refused, is the last: nothing was done.
        patience: in seconds.

    Raises:
        ApiError: the last answer, or that there was none.
    """
    since: float | None = None
    while True:
        try:
            return ask()
        except ApiError as error:
            doubt = doubt or (isinstance(error, Unreachable) and error.unknown)
            now = time.monotonic()
            if not doubt or not _passing(error) or (since is not None and now - since >= patience):
                raise
            if since is None:
                since = now
                note(f"asking again: {error.error}")
        time.sleep(PAUSE)


def _passing(error: ApiError) -> bool:
    return isinstance(error, Unreachable) or error.status == TOO_MANY


def _untaken(order: Order) -> bool:
    return [row["hostname"] for row in order.rows] == [str(ANY)]
