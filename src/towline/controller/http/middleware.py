"""The edge of the HTTP application: answers, errors, methods, and the log line of a request."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from towline.errors import MethodNotAllowed, Stopping, TowlineError

log = structlog.get_logger()

JSON = "application/json"
_BEFORE_AT = re.compile("[^/]+(?:@|%40)", re.IGNORECASE)

_NO_GZIP = re.compile(r"gzip[ \t]*;[ \t]*q=0(?:\.0*)?[ \t]*(?:,|$)", re.IGNORECASE)
WORTH_COMPRESSING = 1024
"""Bytes: less fits into one packet anyhow."""
COMPRESSION = 1
"""zlib's level: the results of 150 nodes, 25 kB, become 5.6 kB in 0.17 ms of the event loop; level
9 takes five times as long for 4.9 kB."""

MOST_DISCARDED = 64 * 1024**2
"""Bytes of a body that are received for nothing, so that its client sees the answer: many times as
much as is read, for a client that sends the wrong file."""
DISCARD_WITHIN = 30.0
"""Seconds that this may take."""

RETRY_AFTER = 1
"""Seconds after which what was refused for the moment may be tried again."""

Handler = Callable[[Request], Awaitable[Response]]
Audited = Callable[[Scope, int, int], None]
"""Takes each request that was answered, the status and how many milliseconds it took."""


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(msgspec.json.encode(body), status, headers, JSON)


def refusal(error: TowlineError) -> Response:
    """Return the answer for an error: `error`, `details` and `code`."""
    headers = {}
    if error.code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.passing:
        headers["Retry-After"] = str(RETRY_AFTER)
    details = error.details
    if error.job_id is not None:
        headers["Location"] = f"/job/{error.job_id}"
    body = {"error": error.error, "details": details, "code": error.code}
    return answer(body, error.code, headers)


class ByMethod:
    """Picks a path's handler by the request's method.

    HEAD is answered as GET is, without the content: the server leaves that out (RFC 9110, 9.3.2).
    """

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]
        self._allow = ", ".join(sorted(self._handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        handler = self._handlers.get(request.method)
        if handler is None:
            error = MethodNotAllowed(
                f"{request.method[:20]} is not a method of this path, which has {self._allow}.",
                "GET /openapi.json lists what there is",
            )
            response = refusal(error)
            response.headers["Allow"] = self._allow
        else:
            response = await handler(request)
        answering: ASGIApp = response
        # Streams of events have no body yet: compressed, they would come late.
        if len(getattr(response, "body", b"")) >= WORTH_COMPRESSING:
            if _refuses_gzip(request):
                # It looks for the word alone.
                headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
                scope = {**scope, "headers": headers}
            answering = GZipMiddleware(response, WORTH_COMPRESSING, COMPRESSION)
        await answering(scope, receive, send)


def _refuses_gzip(request: Request) -> bool:
    """Return whether a client names gzip as what it does not accept (RFC 9110, 12.4.2)."""
    accepted = ",".join(request.headers.getlist("accept-encoding"))
    return _NO_GZIP.search(accepted) is not None


def shown(path: str) -> str:
    """Return a path as logs may have it: what stands before an '@' may be a password."""
    return _BEFORE_AT.sub("***@", path[:300])


class _Exchange:
    """A request and its answer: whether the body was read, and what becomes of it otherwise.

    A client that still sends when the server closes gets a reset, and may never see the answer. So
    what it sends after the answer is received and thrown away, up to a bound.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        self._length = int(length) if length.isdigit() else None
        self._unread = bool(self._length) or b"transfer-encoding" in headers
        # Its client waits for the answer before it sends the body.
        self._asks_first = b"expect" in headers
        self.status = 0
        """The status of the answer; 0 before it has begun."""

    async def receive(self) -> Message:
        message = await self._receive()
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message["headers"])
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            if self._unread and not self._discardable:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif self._unread and not message.get("more_body", False) and not self._asks_first:
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body"}
        await self._send(message)

    def hurry(self) -> None:
        """Receive nothing more."""
        self._asks_first = True

    @property
    def _discardable(self) -> bool:
        """Whether the rest of the body is known to be short enough to be thrown away whole."""
        known = self._length is not None and self._length <= MOST_DISCARDED
        return known and not self._asks_first

    async def _discard(self) -> None:
        discarded = 0
        # It is also broken off by a server that has to end.
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(DISCARD_WITHIN):
                while self._unread and discarded < MOST_DISCARDED:
                    discarded += len((await self.receive()).get("body", b""))


class Edge:
    """Around everything: paths as they were sent, one log line a request, no error unanswered.

    Args:
        audited: takes each request that was answered; None where nobody does.
    """

    def __init__(self, application: ASGIApp, audited: Audited | None = None) -> None:
        self._application = application
        self._audited = audited

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
        exchange = _Exchange(scope, receive, send)
        try:
            await self._application(scope, exchange.receive, exchange.send)
        except TowlineError as error:
            scope["state"].setdefault("job", error.job_id)
            if exchange.status == 0:
                await refusal(error)(scope, exchange.receive, exchange.send)
            else:
                log.info("stream ended", path=shown(scope["path"]), reason=error.error)
        except asyncio.CancelledError:
            # The server breaks off what is still under way when it has to end, and nothing else.
            exchange.hurry()
            if exchange.status == 0:
                stopping = Stopping(
                    "The controller was stopped before it could answer.",
                    "Ask again, or another controller; GET /job shows which jobs were made",
                )
                await refusal(stopping)(scope, exchange.receive, exchange.send)
        except sqlite3.Error as error:
            log.error("request needs the index", path=shown(scope["path"]), reason=str(error))
            if exchange.status == 0:
                fault = TowlineError.because(
                    "The controller's index can't be used",
                    error,
                    "Nothing that was accepted is lost",
                )
                await refusal(fault)(scope, exchange.receive, exchange.send)
        except Exception:
            reference = secrets.token_hex(6)
            log.exception("request broke off", reference=reference, path=shown(scope["path"]))
            if exchange.status == 0:
                fault = TowlineError(
                    "Something unexpected went wrong: the controller's log has it "
                    f"under {reference}.",
                    "The request may be sent again",
                )
                await refusal(fault)(scope, exchange.receive, exchange.send)
        milliseconds = (time.perf_counter() - started) * 1000
        if self._audited is not None:
            self._audited(scope, exchange.status, round(milliseconds))
        state = scope["state"]
        # Probes ask every second: they would drown what matters.
        record = log.debug if scope["path"].startswith("/health") else log.info
        record(
            "request",
            method=scope["method"],
            path=shown(scope["path"]),
            status=exchange.status,
            caller=caller.subject if (caller := state.get("caller")) is not None else None,
            job=state.get("job"),
            milliseconds=round(milliseconds, 2),
        )
