"""Handles of jobs: what is known of a job, and how to go on with it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

import msgspec

from towline.client import calls
from towline.client.models import JobEvent, JobState, Progress, Result
from towline.operation import Operation

if TYPE_CHECKING:
    from towline.client.async_client import AsyncClient
    from towline.client.client import Client

P = ParamSpec("P")
T = TypeVar("T", bound=msgspec.Struct)

POLL = 30
"""Seconds that one question for a job asks the controller to wait."""


class _Handle(Generic[P, T]):
    """What a job's handle knows, however it asks."""

    def __init__(self, operation: Operation[P, T], state: JobState[T]) -> None:
        self._operation = operation
        self.state = state

    @property
    def id(self) -> str:
        """The job's id."""
        return self.state.id

    @property
    def results(self) -> list[Result[T]]:
        """What is known of each node."""
        return self.state.results

    @property
    def done(self) -> bool:
        """Whether every node has ended."""
        return self.state.done

    @property
    def succeeded(self) -> bool:
        """Whether every node ended well."""
        return self.state.succeeded

    def _learn(self, results: list[dict[str, Any]]) -> None:
        self.state = calls.state(self._operation, self.id, results, 200)


class Job(_Handle[P, T]):
    """A job's handle; good for waiting further when a wait ran out."""

    def __init__(self, client: Client, operation: Operation[P, T], state: JobState[T]) -> None:
        super().__init__(operation, state)
        self._client = client

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until every node has ended, or `timeout` seconds are over; raises `ApiError`."""
        deadline = _deadline(timeout)
        while not self.done and (remaining := deadline - time.monotonic()) > 0:
            self._learn(self._client.job(self.id, wait=min(POLL, remaining))["results"])
            if not self.done:
                time.sleep(_pause(deadline))
        return self

    def cancel(self) -> Self:
        """Stop it wherever it has not ended; raises `ApiError`."""
        self._learn(self._client.cancel(self.id)["results"])
        return self

    def events(self) -> Iterator[JobEvent]:
        """Yield what has happened, then what happens, until its end; raises `ApiError`."""
        return self._client.job_events(self.id)

    def progress(self) -> Iterator[Progress]:
        """Yield how far it is, until its end; raises `ApiError`."""
        return self._client.progress(self.id)


class AsyncJob(_Handle[P, T]):
    """A job's handle for asyncio."""

    def __init__(self, client: AsyncClient, operation: Operation[P, T], state: JobState[T]) -> None:
        super().__init__(operation, state)
        self._client = client

    async def wait(self, timeout: float | None = None) -> Self:
        """Wait until every node has ended, or `timeout` seconds are over; raises `ApiError`."""
        deadline = _deadline(timeout)
        while not self.done and (remaining := deadline - time.monotonic()) > 0:
            self._learn((await self._client.job(self.id, wait=min(POLL, remaining)))["results"])
            if not self.done:
                await asyncio.sleep(_pause(deadline))
        return self

    async def cancel(self) -> Self:
        """Stop it wherever it has not ended; raises `ApiError`."""
        self._learn((await self._client.cancel(self.id))["results"])
        return self

    def events(self) -> AsyncIterator[JobEvent]:
        """Yield what has happened, then what happens, until its end; raises `ApiError`."""
        return self._client.job_events(self.id)

    def progress(self) -> AsyncIterator[Progress]:
        """Yield how far it is, until its end; raises `ApiError`."""
        return self._client.progress(self.id)


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _pause(deadline: float) -> float:
    # The controller answers at once where only nodes that are away are missing.
    return min(1.0, max(0.0, deadline - time.monotonic()))
