"""The client for asyncio."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

import httpx
import httpx_sse
import msgspec

from towline.client import calls
from towline.client.calls import Call
from towline.client.connection import check, connection, unreachable
from towline.client.handles import AsyncJob
from towline.client.models import (
    Cancelled,
    JobEvent,
    JobPage,
    JobView,
    NodeView,
    Progress,
    RegistryView,
    Retried,
    Steered,
)
from towline.client.options import WAIT, EventFilters, JobFilters, Options, changed
from towline.client.streams import RETRY_AFTER, EventStream, ProgressFold
from towline.operation import Operation
from towline.wire.credential import Credential

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=msgspec.Struct)


class AsyncClient:
    """The API of a controller, for asyncio; as `Client` otherwise."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._options = Options()
        self._http = httpx.AsyncClient(**connection(url, token))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def with_options(
        self,
        *,
        wait: float | None = None,
        expires: str | None = None,
        idempotency_key: str | None = None,
        max_parallel: int | str | None = None,
        canary: int | str | None = None,
        max_failures: int | str | None = None,
        credential: Credential | None = None,
    ) -> Self:
        """Return a client with other job options, on the same connections; see `Options`.

        An option that is not given, or None, stays as it is.
        """
        other = copy.copy(self)
        other._options = changed(
            self._options,
            wait=wait,
            expires=expires,
            idempotency_key=idempotency_key,
            max_parallel=max_parallel,
            canary=canary,
            max_failures=max_failures,
            credential=credential,
        )
        return other

    async def _do(self, call: Call[R]) -> R:
        try:
            response = await self._http.request(**call.arguments())
        except httpx.HTTPError as error:
            raise unreachable(self._url, error) from error
        return call.read(check(response, call.expected))

    async def run(
        self, operation: Operation[P, T], on: str, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncJob[P, T]:
        """Run an operation and return its job, as `Client.run`."""
        call = calls.run(operation, on, dict(kwargs), self._options)
        return AsyncJob(self, operation, await self._do(call))

    async def job(self, job_id: str, *, wait: float = 0.0) -> JobView:
        """Return `GET /job/{id}`, waiting up to `wait` seconds for its end; raises `ApiError`."""
        return await self._do(calls.job(job_id, wait))

    async def jobs(self, **filters: Unpack[JobFilters]) -> JobPage:
        """Return a page of jobs, the newest first (`GET /job`); raises `ApiError`.

        Args:
            filters: see `JobFilters`.
        """
        return await self._do(calls.jobs(dict(filters)))

    async def cancel(self, job_id: str, *, wait: float = WAIT) -> Cancelled:
        """Stop a job, and wait up to `wait` seconds until it has stopped; raises `ApiError`."""
        return await self._do(calls.cancel(job_id, wait))

    async def pause(self, job_id: str) -> Steered:
        """Give no more nodes of a job their turn; raises `ApiError`."""
        return await self._do(calls.steer(job_id, "pause"))

    async def resume(self, job_id: str) -> Steered:
        """Give nodes of a paused job their turn again; raises `ApiError`."""
        return await self._do(calls.steer(job_id, "resume"))

    async def retry(self, job_id: str, *, on: str | None = None) -> Retried:
        """Do a job again where it failed, or on the target `on`; raises `ApiError`."""
        return await self._do(calls.retry(job_id, on, self._options))

    async def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended; raises `ApiError`."""
        await self._do(calls.delete_job(job_id))

    def job_events(self, job_id: str, *, after: str | None = None) -> AsyncIterator[JobEvent]:
        """Yield a job's events until its end, across interruptions; raises `ApiError`.

        Args:
            after: the id of the event to go on behind; None for the first one.
        """
        return self._events(EventStream(f"/job/{calls.segment(job_id)}/events", {}, after))

    def events(
        self, *, after: str | None = None, **filters: Unpack[EventFilters]
    ) -> AsyncIterator[JobEvent]:
        """Yield the events of all jobs, for ever, across interruptions; raises `ApiError`.

        Args:
            after: the id of the event to go on behind; None for those from now on.
            filters: see `EventFilters`.
        """
        return self._events(EventStream("/event", dict(filters), after))

    async def progress(self, job_id: str, *, node: str | None = None) -> AsyncIterator[Progress]:
        """Yield how far a job is, as `Client.progress`."""
        fold = ProgressFold()
        async for event in self._events(EventStream(*calls.progress(job_id, node), None)):
            if (progress := fold.add(event)) is not None:
                yield progress

    async def _events(self, stream: EventStream) -> AsyncIterator[JobEvent]:
        while not stream.ended:
            try:
                async with httpx_sse.aconnect_sse(self._http, **stream.request()) as source:
                    if not source.response.is_success:
                        await source.response.aread()
                    if not stream.check(source.response):
                        return
                    async for received in source.aiter_sse():
                        event = stream.read(received)
                        if event is not None:
                            yield event
            except httpx.TransportError as error:
                if not stream.begun:
                    raise unreachable(self._url, error) from error
                await asyncio.sleep(RETRY_AFTER)

    async def nodes(self) -> list[NodeView]:
        """Return the registered nodes (`GET /agent`); raises `ApiError`."""
        return await self._do(calls.nodes())

    async def node(self, name: str) -> NodeView:
        """Return a node by its hostname or machine id; raises `ApiError`."""
        return await self._do(calls.node(name))

    async def drain(self, name: str) -> str:
        """Stop giving work to a node, and return a message for people; raises `ApiError`."""
        return await self._do(calls.schedule(name, "drain"))

    async def undrain(self, name: str) -> str:
        """Give work to a drained node again, and return a message for people; raises `ApiError`."""
        return await self._do(calls.schedule(name, "undrain"))

    async def registries(self) -> list[RegistryView]:
        """Return the registries that have a credential; raises `ApiError`."""
        return await self._do(calls.registries())

    async def registry(self, host: str) -> RegistryView:
        """Return whose credential a registry has, without the secret; raises `ApiError`."""
        return await self._do(calls.registry(host))

    async def set_registry(
        self,
        host: str,
        *,
        username: str | None = None,
        password: str | None = None,
        identity_token: str | None = None,
    ) -> RegistryView:
        """Keep a credential for a registry, in place of an earlier one; raises `ApiError`.

        Args:
            host: `host[:port]`, as image references name it; Docker Hub is `docker.io`.
            username, password: how the registry knows you.
            identity_token: in place of both.
        """
        given = {"username": username, "password": password, "identity_token": identity_token}
        return await self._do(calls.set_registry(host, given))

    async def remove_registry(self, host: str) -> None:
        """Remove the credential of a registry; raises `ApiError`."""
        await self._do(calls.remove_registry(host))
