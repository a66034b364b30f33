"""The Python client: every operation, typed to its result.

Example:
    with towline.Client("http://127.0.0.1:8080", token) as client:
        job = client.run(docker.pull, on="_all", image="nginx:1.27")
        for result in job.results:
            print(result.hostname, result.status, result.value)
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypedDict, TypeVar, Unpack

import httpx
import httpx_sse
import msgspec

from towline.client import calls
from towline.client.calls import Call, Options
from towline.client.models import (
    ApiError,
    Cancelled,
    JobEvent,
    JobPage,
    JobState,
    JobView,
    NodeView,
    Progress,
    RegistryView,
    Result,
    Retried,
    Steered,
)
from towline.operation import Operation
from towline.wire.credential import Credential
from towline.wire.progress import LayerProgress, NodeProgress, Total

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "Cancelled",
    "Client",
    "Credential",
    "Job",
    "JobEvent",
    "JobPage",
    "JobState",
    "JobView",
    "LayerProgress",
    "NodeProgress",
    "NodeView",
    "Options",
    "Progress",
    "RegistryView",
    "Result",
    "Retried",
    "Steered",
    "Total",
]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=msgspec.Struct)

POLL = 30
"""Seconds that one question for a job asks the controller to wait."""
SILENCE = 60.0
"""Seconds without a sign of life after which a stream of events is asked for again."""
AGAIN_AFTER = 1.0
LAST = "end"


class JobFilters(TypedDict, total=False):
    """Which jobs a page is of; times by RFC 3339, or as a duration: that long ago."""

    status: str | None
    operation: str | None
    target: str | None
    node: str | None
    caller: str | None
    since: str | None
    until: str | None
    limit: int
    offset: int
    cursor: str | None


class EventFilters(TypedDict, total=False):
    """Which events a stream is of; `event` takes several kinds, separated by commas."""

    operation: str | None
    target: str | None
    node: str | None
    caller: str | None
    event: str | None
    since: str | None


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


class _Streaming:
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
        timeout = httpx.Timeout(calls.MARGIN, read=SILENCE)
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
            calls.check(response, ())
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


class Client:
    """The API of a controller.

    Args:
        url: for example `http://127.0.0.1:8080`.
        token: as `towline token create` prints it.

    Raises:
        InvalidConfiguration: `url` or `token` is not valid.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._options = Options()
        self._http = httpx.Client(**calls.connection(url, token))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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
        """Return this client with other job options, on the same connections; as `Options`."""
        other = copy.copy(self)
        other._options = _changed(
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

    def _do(self, call: Call[R]) -> R:
        try:
            return call.read(calls.check(self._http.request(**call.arguments()), call.expected))
        except httpx.HTTPError as error:
            raise calls.unreachable(self._url, error) from error

    def run(
        self, operation: Operation[P, T], on: str, *args: P.args, **kwargs: P.kwargs
    ) -> Job[P, T]:
        """Run an operation and return its job, with the results within 30 seconds.

        Args:
            operation: for example `towline.operations.docker.pull`.
            on: the target: a hostname, `_any`, `_all` or `key:value`.
            kwargs: the operation's parameters.

        Raises:
            ApiError: the request was refused, or a single node failed.
        """
        return Job(self, operation, self._do(calls.run(operation, on, dict(kwargs), self._options)))

    def job(self, job_id: str, *, wait: float = 0.0) -> JobView:
        """Return `GET /job/{id}`, waiting up to `wait` seconds for its end; raises `ApiError`."""
        return self._do(calls.job(job_id, wait))

    def jobs(self, **filters: Unpack[JobFilters]) -> JobPage:
        """Return a page of jobs, the newest first (`GET /job`); raises `ApiError`."""
        return self._do(calls.jobs(dict(filters)))

    def cancel(self, job_id: str, *, wait: float = calls.WAIT) -> Cancelled:
        """Stop a job, waiting up to `wait` seconds until it has stopped; raises `ApiError`."""
        return self._do(calls.cancel(job_id, wait))

    def pause(self, job_id: str) -> Steered:
        """Let no more nodes of a job have their turn; raises `ApiError`."""
        return self._do(calls.pause(job_id, back=False))

    def resume(self, job_id: str) -> Steered:
        """Let nodes of a paused job have their turn again; raises `ApiError`."""
        return self._do(calls.pause(job_id, back=True))

    def retry(self, job_id: str, *, on: str | None = None) -> Retried:
        """Do a job again where it failed, or on the target `on`; raises `ApiError`."""
        return self._do(calls.retry(job_id, on, self._options))

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended; raises `ApiError`."""
        self._do(calls.delete_job(job_id))

    def job_events(self, job_id: str, *, after: str | None = None) -> Iterator[JobEvent]:
        """Yield a job's events until its end, over all interruptions; raises `ApiError`."""
        return self._events(_Streaming(f"/job/{calls.segment(job_id)}/events", {}, after))

    def events(
        self, *, after: str | None = None, **filters: Unpack[EventFilters]
    ) -> Iterator[JobEvent]:
        """Yield the events of all jobs from now on, for ever; raises `ApiError`."""
        return self._events(_Streaming("/event", dict(filters), after))

    def progress(self, job_id: str, *, node: str | None = None) -> Iterator[Progress]:
        """Yield how far a job is, until its end, over all interruptions; raises `ApiError`.

        Args:
            node: the only node to be told of, with its layers, by its hostname or machine id.
        """
        folding = calls.Folding()
        for event in self._events(_Streaming(*calls.progress(job_id, node), None)):
            if (told := folding.take(event)) is not None:
                yield told

    def _events(self, stream: _Streaming) -> Iterator[JobEvent]:
        while not stream.ended:
            try:
                with httpx_sse.connect_sse(self._http, **stream.request()) as source:
                    if not source.response.is_success:
                        source.response.read()
                    if not stream.check(source.response):
                        return
                    for received in source.iter_sse():
                        event = stream.read(received)
                        if event is not None:
                            yield event
            except httpx.TransportError as error:
                if not stream.begun:
                    raise calls.unreachable(self._url, error) from error
                time.sleep(AGAIN_AFTER)

    def nodes(self) -> list[NodeView]:
        """Return the registered nodes (`GET /agent`); raises `ApiError`."""
        return self._do(calls.nodes())

    def node(self, name: str) -> NodeView:
        """Return a node by its hostname or machine id; raises `ApiError`."""
        return self._do(calls.node(name))

    def drain(self, name: str) -> str:
        """Let a node take no more work; return what to tell people; raises `ApiError`."""
        return self._do(calls.drain(name, back=False))

    def undrain(self, name: str) -> str:
        """Let a node take work again; return what to tell people; raises `ApiError`."""
        return self._do(calls.drain(name, back=True))

    def registries(self) -> list[RegistryView]:
        """Return the registries that a credential is kept for; raises `ApiError`."""
        return self._do(calls.registries())

    def registry(self, host: str) -> RegistryView:
        """Return what is kept for a registry, but the secret; raises `ApiError`."""
        return self._do(calls.registry(host))

    def set_registry(
        self,
        host: str,
        *,
        username: str | None = None,
        password: str | None = None,
        identity_token: str | None = None,
    ) -> RegistryView:
        """Keep a credential for a registry, in place of that before; raises `ApiError`.

        Args:
            host: `host[:port]`, as image references name it; Docker Hub is `docker.io`.
            identity_token: in place of user and password.
        """
        given = {"username": username, "password": password, "identity_token": identity_token}
        return self._do(calls.set_registry(host, given))

    def remove_registry(self, host: str) -> None:
        """Forget the credential of a registry; raises `ApiError`."""
        self._do(calls.remove_registry(host))


class AsyncClient:
    """The API of a controller, for asyncio; as `Client` otherwise."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._options = Options()
        self._http = httpx.AsyncClient(**calls.connection(url, token))

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
        """Return this client with other job options, on the same connections; as `Options`."""
        other = copy.copy(self)
        other._options = _changed(
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
            raise calls.unreachable(self._url, error) from error
        return call.read(calls.check(response, call.expected))

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
        """Return a page of jobs, the newest first (`GET /job`); raises `ApiError`."""
        return await self._do(calls.jobs(dict(filters)))

    async def cancel(self, job_id: str, *, wait: float = calls.WAIT) -> Cancelled:
        """Stop a job, waiting up to `wait` seconds until it has stopped; raises `ApiError`."""
        return await self._do(calls.cancel(job_id, wait))

    async def pause(self, job_id: str) -> Steered:
        """Let no more nodes of a job have their turn; raises `ApiError`."""
        return await self._do(calls.pause(job_id, back=False))

    async def resume(self, job_id: str) -> Steered:
        """Let nodes of a paused job have their turn again; raises `ApiError`."""
        return await self._do(calls.pause(job_id, back=True))

    async def retry(self, job_id: str, *, on: str | None = None) -> Retried:
        """Do a job again where it failed, or on the target `on`; raises `ApiError`."""
        return await self._do(calls.retry(job_id, on, self._options))

    async def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended; raises `ApiError`."""
        await self._do(calls.delete_job(job_id))

    def job_events(self, job_id: str, *, after: str | None = None) -> AsyncIterator[JobEvent]:
        """Yield a job's events until its end, over all interruptions; raises `ApiError`."""
        return self._events(_Streaming(f"/job/{calls.segment(job_id)}/events", {}, after))

    def events(
        self, *, after: str | None = None, **filters: Unpack[EventFilters]
    ) -> AsyncIterator[JobEvent]:
        """Yield the events of all jobs from now on, for ever; raises `ApiError`."""
        return self._events(_Streaming("/event", dict(filters), after))

    async def progress(self, job_id: str, *, node: str | None = None) -> AsyncIterator[Progress]:
        """Yield how far a job is, as `Client.progress`."""
        folding = calls.Folding()
        async for event in self._events(_Streaming(*calls.progress(job_id, node), None)):
            if (told := folding.take(event)) is not None:
                yield told

    async def _events(self, stream: _Streaming) -> AsyncIterator[JobEvent]:
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
                    raise calls.unreachable(self._url, error) from error
                await asyncio.sleep(AGAIN_AFTER)

    async def nodes(self) -> list[NodeView]:
        """Return the registered nodes (`GET /agent`); raises `ApiError`."""
        return await self._do(calls.nodes())

    async def node(self, name: str) -> NodeView:
        """Return a node by its hostname or machine id; raises `ApiError`."""
        return await self._do(calls.node(name))

    async def drain(self, name: str) -> str:
        """Let a node take no more work; return what to tell people; raises `ApiError`."""
        return await self._do(calls.drain(name, back=False))

    async def undrain(self, name: str) -> str:
        """Let a node take work again; return what to tell people; raises `ApiError`."""
        return await self._do(calls.drain(name, back=True))

    async def registries(self) -> list[RegistryView]:
        """Return the registries that a credential is kept for; raises `ApiError`."""
        return await self._do(calls.registries())

    async def registry(self, host: str) -> RegistryView:
        """Return what is kept for a registry, but the secret; raises `ApiError`."""
        return await self._do(calls.registry(host))

    async def set_registry(
        self,
        host: str,
        *,
        username: str | None = None,
        password: str | None = None,
        identity_token: str | None = None,
    ) -> RegistryView:
        """Keep a credential for a registry, in place of that before; raises `ApiError`.

        Args:
            host: `host[:port]`, as image references name it; Docker Hub is `docker.io`.
            identity_token: in place of user and password.
        """
        given = {"username": username, "password": password, "identity_token": identity_token}
        return await self._do(calls.set_registry(host, given))

    async def remove_registry(self, host: str) -> None:
        """Forget the credential of a registry; raises `ApiError`."""
        await self._do(calls.remove_registry(host))


def _changed(options: Options, **given: Any) -> Options:
    """Return options in which those given take the place of others."""
    changes = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(options, **changes)
