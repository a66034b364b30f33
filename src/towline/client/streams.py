"""Streams of events that go on after every interruption, and the progress read from them."""

from __future__ import annotations

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
MOST_FAULTS = 30
"""Answers in a row that say that a controller can't serve a stream just now: it starts, or what
stands before it finds none."""
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
    """

    def __init__(self, endpoint: Stream[..., R], call: Call[Any]) -> None:
        self._endpoint = endpoint
        self._call = call
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
        return not self.ended

    def read(self, event: httpx_sse.ServerSentEvent) -> Event[R] | None:
        """Return an event and remember its place; None for one without data.

        Raises:
            ApiError: it can't be read.
        """
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
