"""The HTTP application: routes and their handlers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from towline import __version__
from towline.controller.auth import Authenticator, Caller
from towline.controller.credentials.store import Kept
from towline.controller.fleet import Member
from towline.controller.http import progress as telling
from towline.controller.http import queries, sse, views
from towline.controller.http import request as reading
from towline.controller.http.documentation import DOCUMENTATION_PAGE
from towline.controller.http.middleware import JSON, ByMethod, Edge, Handler, answer, nowhere
from towline.controller.http.openapi import document
from towline.controller.jobs.dispatch import Dispatch, Submission
from towline.controller.jobs.index import Filter, Listed
from towline.controller.jobs.state import JobState
from towline.errors import Conflict, InvalidRequest, NotFound
from towline.operation import NODE, Operation, catalog
from towline.units import timestamp
from towline.wire.event import BAD
from towline.wire.node import NodeState
from towline.wire.target import ANY, Hostname

DOCKER = "docker"
FEW = 20
"""Nodes up to which a list tells everything of a job."""


class Api:
    """The handlers, with what they need.

    Args:
        wait, longest_wait: seconds a request waits for results, and may ask to.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        authenticator: Authenticator,
        *,
        wait: float,
        longest_wait: float,
    ) -> None:
        self._dispatch = dispatch
        self._authenticator = authenticator
        self._wait = wait
        self._longest_wait = longest_wait

    def application(self) -> ASGIApp:
        """Return the ASGI application."""
        routes: list[Route] = []
        openapi = msgspec.json.encode(document(catalog, __version__))

        async def serve_openapi(request: Request) -> Response:
            return Response(openapi, media_type=JSON)

        async def serve_page(request: Request) -> Response:
            return Response(DOCUMENTATION_PAGE, media_type="text/html")

        handlers: list[tuple[str, str, Handler]] = [
            ("GET", "/health", self._health),
            ("GET", "/health/ready", self._ready),
            ("GET", "/agent", self._guarded("agent:read", self._agents)),
            ("GET", "/agent/{hostname}", self._guarded("agent:read", self._agent)),
            ("POST", "/agent/{hostname}/drain", self._guarded("agent:write", self._drain)),
            ("POST", "/agent/{hostname}/undrain", self._guarded("agent:write", self._undrain)),
            ("GET", "/job", self._guarded("job:read", self._jobs)),
            ("GET", "/job/{id}", self._guarded("job:read", self._job)),
            ("DELETE", "/job/{id}", self._guarded("job:write", self._delete)),
            ("POST", "/job/{id}/retry", self._guarded("job:write", self._retry)),
            ("POST", "/job/{id}/cancel", self._guarded(None, self._cancel)),
            ("POST", "/job/{id}/pause", self._guarded(None, self._pause)),
            ("POST", "/job/{id}/resume", self._guarded(None, self._resume)),
            ("GET", "/job/{id}/events", self._guarded("job:read", self._job_events)),
            ("GET", "/job/{id}/progress", self._guarded("job:read", self._progress)),
            ("GET", "/event", self._guarded("job:read", self._events)),
            ("GET", "/registry", self._guarded("registry:read", self._registries)),
            ("GET", "/registry/{host}", self._guarded("registry:read", self._registry)),
            ("PUT", "/registry/{host}", self._guarded("registry:write", self._put_registry)),
            ("DELETE", "/registry/{host}", self._guarded("registry:write", self._forget_registry)),
            ("GET", "/openapi.json", serve_openapi),
            ("GET", "/docs", serve_page),
        ]
        for operation in catalog:
            handlers.append((operation.method, operation.route, self._handler(operation)))
        paths: dict[str, dict[str, Handler]] = {}
        for method, path, handler in handlers:
            for prefix in ("", "/api"):
                paths.setdefault(prefix + path, {})[method] = handler
        # Fixed segments before placeholders, or GET /job/{id} would hide a later GET /job/status.
        for path in sorted(paths, key=lambda path: path.replace("{", "~")):
            routes.append(Route(path, ByMethod(paths[path])))
        return Edge(Router(routes, redirect_slashes=False, default=nowhere))

    # Operations

    def _handler(self, operation: Operation[..., Any]) -> Handler:
        async def handle(request: Request) -> Response:
            caller = self._allowed(request, operation.permission)
            target = reading.target(request)
            values = reading.query(request)
            options = reading.job_options(values)
            parameters = await reading.parameters(request, operation, values)
            preferences = reading.preferences(request, self._wait, self._longest_wait)
            asked = Submission(
                operation,
                parameters,
                target,
                caller.subject,
                expires=options.expires,
                waves=options.waves,
                trace=request.headers.get("traceparent"),
                key=reading.idempotency_key(request),
                credential=reading.registry_auth(request, operation, parameters),
            )
            progress = await self._dispatch.submit(asked, wait=preferences.wait)
            request.state.job = progress.job.id
            headers = _headers(progress, preferences)
            single = target == ANY or isinstance(target, Hostname)
            if single and progress.done:
                failed = next(iter(progress.tasks.values()))
                if failed.status in BAD:
                    error = {
                        "error": f"{operation.name} {failed.status} on {failed.hostname}.",
                        "details": f"{failed.error} (job {progress.job.id})",
                        "code": 500,
                    }
                    return answer(error, 500, headers)
            body = {"job_id": progress.job.id, "results": views.results(progress)}
            return answer(body, operation.success, headers)

        return handle

    # Jobs and agents

    async def _jobs(self, request: Request, caller: Caller) -> Response:
        query = queries.query_as(request, queries.JobQuery)
        cursor = queries.given(query.cursor)
        if cursor is not None and query.offset:
            raise InvalidRequest("A page has a cursor or an offset.", "Leave one out")
        index = self._dispatch.index
        wanted = Filter(
            status=queries.given(query.status),
            **self._common(query),
            since=queries.moment("since", query.since),
            until=queries.moment("until", query.until),
        )
        total = index.count(wanted)
        found = []
        if total > query.offset:
            found = index.jobs(wanted, limit=query.limit, before=cursor, offset=query.offset)
        body: dict[str, Any] = {
            "total_items": total,
            "status_counts": index.statuses(),
            "items": [self._listed(job) for job in found],
        }
        if len(found) == query.limit:
            body["next_cursor"] = str(found[-1].sequence)
        return answer(body)

    def _listed(self, job: Listed) -> dict[str, Any]:
        if sum(job.nodes.values()) <= FEW:
            known = self._dispatch.index.find(job.job.id, self._dispatch.fleet.hostnames)
            if known is not None:
                known[0].expire(time.time())
                return views.job(*known)
        return views.listed(job)

    def _common(self, query: queries.JobQuery | queries.EventQuery) -> dict[str, Any]:
        return {
            "operation": queries.given(query.operation),
            "target": queries.given(query.target),
            "caller": queries.given(query.caller),
            "machine": self._machine(queries.given(query.node)),
        }

    def _machine(self, node: str | None) -> str | None:
        if node is None:
            return None
        try:
            return self._dispatch.fleet.one(node).machine
        except NotFound as error:
            raise InvalidRequest(error.error, error.details) from error

    async def _job(self, request: Request, caller: Caller) -> Response:
        preferences = reading.preferences(request, 0.0, self._longest_wait)
        found = await self._dispatch.known(_job_id(request), wait=preferences.wait)
        headers = {}
        if preferences.applied:
            headers["Preference-Applied"] = preferences.applied
        return answer(views.job(*found), headers=headers)

    async def _delete(self, request: Request, caller: Caller) -> Response:
        progress, _ = await self._dispatch.known(_job_id(request))
        request.state.job = progress.job.id
        await self._dispatch.delete(progress)
        return Response(status_code=204)

    async def _retry(self, request: Request, caller: Caller) -> Response:
        options = reading.retry_options(request)
        target = await reading.retry_target(request)
        progress, _ = await self._dispatch.known(_job_id(request))
        asked = self._dispatch.retry(
            progress,
            caller=caller.subject,
            target=target,
            expires=options.expires,
            waves=options.waves,
        )
        caller.require(asked.operation.permission)
        asked = msgspec.structs.replace(
            asked,
            key=reading.idempotency_key(request),
            credential=reading.registry_auth(request, asked.operation, asked.parameters),
            trace=request.headers.get("traceparent"),
        )
        preferences = reading.preferences(request, 0.0, self._longest_wait)
        made = await self._dispatch.submit(asked, wait=preferences.wait)
        request.state.job = made.job.id
        body = {
            "job_id": made.job.id,
            "status": made.status,
            "timestamp": timestamp(made.job.created),
        }
        return answer(body, 201, _headers(made, preferences))

    async def _cancel(self, request: Request, caller: Caller) -> Response:
        progress = await self._steered(request, caller)
        preferences = reading.preferences(request, self._wait, self._longest_wait)
        progress = await self._dispatch.cancel(
            progress, caller=caller.subject, wait=preferences.wait
        )
        body = {
            "job_id": progress.job.id,
            "status": progress.status,
            "results": views.results(progress),
        }
        return answer(body, headers=_headers(progress, preferences))

    async def _pause(self, request: Request, caller: Caller) -> Response:
        progress = await self._steered(request, caller)
        return answer(views.turns(await self._dispatch.pause(progress, caller=caller.subject)))

    async def _resume(self, request: Request, caller: Caller) -> Response:
        progress = await self._steered(request, caller)
        return answer(views.turns(await self._dispatch.resume(progress, caller=caller.subject)))

    async def _steered(self, request: Request, caller: Caller) -> JobState:
        """Return the job that a caller wants to steer, and may."""
        progress, _ = await self._dispatch.known(_job_id(request))
        operation = catalog.get(progress.job.operation)
        if "docker:write" not in caller.permissions:
            caller.require(operation.permission if operation else "docker:write")
        request.state.job = progress.job.id
        return progress

    async def _job_events(self, request: Request, caller: Caller) -> Response:
        after = sse.place(request.headers.get("last-event-id"), 1)
        progress, _ = await self._dispatch.known(_job_id(request))
        job = progress.job
        if after is not None and progress.done:
            (last,) = after
            if not self._dispatch.index.events_after(last, 1, job_id=job.id):
                # Else a browser that has heard the end would come back for ever.
                return Response(status_code=204)
        told = sse.of_job(self._dispatch, job, after[0] if after else None)
        return _streaming(told)

    async def _progress(self, request: Request, caller: Caller) -> Response:
        query = queries.query_as(request, queries.ProgressQuery)
        last = request.headers.get("last-event-id")
        progress, _ = await self._dispatch.known(_job_id(request))
        job_id = progress.job.id
        machine = self._machine(queries.given(query.node))
        if machine is not None and progress.planned and machine not in progress.tasks:
            raise NotFound(
                f"{query.node} has no part in job {job_id}.", f"GET /job/{job_id} tells which have"
            )
        if reading.wants_json(request):
            return answer(await telling.snapshot(self._dispatch, job_id, machine))
        if last == telling.END and progress.done:
            # Else a browser that has heard the end would come back for ever.
            return Response(status_code=204)
        return _streaming(telling.of_job(self._dispatch, job_id, machine))

    async def _events(self, request: Request, caller: Caller) -> Response:
        query = queries.query_as(request, queries.EventQuery)
        wanted = Filter(**self._common(query))
        named = queries.given(query.event) or ""
        kinds = frozenset(kind for kind in named.split(",") if kind)
        begin = sse.place(request.headers.get("last-event-id"), 2) or sse.beginning(
            self._dispatch, queries.moment("since", query.since)
        )
        return _streaming(sse.of_all(self._dispatch, wanted, kinds, begin))

    async def _agents(self, request: Request, caller: Caller) -> Response:
        members = self._dispatch.fleet.members()
        return answer(
            {"agents": [views.agent(member) for member in members], "total": len(members)}
        )

    async def _agent(self, request: Request, caller: Caller) -> Response:
        return answer(views.agent(self._member(request)))

    async def _drain(self, request: Request, caller: Caller) -> Response:
        member = self._member(request)
        if member.drained is not None:
            raise Conflict(
                f"{member.hostname} is drained already.",
                f"Since {timestamp(member.drained)}, by {member.state.by}",
            )
        now = time.time()
        await self._dispatch.fleet.decide(member, NodeState(now, caller.subject, now))
        running = member.heartbeat.running if member.heartbeat else 0
        rest = f"; {running} tasks run to their end" if running else ""
        return answer({"message": f"{member.hostname} takes no more work{rest}."})

    async def _undrain(self, request: Request, caller: Caller) -> Response:
        member = self._member(request)
        if member.drained is None:
            raise Conflict(f"{member.hostname} is not drained.", "It takes work already")
        await self._dispatch.fleet.decide(member, NodeState(None, caller.subject, time.time()))
        return answer({"message": f"{member.hostname} takes work again."})

    def _member(self, request: Request) -> Member:
        target = reading.target(request)
        if not isinstance(target, Hostname):
            raise InvalidRequest(
                f"{str(target)!r} is not one node.", "Name it by its hostname or its machine id"
            )
        return self._dispatch.fleet.one(target.name)

    # Registries

    async def _registries(self, request: Request, caller: Caller) -> Response:
        found = [self._kept(kept) for kept in await self._dispatch.registries.all()]
        return answer({"registries": found, "total": len(found)})

    async def _registry(self, request: Request, caller: Caller) -> Response:
        registry = reading.registry(request)
        kept = await self._dispatch.registries.get(registry)
        if kept is None:
            raise _no_credential(registry)
        return answer(self._kept(kept))

    async def _put_registry(self, request: Request, caller: Caller) -> Response:
        registry = reading.registry(request)
        credential = await reading.credential(request)
        kept, new = await self._dispatch.registries.put(registry, credential, caller.subject)
        return answer(self._kept(kept), 201 if new else 200)

    async def _forget_registry(self, request: Request, caller: Caller) -> Response:
        registry = reading.registry(request)
        if not await self._dispatch.registries.remove(registry):
            raise _no_credential(registry)
        return Response(status_code=204)

    def _kept(self, kept: Kept) -> dict[str, Any]:
        return views.registry(kept, readable=self._dispatch.registries.readable(kept))

    # Health

    async def _health(self, request: Request) -> Response:
        return answer({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        trouble = self._trouble()
        if trouble:
            return answer({"status": "not ready", "error": trouble}, 503)
        return answer({"status": "ready"})

    def _trouble(self) -> str:
        """Return why a pull would not work just now, or ""."""
        dispatch = self._dispatch
        if not dispatch.broker.connected:
            return f"the broker is out of reach: {dispatch.broker.last_error}"
        if dispatch.broker.trouble:
            return f"the broker did not store what it was given last: {dispatch.broker.trouble}"
        if dispatch.fold.trouble:
            return dispatch.fold.trouble
        if not dispatch.fold.caught_up:
            return "the index is still catching up with the journal"
        here = [member for member in dispatch.fleet.here() if member.heartbeat is not None]
        if not here:
            return "no node is reachable"
        troubles = [member.trouble(NODE) for member in here]
        if all(troubles):
            return troubles[0]
        able = [member for member in here if member.can(DOCKER)]
        if not able:
            return "no reachable node has a Docker Engine"
        troubles = [member.trouble(DOCKER) for member in able]
        if all(troubles):
            return troubles[0]
        return ""

    # Permissions

    def _allowed(self, request: Request, permission: str | None) -> Caller:
        caller = self._authenticator.authenticate(reading.token(request))
        request.state.caller = caller.subject
        if permission is not None:
            caller.require(permission)
        return caller

    def _guarded(
        self, permission: str | None, handler: Callable[[Request, Caller], Awaitable[Response]]
    ) -> Handler:
        async def guarded(request: Request) -> Response:
            return await handler(request, self._allowed(request, permission))

        return guarded


def _headers(progress: JobState, preferences: reading.Preferences) -> dict[str, str]:
    headers = {"Location": f"/job/{progress.job.id}"}
    if preferences.applied:
        headers["Preference-Applied"] = preferences.applied
    return headers


def _streaming(told: AsyncIterator[bytes]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(told, media_type=sse.MEDIA_TYPE, headers=headers)


def _no_credential(registry: str) -> NotFound:
    return NotFound(
        f"No credential is kept for {registry!r}.",
        "GET /registry, or towline registry list, lists the registries that have one",
    )


def _job_id(request: Request) -> str:
    text: str = request.path_params["id"]
    if not _is_uuid(text):
        raise InvalidRequest(f"{text[:80]!r} is not a job id.", "A job id is a UUID")
    return text.lower()


def _is_uuid(text: str) -> bool:
    groups = text.split("-")
    return [len(group) for group in groups] == [8, 4, 4, 4, 12] and all(
        character in "0123456789abcdefABCDEF" for character in "".join(groups)
    )
