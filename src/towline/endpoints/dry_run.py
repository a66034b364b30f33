"""What is answered to `?dry_run=true`: who would do it, who would not, and why. Nothing is made."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from towline.endpoint import Context
from towline.endpoints.fields import DateTime, MachineId, Uuid, View, one_of
from towline.operation import AnyOperation
from towline.signature import camel
from towline.units import timestamp

if TYPE_CHECKING:
    from towline.controller.jobs.submission import Submission

Foreseen: TypeAlias = Literal["would_run", "could_run", "pending", "skipped", "would_fail"]
"""What is foreseen of a node in this version."""


class DryRunResult(View, frozen=True, kw_only=True):
    """What is foreseen of one node.

    `would_run`: it would do it, with `waves` in its turn. `could_run`: one of these nodes would,
    for `_any`. `pending`: it is away, and would do it when it returns. `skipped`: it would be left
    out. `would_fail`: it could not do it.
    """

    hostname: Annotated[str, Meta(description="The hostname of the agent.")]
    machine_id: MachineId
    status: Annotated[str, one_of(*get_args(Foreseen))]
    reason: Annotated[
        str | None, Meta(description="Why that is so, or what stands in the way just now.")
    ] = None
    plan: Annotated[
        dict[str, Any] | None,
        Meta(description="What the node itself foresees, where the operation can be asked for it."),
    ] = None
    not_told: Annotated[
        str | None,
        Meta(description="Why there is no plan of the node, where there could be one."),
    ] = None


class DryRunWaves(View, frozen=True, kw_only=True):
    """What the options for waves come to for so many nodes."""

    parallel: Annotated[int, Meta(description="How many nodes would run it at a time.")]
    canary: Annotated[int | None, Meta(description="How many nodes would run it first, alone.")] = (
        None
    )
    failures: Annotated[int | None, Meta(description="How many nodes may fail.")] = None


class DryRun(View, frozen=True, kw_only=True):
    """What a request would do, and to whom. Nothing was made of it."""

    dry_run: Annotated[bool, Meta(extra_json_schema={"const": True})]
    operation: Annotated[str, Meta(description="For example docker.pull.execute.")]
    target: str
    expires: Annotated[
        DateTime, Meta(description="Until when nodes would have to begin, if it were made now.")
    ]
    nodes: Annotated[
        dict[str, int], Meta(description="Of how many nodes what is foreseen, by status.")
    ]
    made: Annotated[
        Uuid | None,
        Meta(description="The job that the `Idempotency-Key` has made: there would be no other."),
    ] = None
    waves: DryRunWaves | None = None
    results: list[DryRunResult]


DryRunAsked: TypeAlias = Annotated[
    bool,
    Meta(
        description="Make nothing, and say who would do it, who not, and why: 200, with what else "
        "nodes foresee. Refused as the request itself would be."
    ),
]


async def foreseen(context: Context, submission: Submission, *, wait: float) -> DryRun:
    """Return what a request would come to, of which nothing is made.

    Args:
        wait: seconds that nodes may be asked at most.
    """
    context.status, context.looks = 200, True
    forecast = await context.controller.previews.foresee(submission, wait=wait)
    job, waves = forecast.job, forecast.waves
    return DryRun(
        dry_run=True,
        operation=job.operation,
        target=job.target,
        expires=timestamp(job.expires),
        nodes=Counter(node.status for node in forecast.nodes),
        made=forecast.made,
        waves=None
        if waves is None
        else DryRunWaves(
            parallel=waves.parallel, canary=waves.canary or None, failures=waves.failures
        ),
        results=[
            DryRunResult(
                hostname=node.hostname,
                machine_id=node.machine,
                status=node.status,
                reason=node.reason,
                plan=node.plan,
                not_told=node.not_told,
            )
            for node in forecast.nodes
        ],
    )


def dry_run_of(operation: AnyOperation) -> type[msgspec.Struct]:
    """Return the struct type of what is answered to a dry run of an operation."""
    if operation.preview is None:
        return DryRun
    name = camel(operation.label)
    row = msgspec.defstruct(
        f"{name}DryRunResult",
        [("plan", operation.preview.result | None, None)],
        bases=(DryRunResult,),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": DryRunResult.__doc__},
    )
    return msgspec.defstruct(
        f"{name}DryRun",
        [("results", list[row])],  # type: ignore[valid-type]
        bases=(DryRun,),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": DryRun.__doc__},
    )
