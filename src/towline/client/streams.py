"""Streams of events that go on after every interruption, and the progress read from them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httpx
import httpx_sse
import msgspec

from towline.client.calls import Call
from towline.client.connection import MARGIN, body, foreign
from towline.client.models import Progress
from towline.endpoint import EVENT_STREAM, LAST, Event, Stream
from towline.endpoints.events import ProgressEvent
from towline.errors import ApiError
from towline.wire.progress import NodeProgress, Total

R = TypeVar("R")

SILENCE = 60.0
"""Seconds without a byte after which a stream is requested again. Controllers send one in 15."""
RETRY_AFTER = 1.0
"""Seconds between the end of a connection and the next request."""
LONGEST_RETRY = 30.0
"""The same after one that was broken off at once: each time twice as long, up to that."""
LONGEST_AWAY = 300.0
"""Seconds without an answer after which a stream is given up that had begun. A machine starts anew
in less; a controller that is away for longer may never be back, and whoever waits is to know."""
MOST_FAULTS = 30
"""Answers in a row that say that a controller can't serve a stream just now: it starts, or what
stands before it finds none."""
MOST_EMPTY = 30
"""Streams in a row that were accepted and broken off at once, with nothing in them: what stands
before the controller lets none through."""
AT_ONCE = 10.0
"""Seconds: a stream that has lasted for so long was not broken off at once. Controllers send a sign
of life in 15, so a proxy that waits for the first byte has had no reason to."""
PASSING = (408, 429)
"""Statuses of clients' errors that say the same: it was slow on the way, or the caller has as many
streams as it may, since a controller doesn't know yet that one of them was cut off."""
PLAIN = "message"
"""What an event without a kind is called where it is received."""


class EventStream(Generic[R]):
    """A stream of events that goes on after every interruption, whoever sends the requests.

    Attributes:
        begun: whether a controller has accepted a request for it.
        ended: whether nothing more is to come.

    Args:
        call: the request for it, with the event behind which it begins.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        endpoint: Stream[..., R],
        call: Call[Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._call = call
        self._clock = clock
        self._accepted: float | None = None
        """When the stream was accepted of which nothing has been read yet; None for no such."""
        self._empty = 0
        self._away: float | None = None
        """Since when requests have had no answer; None where the last one had."""
        self._after: str | None = None
        self._faults = 0
        self.begun = False
        self.ended = False

    def request(self) -> dict[str, Any]:
        """Return the arguments of the next request."""
        headers = dict(self._call.headers)
        if self._after is not None:
            headers["Last-Event-ID"] = self._after
        timeout = httpx.Timeout(MARGIN, read=SILENCE)
        return self._call.arguments() | {"headers": headers, "timeout": timeout}

    def check(self, response: httpx.Response) -> bool:
        """Return whether events follow.

        Args:
            response: read to its end where it is a refusal.

        Raises:
            ApiError: it is a refusal that will be the same for the next request, or no stream.
        """
        self._away = None
        passing = response.is_server_error or response.status_code in PASSING
        if self.begun and passing and self._faults < MOST_FAULTS:
            self._faults += 1
            return False
        if not response.is_success:
            body(response)
        self._faults = 0
        self.ended = response.status_code == 204
        kind = response.headers.get("content-type", "")
        if not self.ended and kind.partition(";")[0].strip() != EVENT_STREAM:
            raise foreign(response, f"What it sends is {kind[:80]!r}, and no {EVENT_STREAM}")
        self.begun = True
        self._accepted = self._clock()
        return not self.ended

    def outlives(self, error: httpx.RequestError) -> bool:
        """Return whether to ask again after a request without an answer, or one that broke off."""
        if not (self.begun and isinstance(error, httpx.TransportError)):
            return False
        now = self._clock()
        self._away = now if self._away is None else self._away
        return now - self._away < LONGEST_AWAY

    def pause(self) -> float:
        """Return how many seconds to wait after a connection that has not brought the end.

        Raises:
            ApiError: one after another was accepted and broken off at once.
        """
        accepted, self._accepted = self._accepted, None
        if accepted is None:
            return RETRY_AFTER
        if self._clock() - accepted >= AT_ONCE:
            self._empty = 0
            return RETRY_AFTER
        self._empty += 1
        if self._empty >= MOST_EMPTY:
            raise ApiError(
                f"The stream was accepted {self._empty} times, and broken off at once each time.",
                "What stands before the controller may let no streams of events through",
            )
        return min(LONGEST_RETRY, RETRY_AFTER * 2.0 ** (self._empty - 1))

    def read(self, event: httpx_sse.ServerSentEvent) -> Event[R] | None:
        """Return an event and remember its place; None for one without data.

        Raises:
            ApiError: it can't be read.
        """
        self._accepted, self._empty = None, 0
        self._after = event.id or self._after
        self.ended = event.event == LAST
        if not event.data:
            return None
        try:
            data = msgspec.json.decode(event.data, type=self._endpoint.result)
        except msgspec.DecodeError as error:
            raise ApiError.because("An event can't be read", error) from error
        return Event(data, event.id, "" if event.event == PLAIN else event.event)


class ProgressFold:
    """Folds the events of a job's progress, each of which has only what has changed."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeProgress] = {}
        self._total = Total({}, 0.0)

    def add(self, event: Event[ProgressEvent]) -> Progress | None:
        """Return how far the job is by now; None where the event says nothing of that."""
        news = event.data
        if not isinstance(news.nodes, list):
            return None
        self._total = news.total or self._total
        self._nodes |= {node.machine_id: node for node in news.nodes}
        changed = [node.machine_id for node in news.nodes]
        return Progress(news.job_id, news.status, self._total, dict(self._nodes), changed)
