"""The edge of the HTTP application: answers, errors, methods, and the log line of a request."""

from __future__ import annotations

import re
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from towline.errors import MethodNotAllowed, NotFound, TowlineError

log = structlog.get_logger()

JSON = "application/json"
_BEFORE_AT = re.compile("[^/]+(?:@|%40)", re.IGNORECASE)

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


class ByMethod:
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


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for paths that nothing is at."""
    raise NotFound(
        f"There is nothing at {scope['path'][:120]!r}.", "GET /openapi.json tells what there is"
    )


def _shown(path: str) -> str:
    """Return a path as logs may have it: what stands before an '@' may be a password."""
    return _BEFORE_AT.sub("***@", path[:300])


class Edge:
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
            if status == 0:
                await refusal(error)(scope, receive, watch)
            else:
                log.info("stream ended", path=_shown(scope["path"]), reason=error.error)
        except sqlite3.Error as error:
            log.error("request needs the index", path=_shown(scope["path"]), reason=str(error))
            if status == 0:
                fault = TowlineError(
                    "The index can't be written.", f"{error}; nothing that was accepted is lost"
                )
                await refusal(fault)(scope, receive, watch)
        except Exception:
            reference = secrets.token_hex(6)
            log.exception("request broke off", reference=reference, path=_shown(scope["path"]))
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
            path=_shown(scope["path"]),
            status=status,
            caller=state.get("caller"),
            job=state.get("job"),
            milliseconds=round((time.perf_counter() - started) * 1000, 2),
        )
