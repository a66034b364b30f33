"""Streams of events that go on after every interruption, and what is read from them."""

from __future__ import annotations

from typing import Any

import httpx
import httpx_sse
import msgspec

from towline.client.connection import MARGIN, check
from towline.client.models import ApiError, JobEvent, Progress
from towline.wire.progress import JobProgress, NodeProgress, Total

SILENCE = 60.0
"""Seconds without a sign of life after which a stream of events is asked for again."""
AGAIN_AFTER = 1.0
LAST = "end"


class EventStream:
    """A stream of events that goes on after every interruption."""

    def __init__(self, path: str, params: dict[str, Any], after: str | None) -> None:
        self._path = path
        self._params = {name: value for name, value in params.items() if value is not None}
        self._after = after
        self.begun = False
        self.ended = False

    def request(self) -> dict[str, Any]:
        """Return what the next request takes."""
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
        """Whether there is more to come; for a refusal, read before, raises `ApiError`."""
        if not response.is_success:
            check(response, ())
        self.begun = True
        self.ended = response.status_code == 204
        return not self.ended

    def read(self, event: httpx_sse.ServerSentEvent) -> JobEvent | None:
        """Return an event, and remember its place."""
        if not event.data:
            return None
        self._after = event.id or self._after
        self.ended = event.event == LAST
        return JobEvent(event.id, event.event, event.json())


class Folding:
    """Folds what a stream tells of a job's progress.

    Raises:
        ApiError: what it tells can't be read.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, NodeProgress] = {}
        self._total = Total({}, 0.0)

    def take(self, event: JobEvent) -> Progress | None:
        """Return how far the job is by now, or None where an event tells nothing of that."""
        if event.kind != "progress":
            return None
        try:
            told = msgspec.convert(event.data, JobProgress)
        except msgspec.ValidationError as error:
            raise ApiError("The job's progress can't be read.", str(error), 200) from error
        self._total = told.total or self._total
        self._nodes |= {node.machine_id: node for node in told.nodes}
        changed = [node.machine_id for node in told.nodes]
        return Progress(told.job_id, told.status, self._total, dict(self._nodes), changed)
