"""`GET /agent`: the registered nodes, all or some, or what has changed about them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import target as parsed
from towline.endpoints.nodes import READS, AgentView, summary, view
from towline.errors import InvalidRequest, NoNodes
from towline.wire.target import Label

if TYPE_CHECKING:
    from towline.controller.fleet import Fleet
    from towline.controller.permissions import Bounds

SLICE = 200
"""Nodes that are put together at a time: others are answered between them."""


class Agents(msgspec.Struct, frozen=True, omit_defaults=True):
    """Registered nodes."""

    agents: list[AgentView]
    total: Annotated[int, Meta(description="How many these are.")]
    cursor: Annotated[
        str, Meta(description="As `after` it asks for what has changed since this answer.")
    ] = ""
    changes: Annotated[
        bool,
        Meta(description="Whether these are only what has changed since `after`, and not all."),
    ] = False
    gone: Annotated[
        list[str],
        Meta(
            description="With `changes`: the machine ids of nodes that were removed since `after`, "
            "or have changed and are none of those that are asked for, be it that they never were."
        ),
    ] = []


@endpoint(
    "agent.list", "GET /agent", permission=READS, narrows=True, command=None, typed="node list"
)
async def list_nodes(
    context: Context,
    *,
    target: Annotated[
        str | None,
        Meta(
            description="Nodes that this target means. One that means none is a 400.",
            examples=["group:web,!db-01"],
        ),
    ] = None,
    label: Annotated[
        str | None,
        Meta(
            description="Nodes that carry this label, KEY:VALUE, or one below it; of several, "
            "separated by commas, all. There may be none.",
            examples=["group:web,zone:eu"],
        ),
    ] = None,
    status: Annotated[
        Literal["Ready", "NotReady"] | None, Meta(description="Nodes that are here, or away.")
    ] = None,
    brief: Annotated[
        bool,
        Meta(
            description="Leave out facts and figures of the machine, the timeline, and conditions "
            "of which the status is false."
        ),
    ] = False,
    after: Annotated[
        str | None,
        Meta(
            description="`cursor` of an answer: only what has changed since, of what lists show; "
            "last_heard is no change. All nodes, where that is not known, or with a permission "
            "that is narrowed.",
        ),
    ] = None,
) -> Agents:
    """All registered nodes; with a permission that is narrowed to some nodes, these."""
    controller, bounds = context.controller, context.caller.bounds(READS)
    fleet, dropped = controller.fleet, controller.budget.dropped
    wanted = _wanted(fleet, bounds, target, label, watched=after is not None)
    # First: what changes while this is answered is in the next answer.
    cursor = controller.changes.cursor()
    # What is gone carries no labels that a narrowed permission could be held against.
    changed = None if after is None or not bounds.everywhere else controller.changes.since(after)
    if changed is None:
        members = list(fleet.some(fleet.inside(bounds)))
    else:
        members = [each for machine in changed.machines if (each := fleet.get(machine)) is not None]
    found = [
        member
        for member in members
        if (wanted is None or member.machine in wanted)
        and (status is None or member.here is (status == "Ready"))
    ]
    views = []
    for number, member in enumerate(found, 1):
        views.append((summary if brief else view)(member, dropped[member.machine]))
        if number % SLICE == 0:
            await asyncio.sleep(0)
    if changed is None:
        return Agents(views, len(views), cursor)
    others = {*changed.machines, *changed.gone} - {member.machine for member in found}
    return Agents(views, len(views), cursor, changes=True, gone=sorted(others))


def _wanted(
    fleet: Fleet, bounds: Bounds, named: str | None, labels: str | None, *, watched: bool
) -> frozenset[str] | None:
    """Return the machine ids of the nodes that a list is asked for; None for all.

    Args:
        bounds: how far the caller may read nodes.
        watched: whether a list of these was given before, so that there may be none by now.

    Raises:
        InvalidRequest: what is asked for is no target or no label, or the target means no node.
        NoNodes: there is none at all.
    """
    found: list[frozenset[str]] = []
    if named is not None:
        aim = parsed(named)
        try:
            found.append(fleet.meant_by(aim, bounds))
        except (InvalidRequest, NoNodes):
            if not watched:
                raise
            found.append(frozenset())
    for text in [] if labels is None else labels.split(","):
        label = parsed(text)
        if not isinstance(label, Label):
            raise InvalidRequest(
                f"{text[:80]!r} is not a label, which is KEY:VALUE.",
                "target takes whatever a target may be; see docs/cli.md",
            )
        found.append(fleet.names.carrying(label))
    return None if not found else frozenset.intersection(*found)
