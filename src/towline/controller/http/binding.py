"""Endpoints over HTTP: a request becomes the call of a function, what it returns an answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from towline.controller.asker import asking
from towline.controller.auth import Authenticator, Caller
from towline.controller.http import request as reading
from towline.controller.http.limits import Callers
from towline.controller.http.middleware import answer, refusal
from towline.endpoint import (
    EVENT_STREAM,
    LAST,
    AnyEndpoint,
    Context,
    Event,
    NothingMore,
    Stream,
    encoded,
)
from towline.errors import InvalidRequest, TowlineError
from towline.signature import Place

if TYPE_CHECKING:
    from towline.controller.controller import Controller

KEEP_ALIVE = 15.0
"""Seconds of silence after which a stream has a sign of life: proxies cut what is silent."""
FIRST_WITHIN = 0.25
"""Seconds that a stream has for its first event, or for refusing, before its answer begins."""
_ENDS = (StopAsyncIteration, NothingMore)
"""How a stream ends."""


class Binding:
    """One endpoint as it answers over HTTP.

    Args:
        controller: what the endpoint's function is lent.
        callers: what each caller has under way.
    """

    def __init__(
        self,
        endpoint: AnyEndpoint,
        authenticator: Authenticator,
        controller: Controller,
        callers: Callers,
    ) -> None:
        self.endpoint = endpoint
        self._authenticator = authenticator
        self._controller = controller
        self._callers = callers
        signature = endpoint.signature
        self._placed = signature.names(Place.PATH)
        self._needs_query = any(each.required for each in signature.at(Place.QUERY))
        self._headed = [
            (each.name, each.header, each.default) for each in signature.at(Place.HEADER)
        ]

    async def __call__(self, request: Request) -> Response:
        """Answer a request; raises `TowlineError` where it is refused."""
        state = request.scope["state"]
        state["endpoint"] = self.endpoint
        if self.endpoint.open:
            if self.endpoint.method != "GET":
                self._callers.machine(request.client.host if request.client else "")
            return await self._call(request, None)
        token = reading.token(request)
        await self._authenticator.prepare(token)
        caller = self._authenticator.authenticate(token)
        if not self._controller.tokens.known.is_set():
            await self._controller.tokens.until_known()
            caller = self._authenticator.authenticate(token)
        state["caller"] = caller
        with self._callers.request(caller.subject):
            return await self._call(request, caller)

    async def _call(self, request: Request, caller: Caller | None) -> Response:
        endpoint = self.endpoint
        context = Context(self._controller, caller, request.headers)
        request.scope["state"]["context"] = context
        if caller is not None and endpoint.permission is not None and not endpoint.owned:
            caller.require(endpoint.permission)
            if not endpoint.narrows:
                caller.require_whole(endpoint.permission)
        arguments = await self._arguments(request)
        try:
            if endpoint.once is not None and reading.wants_json(request):
                return self._answer(context, await endpoint.once(context, **arguments))
            if isinstance(endpoint, Stream):
                return await self._stream(context, caller, arguments)
            with asking(request.scope.get("asker")):
                return self._answer(context, await endpoint.function(context, **arguments))
        except NothingMore:
            return Response(status_code=204)
        except TowlineError as error:
            if not context.applied or error.job_id is None:
                raise
            # A job that was made, and failed: the request waited for it as it asked to.
            request.scope["state"]["job"] = error.job_id
            refused = refusal(error)
            refused.headers["Preference-Applied"] = context.applied
            return refused
        finally:
            if context.job is not None:
                request.scope["state"]["job"] = context.job

    def _answer(self, context: Context, result: object) -> Response:
        headers = {}
        if context.location is not None:
            headers["Location"] = context.location
        if context.etag is not None:
            headers["ETag"] = context.etag
        if context.applied:
            headers["Preference-Applied"] = context.applied
        status = context.status or self.endpoint.success[0]
        if result is None:
            return Response(status_code=status, headers=headers)
        return answer(result, status, headers)

    async def _stream(
        self, context: Context, caller: Caller | None, arguments: dict[str, Any]
    ) -> Response:
        def holds() -> bool:
            return caller is None or self._authenticator.holds(caller)

        with contextlib.ExitStack() as following:
            if caller is not None:
                following.enter_context(self._callers.stream(caller.subject))
            events = self.endpoint.function(context, **arguments)
            if not isinstance(events, AsyncIterator):
                events = await events
            first = asyncio.ensure_future(anext(events))
            # What a generator refuses before its first event is an answer of its own.
            await asyncio.wait([first], timeout=FIRST_WITHIN)
            error = first.exception() if first.done() else None
            if error is not None and not isinstance(error, StopAsyncIteration):
                raise error
            counted = following.pop_all()
            return _Streamed(events, first, self._controller.stopping, counted, holds)

    async def _arguments(self, request: Request) -> dict[str, Any]:
        """Return the function's keyword arguments.

        Raises:
            InvalidRequest, BodyTooLarge, UnsupportedMediaType: with what is wrong and the mend.
        """
        signature = self.endpoint.signature
        texts = {name: _unquoted(request, name) for name in self._placed}
        values = self._read(Place.PATH, texts) if texts else {}
        if request.scope["query_string"] or self._needs_query:
            values |= self._read(Place.QUERY, reading.query(request))
        values |= self._headers(request)
        if signature.takes_file:
            fields, files = await reading.form(request, signature.names(Place.PART))
            values |= self._read(Place.BODY, fields) | self._read(Place.PART, files)
        elif signature.has_body:
            required = signature.needs_body
            body = await reading.body(request, self._wanted, required=required)
            values |= self._read(Place.BODY, body, strict=True)
        return signature.arguments(values)

    def _read(self, place: Place, given: dict[str, Any], *, strict: bool = False) -> dict[str, Any]:
        try:
            return self.endpoint.signature.read(place, given, strict=strict)
        except msgspec.ValidationError as error:
            where = {Place.PART: "body is", Place.HEADER: "headers are"}.get(
                place, f"{place.value} is"
            )
            raise InvalidRequest.because(
                f"The request's {where} not valid", error, self._takes
            ) from error
        except ValueError as error:
            raise InvalidRequest.because("A parameter is not valid", error, self._takes) from error

    def _headers(self, request: Request) -> dict[str, Any]:
        sent = {name for name, _ in request.scope["headers"]}
        given: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for name, header, default in self._headed:
            if header.key not in sent:
                if default is msgspec.NODEFAULT:
                    raise InvalidRequest(
                        f"The header {header.name} is missing.", header.mend or self._takes
                    )
                given[name] = default
                continue
            try:
                value = header.read(request.headers.getlist(header.name))
            except ValueError as error:
                raise InvalidRequest.because(
                    f"The header {header.name} is not valid", error, header.mend
                ) from error
            if value is not None:
                values[name] = value
        return given | self._read(Place.HEADER, values, strict=True) if values else given

    @property
    def _takes(self) -> str:
        """What the endpoint takes, for whoever has sent something else."""
        signature = self.endpoint.signature
        places = {
            "in the query": signature.names(Place.QUERY),
            "in the body": signature.names(Place.BODY) + signature.names(Place.PART),
            "in headers": [
                f"{parameter.name} as {parameter.header.name}"
                for parameter in signature.at(Place.HEADER)
            ],
        }
        known = [f"{', '.join(names)} {where}" for where, names in places.items() if names]
        return f"{self.endpoint.label} takes: {'; '.join(known) or '-'}"

    @property
    def _wanted(self) -> str:
        names = ", ".join(self.endpoint.signature.names(Place.BODY)) or "-"
        return f"Send a JSON object with the parameters of {self.endpoint.label}: {names}"


def _unquoted(request: Request, name: str) -> str:
    try:
        return unquote(request.path_params[name], errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidRequest.because(
            f"The parameter {name!r} in the path is not UTF-8", error
        ) from error


class _Streamed(StreamingResponse):
    """The events of a stream until they end, their client hangs up, or the controller stops.

    The next event is waited for by a task of its own: a sign of life must not break off the wait.

    Args:
        following: the next event.
        counted: closed when the stream has ended.
        holds: whether the token that the stream was asked for with is still good: it is looked at
            before each event and each sign of life.
    """

    def __init__(
        self,
        events: AsyncIterator[Event[Any]],
        following: asyncio.Future[Event[Any]],
        stopping: asyncio.Event,
        counted: contextlib.ExitStack,
        holds: Callable[[], bool],
    ) -> None:
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(self._sent(), media_type=EVENT_STREAM, headers=headers)
        self._events = events
        self._following = following
        self._stopping = stopping
        self._counted = counted
        self._holds = holds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] == "HEAD":
                start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                await send(start)
                await send({"type": "http.response.body"})
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._counted.close()
            # Here, where nothing is being cancelled: what the function has to close takes its time.
            # A client may have hung up before the first byte was asked for.
            self._following.cancel()
            found = await asyncio.gather(self._following, return_exceptions=True)
            if hasattr(self._events, "aclose"):
                await self._events.aclose()
            for error in found:
                if isinstance(error, Exception) and not isinstance(error, _ENDS):
                    raise error

    async def _sent(self) -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        stopped = asyncio.create_task(self._stopping.wait())
        kind = ""
        try:
            while True:
                waited: set[asyncio.Future[Any]] = {self._following, stopped}
                done, _ = await asyncio.wait(
                    waited, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED
                )
                if stopped in done or not self._holds():
                    return
                if self._following in done:
                    try:
                        event = self._following.result()
                    except _ENDS:
                        if kind != LAST:
                            # Without data it is no event to a browser. A client knows by it that
                            # the stream was not cut off.
                            yield b"event: %b\n\n" % LAST.encode()
                        return
                    kind = event.kind
                    yield encoded(event)
                    self._following = asyncio.ensure_future(anext(self._events))
                else:
                    yield b": still here\n\n"
        finally:
            stopped.cancel()
