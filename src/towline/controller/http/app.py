"""The HTTP application: routes, put together behind tokens and permissions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette import routing
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from towline.controller.http.binding import Binding
from towline.controller.http.middleware import ByMethod, Edge, Handler, nowhere
from towline.endpoint import AnyEndpoint
from towline.errors import InvalidConfiguration
from towline.signature import PLACEHOLDER

PREFIXES = ("", "/api")
"""Every route answers below each of these: some clients put `/api` in front."""
WORTH_COMPRESSING = 1024
"""Bytes: less fits into one packet anyhow."""
COMPRESSION = 1
"""zlib's level: the results of 150 nodes, 25 kB, become 5.6 kB in 0.17 ms of the event loop; level
9 takes five times as long for 4.9 kB."""

_NO_GZIP = re.compile(r"gzip[ \t]*;[ \t]*q=0(?:\.0*)?[ \t]*(?:,|$)", re.IGNORECASE)

Paths = dict[str, dict[str, Handler]]
"""What answers, by path and method."""


def bound(bindings: Iterable[Binding], documents: Paths) -> Paths:
    """Return the paths of these endpoints, and of documents.

    Raises:
        InvalidConfiguration: two of them have the same route.
    """
    paths: Paths = dict(documents)
    known = {f"{method} {path}": path for path, found in documents.items() for method in found}
    shapes: dict[str, AnyEndpoint] = {}
    for binding in bindings:
        endpoint = binding.endpoint
        shape = PLACEHOLDER.sub("{}", endpoint.path)
        route = f"{endpoint.method} {shape}"
        if route in known:
            raise InvalidConfiguration(
                f"{endpoint.method} {endpoint.path} would be answered twice: by {endpoint.name}, "
                f"and by {known[route]}.",
                f"Give {endpoint.name} another route",
            )
        known[route] = endpoint.name
        other = shapes.setdefault(shape, endpoint)
        if other.path != endpoint.path:
            raise InvalidConfiguration(
                f"{endpoint.name} and {other.name} call a placeholder of the same path "
                f"differently: {endpoint.path} and {other.path}.",
                "Give it the same name in both",
            )
        paths.setdefault(endpoint.path, {})[endpoint.method] = binding
    return paths


def application(paths: Paths) -> ASGIApp:
    """Return the ASGI application that answers at these paths."""
    tables: dict[str, list[routing.BaseRoute]] = {}
    # Fixed segments before placeholders, or GET /job/{id} would hide a later GET /job/status.
    for path in sorted(paths, key=lambda path: path.replace("{", "~")):
        table = tables.setdefault(_first(path), [])
        table.append(routing.Route(path, ByMethod(paths[path])))
    routers: dict[str, ASGIApp] = {
        first: routing.Router(table, redirect_slashes=False, default=nowhere)
        for first, table in tables.items()
    }

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        for prefix in PREFIXES[1:]:
            if path.startswith(f"{prefix}/"):
                scope = {**scope, "root_path": prefix}
                path = path.removeprefix(prefix)
        # A router looks at each of its routes: those that begin with the same segment are few.
        await routers.get(_first(path), nowhere)(scope, receive, send)

    # It leaves streams of events alone: they would come late.
    compressed = GZipMiddleware(route, WORTH_COMPRESSING, COMPRESSION)

    async def encode(scope: Scope, receive: Receive, send: Send) -> None:
        if _refuses_gzip(scope):
            # It looks for the word alone.
            headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
            scope = {**scope, "headers": headers}
        await compressed(scope, receive, send)

    return Edge(encode)


def _refuses_gzip(scope: Scope) -> bool:
    """Return whether a client names gzip as what it does not accept (RFC 9110, 12.4.2)."""
    accepted = ",".join(Headers(scope=scope).getlist("accept-encoding"))
    return _NO_GZIP.search(accepted) is not None


def _first(path: str) -> str:
    """Return the first segment of a path; "" where it has none."""
    return path.partition("/")[2].partition("/")[0]
