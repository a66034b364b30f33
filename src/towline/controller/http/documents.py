"""`/openapi.json` and `/docs`: the whole API, for programs and for people."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from importlib import resources

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from towline import __version__
from towline.controller.http.app import PREFIXES, Paths
from towline.controller.http.middleware import JSON
from towline.controller.http.openapi import document
from towline.controller.http.presentation import presented
from towline.endpoint import AnyEndpoint

DESCRIPTION = "/openapi.json"

DOMAINS = {
    "agent": "The nodes: who is here, what they are, and which take no more work.",
    "event": "What happens in all jobs, as it happens.",
    "health": "Whether a controller is alive, and whether a job would work.",
    "image": "Images: which there are on the nodes, and what can be done with them there.",
    "job": "What was asked for: how far it is, and what may be done about it.",
    "registry": "Credentials of registries, which are kept for pulls and shown to nobody.",
    "set": "Which images ought to be on which nodes: declared, and kept true.",
    "version": "What answers.",
}
"""What the controller's own domains are about; of others their modules say that themselves."""

PAGE = resources.files("towline.controller.http") / "page"

HEADERS = {
    # What a browser keeps it asks for again, and is sent again only if it has changed.
    "Cache-Control": "no-cache",
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


def document_paths(offered: Sequence[AnyEndpoint]) -> Paths:
    """Return the paths of the OpenAPI document, and of the page that shows it.

    Args:
        offered: the endpoints that the document describes.
    """
    described = document(offered, __version__)
    domains = {
        endpoint.domain: (sys.modules[endpoint.function.__module__].__doc__ or "").split("\n")[0]
        for endpoint in offered
    } | DOMAINS
    served = {
        prefix: Document(msgspec.json.encode(presented(described, domains, prefix)), JSON)
        for prefix in PREFIXES
    }

    async def answer(request: Request) -> Response:
        return await served[request.url.path.removesuffix(DESCRIPTION)].answer(request)

    documents = {
        "/docs": _file("page.html", "text/html"),
        "/docs/page.css": _file("page.css", "text/css"),
        "/docs/page.js": _file("page.js", "text/javascript"),
        "/docs/swagger-ui.css": _file("swagger-ui/swagger-ui.css", "text/css"),
        "/docs/swagger-ui.js": _file("swagger-ui/swagger-ui-bundle.js", "text/javascript"),
    }
    files: Paths = {path: {"GET": each.answer} for path, each in documents.items()}
    return {DESCRIPTION: {"GET": answer}, **files}


def _file(name: str, media_type: str) -> Document:
    return Document((PAGE / name).read_bytes(), media_type)
