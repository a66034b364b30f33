"""`/job`: lists of jobs, what became of each, and what can be done to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints import fields, views
from towline.endpoints.dry_run import DryRun, DryRunAsked, foreseen
from towline.endpoints.fields import (
    Cursor,
    DateTime,
    JobId,
    JobStatus,
    KnownStatus,
    OfCaller,
    OfNode,
    OfOperation,
    OfTarget,
    Rows,
    Since,
    Uuid,
    View,
    When,
    machine,
    moment,
    same_target,
    target,
)
from towline.endpoints.views import JobView
from towline.errors import InvalidRequest
from towline.options import JobOptions, Waiting
from towline.signature import Query
from towline.units import timestamp

if TYPE_CHECKING:
    from towline.controller.jobs.lists import Listed
    from towline.controller.jobs.state import JobState

USUAL, UNCHANGED = Waiting(), JobOptions()
"""What is usual for a request that asks for nothing else."""
FEW = 20
"""Nodes up to which a list says everything of a job."""
READS, WRITES, ADMIN, OF_SETS = "job:read", "job:write", "job:admin", "set:write"
STEERS = f"`{ADMIN}`; `{OF_SETS}` for a job that a set made; none for whoever made the job"
OTHERS = f"`{ADMIN}` for a job that somebody else made (`{OF_SETS}` where that is a set)"


class JobPage(View, frozen=True, kw_only=True):
    """A page of jobs, the newest first.

    Of a job for many nodes it has `nodes`, how many have which status, but neither results nor
    timeline.
    """

    total_items: Annotated[int, Meta(description="How many jobs the filters leave.")]
    status_counts: Annotated[
        dict[str, int], Meta(description="How many jobs there are in all, by status.")
    ]
    items: list[JobView]
    next_cursor: Annotated[
        Uuid | None,
        Meta(description="The `cursor` of the next page; absent where there is none."),
    ] = None


class Cancelled(View, frozen=True, kw_only=True):
    """How far a job's cancellation is."""

    job_id: Uuid
    status: JobStatus
    rows: Rows = msgspec.field(name="results")


class Steered(View, frozen=True, kw_only=True):
    """A job that was paused or resumed, with a message for people."""

    job_id: Uuid
    status: JobStatus
    message: str


class Retried(View, frozen=True, kw_only=True):
    """The new job that does an earlier one again."""

    job_id: Uuid
    status: str
    timestamp: DateTime


@endpoint("job.list", "GET /job", permission=READS, command=None, typed="job list")
async def list_jobs(
    context: Context,
    *,
    status: Annotated[
        KnownStatus | None,
        Meta(description="Jobs of this status."),
    ] = None,
    operation: OfOperation | None = None,
    target: OfTarget | None = None,
    node: OfNode | None = None,
    caller: OfCaller | None = None,
    since: Since | None = None,
    until: Annotated[When | None, Meta(description="Made before then, as `since`.")] = None,
    limit: Annotated[int, Meta(ge=1, le=100)] = 10,
    offset: Annotated[int, Meta(ge=0, le=2**62)] = 0,
    cursor: Annotated[
        Cursor | None,
        Meta(description="`next_cursor` of the page before; not beside an offset."),
    ] = None,
) -> JobPage:
    """Jobs, the newest first."""
    if cursor is not None and offset:
        raise InvalidRequest("A page has a cursor or an offset, not both.", "Leave one out")
    controller = context.controller
    lists = controller.lists
    wanted = lists.filter(
        status=status,
        operation=fields.operation(operation, lists),
        target=same_target(target),
        caller=caller,
        machine=machine(node, context),
        since=None if since is None else moment(since),
        until=None if until is None else moment(until),
    )
    total = lists.count(wanted)
    found: list[Listed] = []
    following = None
    if total > offset:
        found, following = lists.page(wanted, limit=limit, before=cursor, offset=offset)
    return JobPage(
        total_items=total,
        status_counts=lists.statuses(),
        items=[_item(context, job) for job in found],
        next_cursor=following,
    )


def _item(context: Context, job: Listed) -> JobView:
    if sum(job.nodes.values()) <= FEW:
        found = context.controller.index.find(job.job.id)
        if found is not None:
            return views.job(*found)
    return views.listed(job)


@endpoint(
    "job.get",
    "GET /job/{id}",
    permission=READS,
    narrows=True,
    errors=(404,),
    command=None,
    typed="job show",
)
async def get(context: Context, *, id: JobId, options: Waiting = USUAL) -> JobView:
    """One job, and what became of it on each node."""
    lookup, bounds = context.controller.lookup, context.caller.bounds(READS)
    wait = context.wait(options.wait, usual=0.0)
    state, events = await lookup.named(id, context.caller, wait=wait)
    lookup.check(state, bounds)
    return views.job(state, events)


@endpoint(
    "job.delete",
    "DELETE /job/{id}",
    permission=WRITES,
    needs=f"`{WRITES}`, and {OTHERS}",
    narrows=True,
    errors=(404,),
    command="job delete",
)
async def delete(context: Context, *, id: JobId) -> None:
    """Delete a job that has ended."""
    state = await _mine(context, id, WRITES)
    await context.controller.steering.delete(state)


@endpoint(
    "job.retry",
    "POST /job/{id}/retry",
    permission=WRITES,
    needs=f"`{WRITES}`, that of the job's operation, and {OTHERS}",
    narrows=True,
    success=(201,),
    errors=(404, 409),
    locates=True,
    command=None,
    typed="job retry",
    dry_run=DryRun,
)
async def retry(
    context: Context,
    *,
    id: JobId,
    target_hostname: Annotated[
        str | None,
        Meta(description="Where to run it; otherwise where it failed, expired or was cancelled."),
    ] = None,
    dry_run: Annotated[DryRunAsked | None, Query] = None,
    options: JobOptions = UNCHANGED,
) -> Retried | DryRun:
    """Do a job again, as another job: where it failed, expired or was cancelled."""
    controller = context.controller
    named = None if target_hostname is None else target(target_hostname)
    state = await _mine(context, id, WRITES)
    submission = controller.steering.retry(
        state, caller=context.caller, target=named, options=options
    )
    submission = msgspec.structs.replace(submission, trace=context.trace)
    if dry_run:
        return await foreseen(context, submission, wait=context.wait(options.wait))
    again = await controller.submitter.submit(
        submission, wait=context.wait(options.wait, usual=0.0)
    )
    context.about(again.job.id)
    return Retried(job_id=again.job.id, status="created", timestamp=timestamp(again.job.created))


@endpoint(
    "job.cancel",
    "POST /job/{id}/cancel",
    permission=ADMIN,
    owned=True,
    needs=STEERS,
    errors=(404, 409),
    locates=True,
    command=None,
    typed="job cancel",
)
async def cancel(context: Context, *, id: JobId, options: Waiting = USUAL) -> Cancelled:
    """Stop a job wherever it has not ended."""
    state = await _mine(context, id)
    wait = context.wait(options.wait)
    state = await context.controller.steering.cancel(
        state, caller=context.caller.subject, wait=wait
    )
    context.about(state.job.id)
    return Cancelled(job_id=state.job.id, status=state.status, rows=views.results(state))


@endpoint(
    "job.pause",
    "POST /job/{id}/pause",
    permission=ADMIN,
    owned=True,
    needs=STEERS,
    errors=(404, 409),
    command="job pause",
)
async def pause(context: Context, *, id: JobId) -> Steered:
    """Give no more nodes of a job their turn.

    Nodes that have begun go on. Only a job that was made with `max_parallel` or `canary` can be
    paused.
    """
    state = await _mine(context, id)
    return _turns(await context.controller.steering.pause(state, caller=context.caller.subject))


@endpoint(
    "job.resume",
    "POST /job/{id}/resume",
    permission=ADMIN,
    owned=True,
    needs=STEERS,
    errors=(404, 409),
    command="job resume",
)
async def resume(context: Context, *, id: JobId) -> Steered:
    """Give nodes of a paused job their turn again."""
    state = await _mine(context, id)
    return _turns(await context.controller.steering.resume(state, caller=context.caller.subject))


async def _mine(context: Context, id: str, permission: str | None = None) -> JobState:
    """Return the job that a caller wants to do something about, and may.

    Args:
        permission: what that takes whoever made the job; None for nothing.
    """
    lookup, caller = context.controller.lookup, context.caller
    state, _ = await lookup.named(id, caller)
    context.job = state.job.id
    needed = [] if permission is None else [permission]
    beside = caller.steering(state.job.caller)
    if beside is not None:
        needed.append(beside)
    for each in needed:
        lookup.check(state, caller.bounds(each))
    return state


def _turns(state: JobState) -> Steered:
    """Return how far the turns of a job's nodes are, for whoever paused or resumed it."""
    waiting = len(state.turns.waiting)
    going = len(state.unfinished) - waiting
    paused = state.turns.paused is not None
    return Steered(
        job_id=state.job.id,
        status=state.status,
        message=f"{'Paused' if paused else 'Resumed'}: {waiting} of {len(state.tasks)} nodes "
        f"wait for their turn, {going} go on.",
    )
