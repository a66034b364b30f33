"""`/health`: whether the controller is alive, and whether a job would work."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.controller.fleet import Fleet
from towline.controller.http.app import OpenRoute
from towline.controller.http.middleware import answer
from towline.controller.jobs.indexer import Indexer
from towline.operation import NODE

DOCKER = "docker"


class Health:
    """The endpoints of health; probes ask them without a token."""

    def __init__(
        self, jetstream: JetStream, nodes: Connection, indexer: Indexer, fleet: Fleet
    ) -> None:
        self._jetstream = jetstream
        self._nodes = nodes
        self._indexer = indexer
        self._fleet = fleet

    def routes(self) -> list[OpenRoute]:
        """Return the routes."""
        return [
            OpenRoute("GET", "/health", self._alive),
            OpenRoute("GET", "/health/ready", self._ready),
        ]

    async def _alive(self, request: Request) -> Response:
        return answer({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        trouble = self._trouble()
        if trouble:
            return answer({"status": "not ready", "error": trouble}, 503)
        return answer({"status": "ready"})

    def _trouble(self) -> str:
        """Return why a pull would not work just now, or ""."""
        if not self._jetstream.connection.connected:
            return f"the broker is out of reach: {self._jetstream.connection.last_error}"
        if not self._nodes.connected:
            return f"the nodes' broker is out of reach: {self._nodes.last_error}"
        if self._jetstream.trouble:
            return f"the broker did not store what it was given last: {self._jetstream.trouble}"
        if self._indexer.trouble:
            return self._indexer.trouble
        if not self._indexer.caught_up:
            return "the index is still catching up with the journal"
        here = [member for member in self._fleet.here() if member.heartbeat is not None]
        if not here:
            return "no node is reachable"
        troubles = [member.trouble(NODE) for member in here]
        if all(troubles):
            return troubles[0]
        able = [member for member in here if member.can(DOCKER)]
        if not able:
            return "no reachable node has a Docker Engine"
        troubles = [member.trouble(DOCKER) for member in able]
        if all(troubles):
            return troubles[0]
        return ""
