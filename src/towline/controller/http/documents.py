"""`/openapi.json` and `/docs`: the whole API, for programs and for people."""

from __future__ import annotations

import hashlib
import sys
from importlib import resources

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from towline import __version__
from towline.controller.http.app import PREFIXES, OpenRoute
from towline.controller.http.middleware import JSON
from towline.controller.http.openapi import document
from towline.controller.http.presentation import presented
from towline.operation import catalog

DESCRIPTION = "/openapi.json"

DOMAINS = {
    "agent": "The nodes: who is here, what they are, and which take no more work.",
    "event": "What happens in all jobs, as it happens.",
    "health": "Whether a controller is alive, and whether a job would work.",
    "job": "What was asked for: how far it is, and what may be done about it.",
    "registry": "Credentials of registries, which are kept for pulls and shown to nobody.",
    "version": "What answers.",
}
"""What the controller's own domains are about; an operation's module says that itself."""

PAGE = resources.files("towline.controller.http") / "page"

HEADERS = {
    # What a browser keeps it asks for again, and is sent again only if it has changed.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # The page loads what is served beside it and nothing else, and runs nothing inline.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class Document:
    """Answers everybody with the same as long as the controller runs.

    Args:
        content: what it answers.
        media_type: what that is.
    """

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._media_type = media_type
        # Weak, since a compressed answer has the same.
        self._headers = {**HEADERS, "ETag": f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'}

    async def answer(self, request: Request) -> Response:
        """Return the content, or 304 to those who have it."""
        if self._headers["ETag"] in request.headers.get("If-None-Match", ""):
            return Response(None, 304, self._headers)
        return Response(self._content, 200, self._headers, self._media_type)


def document_routes() -> list[OpenRoute]:
    """Return the routes of the OpenAPI document, and of the page that shows it."""
    described = document(catalog, __version__)
    domains = DOMAINS | {
        operation.domain: (sys.modules[operation.function.__module__].__doc__ or "").split("\n")[0]
        for operation in catalog
    }
    served = {
        prefix: Document(msgspec.json.encode(presented(described, domains, prefix)), JSON)
        for prefix in PREFIXES
    }

    async def answer(request: Request) -> Response:
        return await served[request.url.path.removesuffix(DESCRIPTION)].answer(request)

    return [
        OpenRoute("GET", DESCRIPTION, answer),
        _file("/docs", "page.html", "text/html"),
        _file("/docs/page.css", "page.css", "text/css"),
        _file("/docs/page.js", "page.js", "text/javascript"),
        _file("/docs/swagger-ui.css", "swagger-ui/swagger-ui.css", "text/css"),
        _file("/docs/swagger-ui.js", "swagger-ui/swagger-ui-bundle.js", "text/javascript"),
    ]


def _file(path: str, name: str, media_type: str) -> OpenRoute:
    return OpenRoute("GET", path, Document((PAGE / name).read_bytes(), media_type).answer)
