"""`/trust`: which keys the fleet stands on, and which nodes do not know them yet."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import View

READS = "trust:read"
MOST_NAMED = 20
"""Nodes that are named of each kind."""


class KeysView(View, frozen=True, kw_only=True):
    """The keys of one kind, by what is public of them."""

    kind: Annotated[str, Meta(description="As towline trust rotate calls it.", examples=["jobs"])]
    keys: Annotated[list[str], Meta(description="Their ids; the first is the one that is used.")]
    nodes_behind: Annotated[
        int,
        Meta(description="Nodes that are here and don't know just these; the next step waits."),
    ] = 0
    behind: Annotated[list[str], Meta(description="Hostnames of these, the first 20 of them.")] = []  # noqa: RUF012
    obstacle: Annotated[
        str, Meta(description="Why the next step waits beside for nodes; empty where it doesn't.")
    ] = ""


class TrustView(View, frozen=True, kw_only=True):
    """The keys of the controller that answers, and the nodes that are here."""

    kinds: list[KeysView]
    nodes_here: int


@endpoint("trust.status", "GET /trust", permission=READS, command=None, typed="trust status")
async def status(context: Context) -> TrustView:
    """Which keys this controller has, and which nodes do not know them yet."""
    controller = context.controller
    found = []
    for kind in controller.key_kinds:
        behind = controller.key_kinds.behind(kind.name)
        named = [member.hostname for member in behind[:MOST_NAMED]]
        found.append(
            KeysView(
                kind=kind.name,
                keys=[*kind.ids()],
                nodes_behind=len(behind),
                behind=named,
                obstacle=kind.obstacle(),
            )
        )
    return TrustView(kinds=found, nodes_here=controller.fleet.size)
