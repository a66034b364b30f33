"""Streams of events that go on after every interruption, and the progress read from them."""

from __future__ import annotations

from typing import Any

import httpx
import httpx_sse
import msgspec

from towline.client.connection import MARGIN, check
from towline.client.models import ApiError, JobEvent, Progress
from towline.wire.progress import JobProgress, NodeProgress, Total

SILENCE = 60.0
"""Seconds without a byte after which a stream is requested again. Controllers send one in 15."""
RETRY_AFTER = 1.0
"""Seconds between the end of a connection and the next request."""
LAST = "end"


class EventStream:
    """A stream of events that goes on after every interruption, whoever sends the requests.

    Attributes:
        begun: whether a controller has accepted a request for it.
        ended: whether nothing more is to come.

    Args:
        path: the route.
        params: the query; what is None is left out.
        after: the id of the event behind which it begins; None for its beginning.
    """

    def __init__(self, path: str, params: dict[str, Any], after: str | None) -> None:
        self._path = path
        self._params = {name: value for name, value in params.items() if value is not None}
        self._after = after
        self.begun = False
        self.ended = False

    def request(self) -> dict[str, Any]:
        """Return the arguments of the next request."""
        headers = {} if self._after is None else {"Last-Event-ID": self._after}
        timeout = httpx.Timeout(MARGIN, read=SILENCE)
        return {
            "method": "GET",
            "url": self._path,
            "params": self._params,
            "headers": headers,
            "timeout": timeout,
        }

    def check(self, response: httpx.Response) -> bool:
        """Return whether events follow.

        Args:
            response: read to its end where it is a refusal.

        Raises:
            ApiError: it is a refusal.
        """
        if not response.is_success:
            check(response, ())
        self.begun = True
        self.ended = response.status_code == 204
        return not self.ended

    def read(self, event: httpx_sse.ServerSentEvent) -> JobEvent | None:
        """Return an event and remember its place; None for one without data."""
        if not event.data:
            return None
        self._after = event.id or self._after
        self.ended = event.event == LAST
        return JobEvent(event.id, event.event, event.json())


class ProgressFold:
    """Folds the events of a job's progress, each of which has only what has changed."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeProgress] = {}
        self._total = Total({}, 0.0)

    def add(self, event: JobEvent) -> Progress | None:
        """Return how far the job is by now; None where the event says nothing of that.

        Raises:
            ApiError: the event can't be read.
        """
        if event.kind != "progress":
            return None
        try:
            news = msgspec.convert(event.data, JobProgress)
        except msgspec.ValidationError as error:
            raise ApiError("The job's progress can't be read.", str(error), 200) from error
        self._total = news.total or self._total
        self._nodes |= {node.machine_id: node for node in news.nodes}
        changed = [node.machine_id for node in news.nodes]
        return Progress(news.job_id, news.status, self._total, dict(self._nodes), changed)
