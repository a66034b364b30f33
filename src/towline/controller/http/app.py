"""The HTTP application: routes, put together behind tokens and permissions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import msgspec
from starlette import routing
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from towline.controller.auth import Authenticator, Caller
from towline.controller.http import request as reading
from towline.controller.http.middleware import ByMethod, Edge, Handler, nowhere

PREFIXES = ("", "/api")
"""Every route answers below each of these: some clients put `/api` in front."""
WORTH_COMPRESSING = 1024
"""Bytes: less fits into one packet anyhow."""
COMPRESSION = 1
"""zlib's level: the results of 150 nodes, 25 kB, become 5.6 kB in 0.17 ms of the event loop; level
9 takes five times as long for 4.9 kB."""


class Route(msgspec.Struct, frozen=True):
    """A route that needs a token.

    Attributes:
        method: the HTTP method.
        path: with its placeholders in braces.
        permission: what the token needs; None where the handler decides by what is asked.
        handle: answers a request of an authenticated caller.
    """

    method: str
    path: str
    permission: str | None
    handle: Callable[[Request, Caller], Awaitable[Response]]


class OpenRoute(msgspec.Struct, frozen=True):
    """A route that everybody may ask."""

    method: str
    path: str
    handle: Handler


def application(authenticator: Authenticator, routes: Iterable[Route | OpenRoute]) -> ASGIApp:
    """Return the ASGI application of these routes."""
    paths: dict[str, dict[str, Handler]] = {}
    for route in routes:
        handler = route.handle if isinstance(route, OpenRoute) else _guarded(authenticator, route)
        for prefix in PREFIXES:
            paths.setdefault(prefix + route.path, {})[route.method] = handler
    # Fixed segments before placeholders, or GET /job/{id} would hide a later GET /job/status.
    ordered = sorted(paths, key=lambda path: path.replace("{", "~"))
    table = [routing.Route(path, ByMethod(paths[path])) for path in ordered]
    router = routing.Router(table, redirect_slashes=False, default=nowhere)
    # It leaves streams of events alone: they would come late.
    return Edge(GZipMiddleware(router, WORTH_COMPRESSING, COMPRESSION))


def _guarded(authenticator: Authenticator, route: Route) -> Handler:
    async def guarded(request: Request) -> Response:
        caller = authenticator.authenticate(reading.token(request))
        request.state.caller = caller.subject
        if route.permission is not None:
            caller.require(route.permission)
        return await route.handle(request, caller)

    return guarded
