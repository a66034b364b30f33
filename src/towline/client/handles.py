"""Handles of jobs: the results of a job so far, and how to go on with it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

import msgspec

from towline.client import calls
from towline.client.models import JobEvent, JobSnapshot, Progress, Result
from towline.operation import Operation

if TYPE_CHECKING:
    from towline.client.async_client import AsyncClient
    from towline.client.client import Client

P = ParamSpec("P")
T = TypeVar("T", bound=msgspec.Struct)

POLL = 30
"""Seconds that one request for a job asks the controller to wait."""


class _Handle(Generic[P, T]):
    """What the handles of both clients have in common.

    Attributes:
        snapshot: the job as the controller last answered.
    """

    def __init__(self, operation: Operation[P, T], snapshot: JobSnapshot[T]) -> None:
        self._operation = operation
        self.snapshot = snapshot

    @property
    def id(self) -> str:
        """The job's id."""
        return self.snapshot.id

    @property
    def results(self) -> list[Result[T]]:
        """The result of each node, as far as it is known."""
        return self.snapshot.results

    @property
    def done(self) -> bool:
        """Whether every node has ended."""
        return self.snapshot.done

    @property
    def succeeded(self) -> bool:
        """Whether every node ended well."""
        return self.snapshot.succeeded

    def _update(self, results: list[dict[str, Any]]) -> None:
        self.snapshot = calls.snapshot(self._operation, self.id, results, 200)


class Job(_Handle[P, T]):
    """A job that was made, with its results so far; it can be waited for, watched and cancelled."""

    def __init__(
        self, client: Client, operation: Operation[P, T], snapshot: JobSnapshot[T]
    ) -> None:
        super().__init__(operation, snapshot)
        self._client = client

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until every node has ended, `timeout` seconds at most; raises `ApiError`."""
        deadline = _deadline(timeout)
        while not self.done and (remaining := deadline - time.monotonic()) > 0:
            self._update(self._client.job(self.id, wait=min(POLL, remaining))["results"])
            if not self.done:
                time.sleep(_pause(deadline))
        return self

    def cancel(self) -> Self:
        """Stop the job on every node where it has not ended; raises `ApiError`."""
        self._update(self._client.cancel(self.id)["results"])
        return self

    def events(self) -> Iterator[JobEvent]:
        """Yield the job's events, past and coming, until its end; raises `ApiError`."""
        return self._client.job_events(self.id)

    def progress(self) -> Iterator[Progress]:
        """Yield how far the job is, until its end; raises `ApiError`."""
        return self._client.progress(self.id)


class AsyncJob(_Handle[P, T]):
    """A job that was made, for asyncio; as `Job` otherwise."""

    def __init__(
        self, client: AsyncClient, operation: Operation[P, T], snapshot: JobSnapshot[T]
    ) -> None:
        super().__init__(operation, snapshot)
        self._client = client

    async def wait(self, timeout: float | None = None) -> Self:
        """Wait until every node has ended, `timeout` seconds at most; raises `ApiError`."""
        deadline = _deadline(timeout)
        while not self.done and (remaining := deadline - time.monotonic()) > 0:
            self._update((await self._client.job(self.id, wait=min(POLL, remaining)))["results"])
            if not self.done:
                await asyncio.sleep(_pause(deadline))
        return self

    async def cancel(self) -> Self:
        """Stop the job on every node where it has not ended; raises `ApiError`."""
        self._update((await self._client.cancel(self.id))["results"])
        return self

    def events(self) -> AsyncIterator[JobEvent]:
        """Yield the job's events, past and coming, until its end; raises `ApiError`."""
        return self._client.job_events(self.id)

    def progress(self) -> AsyncIterator[Progress]:
        """Yield how far the job is, until its end; raises `ApiError`."""
        return self._client.progress(self.id)


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _pause(deadline: float) -> float:
    # The controller answers at once where every node that has not ended is away.
    return min(1.0, max(0.0, deadline - time.monotonic()))
