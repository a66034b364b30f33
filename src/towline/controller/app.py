"""The HTTP application: routes, answers and errors."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from towline import __version__
from towline.auth import Authenticator, Caller
from towline.controller import request as reading
from towline.controller.documentation import DOCUMENTATION_PAGE
from towline.controller.openapi import document
from towline.dispatch import Dispatch
from towline.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TowlineError,
)
from towline.fleet import Member
from towline.job import STARTED, Event, Progress, timestamp
from towline.operation import Operation, registry
from towline.target import ANY, Hostname

log = structlog.get_logger()

JSON = "application/json"
DOCKER = "docker"

Handler = Callable[[Request], Awaitable[Response]]


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(msgspec.json.encode(body), status, headers, JSON)


def refusal(error: TowlineError) -> Response:
    """Return the answer that tells of `error`: `error`, `details` and `code`."""
    headers = {}
    if error.code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    details = error.details
    if error.job_id is not None:
        headers["Location"] = f"/job/{error.job_id}"
    body = {"error": error.error, "details": details, "code": error.code}
    return answer(body, error.code, headers)


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
        openapi = msgspec.json.encode(document(registry, __version__))

        async def serve_openapi(request: Request) -> Response:
            return Response(openapi, media_type=JSON)

        async def serve_page(request: Request) -> Response:
            return Response(DOCUMENTATION_PAGE, media_type="text/html")

        handlers: list[tuple[str, str, Handler]] = [
            ("GET", "/health", self._health),
            ("GET", "/health/ready", self._ready),
            ("GET", "/agent", self._guarded("agent:read", self._agents)),
            ("GET", "/job/{id}", self._guarded("job:read", self._job)),
            ("GET", "/openapi.json", serve_openapi),
            ("GET", "/docs", serve_page),
        ]
        for operation in registry:
            handlers.append((operation.method, operation.route, self._handler(operation)))
        paths: dict[str, dict[str, Handler]] = {}
        for method, path, handler in handlers:
            for prefix in ("", "/api"):
                paths.setdefault(prefix + path, {})[method] = handler
        # Fixed segments before placeholders, or GET /job/{id} would hide a later GET /job/status.
        for path in sorted(paths, key=lambda path: path.replace("{", "~")):
            routes.append(Route(path, _ByMethod(paths[path])))
        return _Edge(Router(routes, redirect_slashes=False, default=_nowhere))

    # Operations

    def _handler(self, operation: Operation[..., Any]) -> Handler:
        async def handle(request: Request) -> Response:
            caller = self._allowed(request, operation.permission)
            target = reading.target(request)
            values = reading.query(request)
            expires = reading.expires(values)
            parameters = await reading.parameters(request, operation, values)
            preferences = reading.preferences(request, self._wait, self._longest_wait)
            progress = await self._dispatch.submit(
                operation,
                parameters,
                target=target,
                caller=caller.subject,
                wait=preferences.wait,
                expires=expires,
                trace=request.headers.get("traceparent"),
            )
            request.state.job = progress.job.id
            headers = {"Location": f"/job/{progress.job.id}"}
            if preferences.applied:
                headers["Preference-Applied"] = preferences.applied
            single = target == ANY or isinstance(target, Hostname)
            if single and progress.done:
                failed = next(iter(progress.tasks.values()))
                if failed.status in ("failed", "expired", "cancelled"):
                    error = {
                        "error": f"{operation.name} {failed.status} on {failed.hostname}.",
                        "details": f"{failed.error} (job {progress.job.id})",
                        "code": 500,
                    }
                    return answer(error, 500, headers)
            body = {"job_id": progress.job.id, "results": self._results(progress)}
            return answer(body, operation.success, headers)

        return handle

    def _results(self, progress: Progress) -> list[dict[str, Any]]:
        if not progress.tasks and progress.job.target == ANY:
            until = timestamp(progress.job.expires)
            reason = f"no node has taken it yet; it runs on the first that can, until {until}"
            if time.time() > progress.job.expires:
                reason = f"no node had taken it when it expired at {until}"
                return [{"hostname": ANY, "status": "expired", "error": reason}]
            return [{"hostname": ANY, "status": "pending", "error": reason}]
        return [task.result() for task in progress.tasks.values()]

    # Jobs and agents

    async def _job(self, request: Request, caller: Caller) -> Response:
        job_id = request.path_params["id"]
        if not _is_uuid(job_id):
            raise InvalidRequest(f"{job_id[:80]!r} is not a job id.", "A job id is a UUID")
        preferences = reading.preferences(request, 0.0, self._longest_wait)
        found = await self._dispatch.job(job_id.lower(), wait=preferences.wait)
        if found is None:
            raise NotFound(f"There is no job {job_id}.", "It may be older than the journal keeps")
        headers = {}
        if preferences.applied:
            headers["Preference-Applied"] = preferences.applied
        return answer(self._describe(*found), headers=headers)

    def _describe(self, progress: Progress, events: list[Event]) -> dict[str, Any]:
        job = progress.job
        tasks = list(progress.tasks.values())
        names = [task.hostname for task in tasks]
        responses: dict[str, dict[str, Any]] = {}
        states: dict[str, dict[str, Any]] = {}
        for task in tasks:
            name = task.hostname if names.count(task.hostname) == 1 else task.machine
            state: dict[str, Any] = {"status": task.status}
            if task.error is not None:
                state["error"] = task.error
            response = state | {"hostname": task.hostname}
            if task.data:
                response["data"] = task.data
            if "changed" in task.data:
                response["changed"] = task.data["changed"]
            if task.started is not None and task.ended is not None:
                state["duration"] = f"{max(0.0, task.ended - task.started):.3f}s"
            responses[name], states[name] = response, state
        described: dict[str, Any] = {
            "id": job.id,
            "status": progress.status,
            "created": timestamp(job.created),
            "updated_at": timestamp(progress.updated),
            "expires": timestamp(job.expires),
            "operation": {"type": job.operation, "data": job.parameters},
            "target": job.target,
            "caller": job.caller,
            "results": self._results(progress),
            "responses": responses,
            "agent_states": states,
            "timeline": [
                {"timestamp": timestamp(job.created), "event": "submitted", "hostname": job.target},
                *_timeline(events),
            ],
        }
        if any("changed" in task.data for task in tasks):
            described["changed"] = any(task.data.get("changed") for task in tasks)
        if len(tasks) == 1:
            described["hostname"] = tasks[0].hostname
            if tasks[0].data:
                described["result"] = tasks[0].data
        errors = [f"{task.hostname}: {task.error}" for task in tasks if task.error is not None]
        if errors:
            described["error"] = "; ".join(errors[:10])
        return described

    async def _agents(self, request: Request, caller: Caller) -> Response:
        members = self._dispatch.fleet.members()
        return answer({"agents": [_agent(member) for member in members], "total": len(members)})

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
        if not dispatch.caught_up:
            return "the index is still catching up with the journal"
        here = [member for member in dispatch.fleet.here() if member.heartbeat is not None]
        if not here:
            return "no node is reachable"
        able = [member for member in here if member.can(DOCKER)]
        if not able:
            return "no reachable node has a Docker Engine"
        troubles = [member.trouble(DOCKER) for member in able]
        if all(troubles):
            return troubles[0]
        return ""

    # Permissions

    def _allowed(self, request: Request, permission: str) -> Caller:
        caller = self._authenticator.authenticate(reading.token(request))
        request.state.caller = caller.subject
        caller.require(permission)
        return caller

    def _guarded(
        self, permission: str, handler: Callable[[Request, Caller], Awaitable[Response]]
    ) -> Handler:
        async def guarded(request: Request) -> Response:
            return await handler(request, self._allowed(request, permission))

        return guarded


def _agent(member: Member) -> dict[str, Any]:
    registration = member.registration
    described: dict[str, Any] = {
        "machine_id": member.machine,
        "hostname": member.hostname,
        "status": "Ready" if member.here else "NotReady",
        "state": "Ready",
        "labels": registration.labels,
        "registered_at": timestamp(registration.registered),
        "started_at": timestamp(registration.started),
        "architecture": registration.architecture,
        "kernel_version": registration.kernel,
        "cpu_count": registration.cpu_count,
        "version": registration.version,
        "last_heard": timestamp(member.heard),
    }
    if member.heartbeat is not None:
        described["capabilities"] = sorted(member.heartbeat.capabilities)
        described["running"] = member.heartbeat.running
        troubles = {name: why for name, why in member.heartbeat.capabilities.items() if why}
        if troubles:
            described["troubles"] = troubles
    return described


def _timeline(events: list[Event]) -> Iterator[dict[str, Any]]:
    """Return what happened; a task that was soon over tells of its start with its end."""
    told: set[str] = set()
    for event in events:
        if event.kind == STARTED and event.machine in told:
            continue
        if event.started is not None and event.machine not in told:
            yield _moment(
                msgspec.structs.replace(event, kind=STARTED, time=event.started, error=None)
            )
        if event.kind == STARTED or event.started is not None:
            told.add(event.machine)
        yield _moment(event)


def _moment(event: Event) -> dict[str, Any]:
    moment = {
        "timestamp": timestamp(event.time),
        "event": event.kind,
    }
    if event.hostname:
        moment["hostname"] = event.hostname
    if event.nodes is not None:
        moment["message"] = f"for {len(event.nodes)} nodes"
    if event.error is not None:
        moment["error"] = event.error
    return moment


def _is_uuid(text: str) -> bool:
    groups = text.split("-")
    return [len(group) for group in groups] == [8, 4, 4, 4, 12] and all(
        character in "0123456789abcdefABCDEF" for character in "".join(groups)
    )


class _ByMethod:
    """Picks a path's handler by the request's method."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers
        self._allow = ", ".join(sorted(handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        handler = self._handlers.get(request.method)
        if handler is None:
            error = MethodNotAllowed(
                f"{request.method[:20]} is not a method of this path.", f"It has: {self._allow}"
            )
            response = refusal(error)
            response.headers["Allow"] = self._allow
        else:
            response = await handler(request)
        await response(scope, receive, send)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound(
        f"There is nothing at {scope['path'][:120]!r}.", "GET /openapi.json tells what there is"
    )


class _Edge:
    """Around everything: paths as they were sent, one log line a request, no error unanswered."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        # Routes match the path as it was sent: a %2F inside a target is no separator.
        raw = scope.get("raw_path")
        if raw and b"%" in raw:
            scope["path"] = raw.decode("ascii", "replace")
        scope["state"] = {}
        started = time.perf_counter()
        status = 0

        async def watch(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, watch)
        except TowlineError as error:
            scope["state"].setdefault("job", error.job_id)
            await refusal(error)(scope, receive, watch)
        except Exception:
            reference = secrets.token_hex(6)
            log.exception("request broke off", reference=reference, path=scope["path"])
            if status == 0:
                fault = TowlineError(
                    "Something unexpected went wrong.", f"The log has it under {reference}"
                )
                await refusal(fault)(scope, receive, watch)
        state = scope["state"]
        # Probes ask every second: they would drown what matters.
        record = log.debug if scope["path"].startswith("/health") else log.info
        record(
            "request",
            method=scope["method"],
            path=scope["path"][:300],
            status=status,
            caller=state.get("caller"),
            job=state.get("job"),
            milliseconds=round((time.perf_counter() - started) * 1000, 2),
        )
