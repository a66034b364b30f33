"""`/event`, `/job/{id}/events` and `/job/{id}/progress`: what goes on, as it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
from msgspec import Meta

from towline.endpoint import LAST, Context, Event, NothingMore, endpoint
from towline.endpoints import fields
from towline.endpoints.fields import (
    JobId,
    OfCaller,
    OfNode,
    OfOperation,
    OfTarget,
    Since,
    Uuid,
    View,
    machine,
    moment,
    same_target,
)
from towline.endpoints.views import JobEvent
from towline.errors import NotFound
from towline.signature import Header
from towline.wire.progress import JobProgress, NodeProgress, Total

if TYPE_CHECKING:
    from towline.controller.jobs.state import JobState

READS = "job:read"


class ProgressEvent(View, frozen=True, kw_only=True):
    """What has changed of how far a job is.

    `nodes` has the nodes that have changed; in the last event how many have which status.
    """

    job_id: Uuid
    status: str
    total: Total | None = None
    nodes: list[NodeProgress] | dict[str, int] = msgspec.field(default_factory=list)


def _place(lines: list[str]) -> str:
    if len(lines) > 1:
        raise ValueError("it stands there twice")
    return lines[0]


LastEvent: TypeAlias = Annotated[
    str | None,
    Header("Last-Event-ID", read=_place, mend="Leave one out"),
    Meta(description="The last event that is known: the stream goes on behind it."),
]


@endpoint(
    "job.events",
    "GET /job/{id}/events",
    permission=READS,
    narrows=True,
    success=(200, 204),
    errors=(404,),
    command=None,
    typed="job follow",
)
async def of_job(
    context: Context, *, id: JobId, after: LastEvent = None
) -> AsyncIterator[Event[JobEvent]]:
    """The events of a job so far, then as they come, until it ends."""
    events = context.controller.events
    place = events.place(after)
    state = await _seen(context, id)
    if place is not None and place.ended:
        raise NothingMore
    return events.of_job(state.job, place)


async def _seen(context: Context, id: str) -> JobState:
    """Return the job that a caller asks about, and may."""
    lookup, bounds = context.controller.lookup, context.caller.bounds(READS)
    state, _ = await lookup.named(id, context.caller)
    lookup.check(state, bounds)
    return state


async def _snapshot(
    context: Context, *, id: str, node: str | None = None, after: str | None = None
) -> JobProgress:
    job, only = await _followed(context, id, node)
    return await context.controller.progress.snapshot(job, only)


@endpoint(
    "job.progress",
    "GET /job/{id}/progress",
    permission=READS,
    narrows=True,
    success=(200, 204),
    errors=(404,),
    once=_snapshot,
    command=None,
    typed="job follow",
)
async def progress(
    context: Context,
    *,
    id: JobId,
    node: Annotated[
        str | None, Meta(description="Only this node, by hostname or machine id.")
    ] = None,
    after: LastEvent = None,
) -> AsyncIterator[Event[ProgressEvent]]:
    """How far a job is on each node and in sum, until it ends.

    With `Accept: application/json` one answer: how far it is now. A stream has `progress`, each
    time what has changed, and last `end`.
    """
    job, only = await _followed(context, id, node)
    state = context.controller.lookup.state(job)
    if after == LAST and state is not None and state.done:
        raise NothingMore
    return context.controller.progress.of_job(job, only)


async def _followed(context: Context, id: str, node: str | None) -> tuple[str, str | None]:
    """Return the job whose progress is asked for, and the node where it is that of one."""
    state = await _seen(context, id)
    only = machine(node, context)
    if only is not None and state.tasks and only not in state.tasks:
        raise NotFound(
            f"{node} has no part in job {state.job.id}.",
            f"GET /job/{state.job.id} tells which have",
        )
    return state.job.id, only


@endpoint("event.stream", "GET /event", permission=READS, command=None, typed="job list --follow")
async def of_all(
    context: Context,
    *,
    operation: OfOperation | None = None,
    target: OfTarget | None = None,
    node: OfNode | None = None,
    caller: OfCaller | None = None,
    since: Since | None = None,
    event: Annotated[str | None, Meta(description="Kinds of events, separated by commas.")] = None,
    after: LastEvent = None,
) -> AsyncIterator[Event[JobEvent]]:
    """The events of all jobs, from now on or from a moment on."""
    controller = context.controller
    wanted = controller.lists.filter(
        operation=fields.operation(operation, controller.lists),
        target=same_target(target),
        caller=caller,
        machine=machine(node, context),
    )
    kinds = frozenset(kind for kind in (event or "").split(",") if kind)
    begin = controller.events.place(after) or controller.events.beginning(
        None if since is None else moment(since)
    )
    return controller.events.of_all(wanted, kinds, begin)
