"""`/health`, `/version`: whether the controller is alive, whether a job would work, what it is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from towline import __version__
from towline.controller import health
from towline.controller.auth import Caller
from towline.controller.http.app import OpenRoute, Route
from towline.controller.http.middleware import answer
from towline.endpoints.health import Version


class Health:
    """The endpoints of health; probes ask most of them without a token."""

    def __init__(self, health: health.Health) -> None:
        self._health = health

    def routes(self) -> list[OpenRoute | Route]:
        """Return the routes."""
        return [
            OpenRoute("GET", "/health", self._alive),
            OpenRoute("GET", "/health/ready", self._ready),
            Route("GET", "/health/status", "health:read", self._status),
            OpenRoute("GET", "/version", self._version),
        ]

    async def _alive(self, request: Request) -> Response:
        return answer({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        trouble = self._health.trouble
        if trouble:
            return answer({"status": "not ready", "error": trouble}, 503)
        return answer({"status": "ready"})

    async def _status(self, request: Request, caller: Caller) -> Response:
        found = await self._health.status()
        return answer(found, 200 if found.status == "ok" else 503)

    async def _version(self, request: Request) -> Response:
        return answer(Version(__version__))
