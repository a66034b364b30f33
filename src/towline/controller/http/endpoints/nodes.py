"""`/agent`: the registered nodes, and whether they take work."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from towline.controller.auth import Caller
from towline.controller.fleet import Fleet, Member
from towline.controller.http import request as reading
from towline.controller.http import views
from towline.controller.http.app import Route
from towline.controller.http.middleware import answer
from towline.controller.presence import Presence
from towline.errors import Conflict, InvalidRequest
from towline.units import timestamp
from towline.wire.node import NodeState
from towline.wire.target import Hostname


class Nodes:
    """The endpoints of nodes."""

    def __init__(self, fleet: Fleet, presence: Presence) -> None:
        self._fleet = fleet
        self._presence = presence

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/agent", "agent:read", self._list),
            Route("GET", "/agent/{hostname}", "agent:read", self._get),
            Route("POST", "/agent/{hostname}/drain", "agent:write", self._drain),
            Route("POST", "/agent/{hostname}/undrain", "agent:write", self._undrain),
        ]

    async def _list(self, request: Request, caller: Caller) -> Response:
        members = self._fleet.members()
        return answer(
            {"agents": [views.agent(member) for member in members], "total": len(members)}
        )

    async def _get(self, request: Request, caller: Caller) -> Response:
        return answer(views.agent(self._member(request)))

    async def _drain(self, request: Request, caller: Caller) -> Response:
        member = self._member(request)
        if member.drained is not None:
            raise Conflict(
                f"{member.hostname} is drained already, since {timestamp(member.drained)}, "
                f"by {member.state.by}.",
                f"POST /agent/{member.hostname}/undrain lets it work again",
            )
        now = time.time()
        await self._presence.set_state(member, NodeState(now, caller.subject, now))
        running = member.heartbeat.running if member.heartbeat else 0
        rest = f"; {running} tasks run to their end" if running else ""
        return answer({"message": f"{member.hostname} takes no more work{rest}."})

    async def _undrain(self, request: Request, caller: Caller) -> Response:
        member = self._member(request)
        if member.drained is None:
            raise Conflict(
                f"{member.hostname} is not drained: it takes work already.",
                f"POST /agent/{member.hostname}/drain lets it take no more",
            )
        await self._presence.set_state(member, NodeState(None, caller.subject, time.time()))
        return answer({"message": f"{member.hostname} takes work again."})

    def _member(self, request: Request) -> Member:
        target = reading.target(request)
        if not isinstance(target, Hostname):
            raise InvalidRequest(
                f"{str(target)!r} is not one node: name it by its hostname or its machine id.",
                "GET /agent, or towline nodes, lists those that are registered",
            )
        return self._fleet.one(target.name)
