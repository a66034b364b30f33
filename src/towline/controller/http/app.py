"""The HTTP application: routes, put together behind tokens and permissions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from towline.controller.http.binding import Binding
from towline.controller.http.middleware import Audited, ByMethod, Edge, Handler
from towline.endpoint import AnyEndpoint
from towline.errors import InvalidConfiguration, NotFound
from towline.signature import PLACEHOLDER

PREFIXES = ("", "/api")
"""Every route answers below each of these: some clients put `/api` in front."""

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


def application(paths: Paths, audited: Audited | None = None) -> ASGIApp:
    """Return the ASGI application that answers at these paths.

    Args:
        audited: see `Edge`.
    """
    tables: dict[str, list[tuple[re.Pattern[str], ASGIApp]]] = {}
    # Fixed segments before placeholders, or GET /job/{id} would hide a later GET /job/status.
    for path in sorted(paths, key=lambda path: path.replace("{", "~")):
        table = tables.setdefault(_first(path), [])
        table.append((compile_path(path)[0], ByMethod(paths[path])))

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        for prefix in PREFIXES[1:]:
            if path.startswith(f"{prefix}/"):
                path = path.removeprefix(prefix)
        # Each route is looked at: those that begin with the same segment are few.
        for pattern, answer in tables.get(_first(path), ()):
            found = pattern.match(path)
            if found is not None:
                scope["path_params"] = found.groupdict()
                await answer(scope, receive, send)
                return
        raise NotFound(
            f"There is nothing at {scope['path'][:120]!r}.", "GET /openapi.json lists what there is"
        )

    return Edge(route, audited)


def _first(path: str) -> str:
    """Return the first segment of a path; "" where it has none."""
    return path.partition("/")[2].partition("/")[0]
