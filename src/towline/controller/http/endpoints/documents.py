"""`/openapi.json` and `/docs`: the whole API, for programs and for people."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from towline import __version__
from towline.controller.http.app import OpenRoute
from towline.controller.http.documentation import DOCUMENTATION_PAGE
from towline.controller.http.middleware import JSON
from towline.controller.http.openapi import document
from towline.operation import catalog


class Documents:
    """The endpoints that describe all others; the description is made once."""

    def __init__(self) -> None:
        self._openapi = msgspec.json.encode(document(catalog, __version__))

    def routes(self) -> list[OpenRoute]:
        """Return the routes."""
        return [
            OpenRoute("GET", "/openapi.json", self._description),
            OpenRoute("GET", "/docs", self._page),
        ]

    async def _description(self, request: Request) -> Response:
        return Response(self._openapi, media_type=JSON)

    async def _page(self, request: Request) -> Response:
        return Response(DOCUMENTATION_PAGE, media_type="text/html")
