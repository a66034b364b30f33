"""What of a request is written into the audit: who, from where, what, and what became of it."""

from __future__ import annotations

import time
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.types import Scope

from towline.controller.audit.entry import Request
from towline.controller.audit.trail import Trail
from towline.controller.auth import Caller
from towline.controller.http.limits import Network, client_of, origin
from towline.controller.http.middleware import shown
from towline.endpoint import AnyEndpoint, Context, traceparent
from towline.runtime.redaction import strike, suspicious
from towline.wire.fields import EARLIEST

REFUSED = (401, 403)
"""The statuses of what was refused for want of a token or a permission."""
LONGEST = 300
MOST_ROLES = 20
"""Characters of a text in an entry, and roles: whoever sends a request fills no journal."""


class Auditor:
    """Records requests that were to change something, and those that were refused.

    Values of parameters stand in no entry: they may be secrets. What a job was to do stands with
    the job. In what the path names it is struck out what looks like one.

    Args:
        proxies: those whose word counts on where a request comes from.
    """

    def __init__(self, trail: Trail, proxies: tuple[Network, ...]) -> None:
        self._trail = trail
        self._proxies = proxies

    def __call__(self, scope: Scope, status: int, milliseconds: int) -> None:
        """Take a request that was answered."""
        state = scope["state"]
        endpoint: AnyEndpoint | None = state.get("endpoint")
        if endpoint is None or not (endpoint.method != "GET" or status in REFUSED):
            return
        headers = Headers(scope=scope)
        caller: Caller | None = state.get("caller")
        context: Context | None = state.get("context")
        if context is not None and context.looks and status not in REFUSED:
            return
        trace = traceparent(headers) if context is None else context.trace
        connected = scope["client"][0] if scope.get("client") else ""
        address = client_of(connected, headers.getlist("x-forwarded-for"), self._proxies)
        named = scope.get("path_params", {}).values()
        request = Request(
            time=max(EARLIEST, time.time()),
            caller=_text(caller.subject) if caller else "",
            roles=[_text(role) for role in caller.roles[:MOST_ROLES]] if caller else [],
            token=caller.token_id if caller else "",
            address=address.partition("%")[0],
            method=scope["method"],
            path=_text(shown(scope["path"])),
            operation=endpoint.name,
            target=_text(shown(" ".join(unquote(each) for each in named))),
            job=state.get("job") or "",
            made=_text(context.location) if context and context.location else "",
            status=status,
            milliseconds=milliseconds,
            trace=trace[3:35],
        )
        self._trail.add(request, origin(address) if address else "")


def _text(text: str) -> str:
    """Return a text as an entry may have it: without what looks like a token or a password."""
    short = text[:LONGEST]
    if suspicious(short):
        short = strike(short)[:LONGEST]
    return (
        short
        if short.isprintable()
        else "".join(each if each.isprintable() else "?" for each in short)
    )
