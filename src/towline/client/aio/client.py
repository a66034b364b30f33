"""The API of a controller, called."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any, ParamSpec, Self, TypeVar

import httpx
import httpx_sse
import msgspec

from towline.client import calls
from towline.client.aio.job import AsyncJob
from towline.client.calls import Call
from towline.client.connection import Authorities, connection, unreachable
from towline.client.models import Progress
from towline.client.options import (
    USUAL,
    WAIT,
    changed,
    taking,
)
from towline.client.streams import EventStream, ProgressFold
from towline.endpoint import Endpoint, Event, Stream
from towline.endpoints import events, jobs, node_list, nodes, registries, trust
from towline.endpoints.dry_run import DryRun
from towline.endpoints.jobs import Cancelled, JobPage, Retried, Steered
from towline.endpoints.nodes import AgentView
from towline.endpoints.registries import RegistryView
from towline.endpoints.trust import TrustView
from towline.endpoints.views import JobEvent, JobView
from towline.operation import Operation
from towline.options import JobOptions, Waiting

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=msgspec.Struct)


class AsyncClient:
    """The API of a controller.

    `call` and `stream` ask every endpoint that there is, and `run` runs every operation; what is
    asked most has a method of its own. All raise `ApiError`.

    Args:
        url: for example `https://controller.example:8080`.
        token: what `towline token create` has printed.
        ca: who signs the controller's certificate: a PEM file, or an `ssl.SSLContext` that verifies
            it; None for those whom the system trusts.

    Raises:
        InvalidConfiguration: `url` or `token` is not valid, or `ca` can't be read.
    """

    def __init__(self, url: str, token: str, *, ca: Authorities | None = None) -> None:
        self._url = url
        self._options = USUAL
        self._http = httpx.AsyncClient(**connection(url, token, ca))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @taking(JobOptions)
    def with_options(self, given: dict[str, Any]) -> Self:
        """Return a client with other job options, on the same connections; see `JobOptions`.

        An option that is not given, or None, stays as it is.
        """
        other = copy.copy(self)
        other._options = changed(self._options, given)
        return other

    async def call(self, endpoint: Endpoint[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Ask an endpoint, and return what it answers.

        Args:
            endpoint: for example `towline.endpoints.nodes.drain`.
            kwargs: its parameters. Job options that are not among them are the client's.
        """
        return await self._do(calls.of(endpoint, dict(kwargs), self._options))

    async def stream(
        self, endpoint: Stream[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[Event[R]]:
        """Yield the events of a stream until it ends, across interruptions; as `call`.

        Raises:
            Unreachable: no controller has answered for five minutes.
        """
        stream = EventStream(endpoint, calls.of(endpoint, dict(kwargs), self._options))
        while not stream.ended:
            try:
                async with httpx_sse.aconnect_sse(self._http, **stream.request()) as source:
                    if not source.response.is_success:
                        await source.response.aread()
                    if stream.check(source.response):
                        async for received in source.aiter_sse():
                            event = stream.read(received)
                            if event is not None:
                                yield event
            except httpx.RequestError as error:
                if not stream.outlives(error):
                    raise unreachable(self._url, error) from error
            if not stream.ended:
                await asyncio.sleep(stream.pause())

    async def _do(self, call: Call[R]) -> R:
        try:
            response = await self._http.request(**call.arguments())
        except httpx.HTTPError as error:
            raise unreachable(self._url, error) from error
        return call.read(response)

    async def run(
        self, operation: Operation[P, T], on: str, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncJob[P, T]:
        """Run an operation and return its job, with the results of the first 30 seconds.

        Args:
            operation: for example `towline.operations.docker.pull`.
            on: the target: a hostname, `_any`, `_all`, `key:value`, or an expression of these.
            kwargs: the operation's parameters.

        Raises:
            ApiError: the request was refused, or a single node failed.
        """
        call = calls.run(operation, on, dict(kwargs), self._options)
        return AsyncJob(self, operation, await self._do(call))

    async def dry_run(
        self, operation: Operation[P, T], on: str, *args: P.args, **kwargs: P.kwargs
    ) -> DryRun:
        """Return what `run` would do with the same arguments, and do nothing.

        No job is made, nothing is stored, no node does anything, and no `Idempotency-Key` is
        reserved. What would be refused is refused: with the same error.

        The answer has `operation`, `target`, `expires` (until when nodes would have to begin),
        `nodes` (how many of which status), `waves` (what the client's options come to for so many
        nodes: `parallel`, `canary`, `failures`; None without), `made` (the id of the job that the
        client's `idempotency_key` has made already; None else), and `results`, one for each node:

        - `hostname`, `machine_id`;
        - `status`: `would_run`; `could_run` (for `_any`: one of these would); `pending` (away, and
          would run when it returns); `skipped` (drained, without what it takes, another version);
          `would_fail`;
        - `reason`: why, in words; of a node that would run, what does not work there just now;
          None where there is nothing to say;
        - `plan`: what the node itself foresees, as a dict; None where it was not asked. Of
          `docker.pull` it has the fields of `towline.operations.docker.PullPlan`. For `_any` one
          node that could run is asked;
        - `not_told`: why there is no plan although the node was asked, in words: no answer within
          5 seconds, or an agent that does not know the question; None else.

        Nodes are asked for 5 seconds at most, or twice that where one of them finds first what all
        are given, and not longer than the client's `wait`. A credential of the request (the
        client's `credential`) is not used; one that is kept is.

        Raises:
            ApiError: the request was refused.
        """
        return await self._do(calls.dry_run(operation, on, dict(kwargs), self._options))

    async def attach(self, operation: Operation[P, T], job_id: str) -> AsyncJob[P, T]:
        """Return the handle of a job that was made elsewhere, with its results so far.

        Args:
            operation: what the job does, for example `towline.operations.docker.pull`.

        Raises:
            ApiError: there is no such job, or it does something else.
        """
        return AsyncJob(self, operation, calls.attached(operation, await self.job(job_id)))

    async def job(self, job_id: str, *, wait: float = 0.0) -> JobView:
        """Return a job, waiting up to `wait` seconds for its end."""
        return await self.call(jobs.get, id=job_id, options=Waiting(wait=wait or None))

    @taking(jobs.list_jobs)
    async def jobs(self, given: dict[str, Any]) -> JobPage:
        """Return a page of jobs, the newest first; which, say the parameters of the endpoint."""
        return await self.call(jobs.list_jobs, **given)

    async def cancel(self, job_id: str, *, wait: float = WAIT) -> Cancelled:
        """Stop a job, and wait up to `wait` seconds until it has stopped."""
        return await self.call(jobs.cancel, id=job_id, options=Waiting(wait=wait))

    async def pause(self, job_id: str) -> Steered:
        """Give no more nodes of a job their turn."""
        return await self.call(jobs.pause, id=job_id)

    async def resume(self, job_id: str) -> Steered:
        """Give nodes of a paused job their turn again."""
        return await self.call(jobs.resume, id=job_id)

    async def retry(self, job_id: str, *, on: str | None = None) -> Retried:
        """Do a job again where it failed, or on the target `on`."""
        made = await self.call(jobs.retry, id=job_id, target_hostname=on, options=self._options)
        assert isinstance(made, Retried), "a dry run that nobody has asked for"
        return made

    async def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended."""
        await self.call(jobs.delete, id=job_id)

    def job_events(
        self, job_id: str, *, after: str | None = None
    ) -> AsyncIterator[Event[JobEvent]]:
        """Yield a job's events until its end, across interruptions.

        Args:
            after: the id of the event to go on behind; None for the first one.
        """
        return self.stream(events.of_job, id=job_id, after=after)

    @taking(events.of_all)
    def events(self, given: dict[str, Any]) -> AsyncIterator[Event[JobEvent]]:
        """Yield the events of all jobs, for ever, across interruptions.

        Which, say the parameters of the endpoint: `after` is the id of the event to go on behind,
        None for those from now on.
        """
        return self.stream(events.of_all, **given)

    async def progress(self, job_id: str, *, node: str | None = None) -> AsyncIterator[Progress]:
        """Yield how far a job is, until its end, across interruptions.

        Args:
            node: the hostname or machine id of a node. Then the stream is of that node alone, with
                each layer of its image.
        """
        fold = ProgressFold()
        async for event in self.stream(events.progress, id=job_id, node=node):
            if (progress := fold.add(event)) is not None:
                yield progress

    @taking(node_list.list_nodes)
    async def nodes(self, given: dict[str, Any]) -> list[AgentView]:
        """Return the registered nodes; which, say the parameters of the endpoint."""
        return (await self.call(node_list.list_nodes, **given)).agents

    async def node(self, name: str) -> AgentView:
        """Return a node by its hostname or machine id."""
        return await self.call(nodes.get, hostname=name)

    async def drain(self, name: str) -> str:
        """Stop giving work to a node, and return a message for people."""
        return (await self.call(nodes.drain, hostname=name)).message

    async def undrain(self, name: str) -> str:
        """Give work to a drained node again, and return a message for people."""
        return (await self.call(nodes.undrain, hostname=name)).message

    async def trust(self) -> TrustView:
        """Return which keys the controller has, and which nodes do not know them yet."""
        return await self.call(trust.status)

    async def registries(self) -> list[RegistryView]:
        """Return the registries that have a credential."""
        return (await self.call(registries.list_registries)).registries

    async def registry(self, host: str) -> RegistryView:
        """Return whose credential a registry has, without the secret."""
        return await self.call(registries.get, host=host)

    async def set_registry(
        self,
        host: str,
        *,
        username: str | None = None,
        password: str | None = None,
        identity_token: str | None = None,
    ) -> RegistryView:
        """Keep a credential for a registry, in place of an earlier one.

        Args:
            host: `host[:port]`, as image references name it; Docker Hub is `docker.io`.
            username, password: how the registry knows you.
            identity_token: in place of both.
        """
        return await self.call(
            registries.put,
            host=host,
            username=username,
            password=password,
            identity_token=identity_token,
        )

    async def remove_registry(self, host: str) -> None:
        """Remove the credential of a registry."""
        await self.call(registries.delete, host=host)
