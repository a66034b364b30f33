"""The handle of a job: its results so far, and how to go on with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, ParamSpec, Self, TypeVar

import msgspec

from towline.client import calls
from towline.client.models import JobSnapshot, Progress, Until
from towline.endpoint import Event
from towline.endpoints.results import Result
from towline.endpoints.views import JobEvent
from towline.operation import Operation

if TYPE_CHECKING:
    from towline.client.aio.client import AsyncClient

P = ParamSpec("P")
T = TypeVar("T", bound=msgspec.Struct)

POLL = 30
"""Seconds that one request for a job asks the controller to wait."""


class AsyncJob(Generic[P, T]):
    """A job that was made, with its results so far; it can be waited for, watched and cancelled.

    Attributes:
        snapshot: the job as the controller last answered.
    """

    def __init__(
        self, client: AsyncClient, operation: Operation[P, T], snapshot: JobSnapshot[T]
    ) -> None:
        self._client = client
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

    async def wait(self, timeout: float | None = None) -> Self:
        """Wait until every node has ended, `timeout` seconds at most; raises `ApiError`."""
        until = Until(timeout)
        while not self.done and until.left > 0:
            found = await self._client.job(self.id, wait=min(POLL, until.left))
            self.snapshot = calls.snapshot(self._operation, self.id, found.rows or [])
            if not self.done:
                # The controller answers at once where every node that has not ended is away.
                await asyncio.sleep(min(1.0, until.left))
        return self

    async def cancel(self) -> Self:
        """Stop the job on every node where it has not ended; raises `ApiError`."""
        cancelled = await self._client.cancel(self.id)
        self.snapshot = calls.snapshot(self._operation, self.id, cancelled.rows)
        return self

    def events(self) -> AsyncIterator[Event[JobEvent]]:
        """Yield the job's events, past and coming, until its end; raises `ApiError`."""
        return self._client.job_events(self.id)

    def progress(self) -> AsyncIterator[Progress]:
        """Yield how far the job is, until its end; raises `ApiError`."""
        return self._client.progress(self.id)
