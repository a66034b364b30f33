"""`/node/{hostname}/…`: what can be done to nodes, an endpoint for each operation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from towline.endpoint import Context, Endpoint
from towline.endpoints import views
from towline.endpoints.dry_run import DryRun, DryRunAsked, dry_run_of, foreseen
from towline.endpoints.fields import (
    Failure,
    MachineId,
    Reason,
    Status,
    Uuid,
    Waits,
    target,
)
from towline.errors import TowlineError, sentence
from towline.operation import AnyOperation
from towline.options import JobOptions, RunOptions
from towline.signature import Parameter, Place, camel
from towline.wire.event import BAD, OWN_CODES
from towline.wire.target import Target, is_several

if TYPE_CHECKING:
    from towline.controller.jobs.submission import Submission

TargetName = Annotated[
    str,
    Meta(
        min_length=1,
        description="Target agent hostname, reserved routing value (_any, _all), or label selector "
        "(key:value); or an expression of these: `,` means and, `;` or, `!` excludes, `*` stands "
        "for anything within a name (group:web,site:ber; web-*;db-01; _all,!rack:r3; "
        "_any,group:web).",
    ),
]
ENDED = {"failed": "failed", "cancelled": "was cancelled", "expired": "expired"}
"""What is said of a node on which an operation did not end well, by its status."""


@functools.cache
def endpoint_of(operation: AnyOperation) -> Endpoint[..., Any]:
    """Return the endpoint that makes jobs of an operation."""

    async def submit(
        context: Context,
        *,
        hostname: str,
        dry_run: bool | None = None,
        options: RunOptions,
        **parameters: Any,
    ) -> dict[str, Any] | DryRun:
        if dry_run:
            return await _foresee(context, operation, hostname, options, parameters)
        return await _submit(context, operation, hostname, options, parameters)

    # What describes the API asks the module what its domain is about.
    submit.__module__ = operation.function.__module__
    hostname = Parameter("hostname", TargetName, msgspec.NODEFAULT, Place.PATH)
    dry_run = Parameter("dry_run", DryRunAsked | None, None, Place.QUERY)
    return Endpoint(
        submit,
        operation.signature.within(
            operation.route,
            [hostname, dry_run],
            {"options": JobOptions if operation.takes_credential else RunOptions},
        ),
        collection(operation),
        name=operation.name,
        route=f"{operation.method} {operation.route}",
        documentation=f"{operation.summary}\n{operation.description}",
        permission=operation.permission,
        narrows=True,
        success=(operation.success,),
        errors=(409, *sorted(operation.errors)),
        locates=True,
        label=operation.label,
        dry_run=dry_run_of(operation),
    )


async def _submit(
    context: Context,
    operation: AnyOperation,
    hostname: str,
    options: RunOptions,
    values: dict[str, Any],
) -> dict[str, Any]:
    """Make a job, and return its results so far."""
    named = target(hostname)
    submission = _submission(context, operation, named, options, values)
    state = await context.controller.submitter.submit(submission, wait=context.wait(options.wait))
    context.about(state.job.id)
    if not is_several(named) and state.done:
        failed = next(iter(state.tasks.values()))
        if failed.status in BAD:
            why = failed.error or failed.reason
            failure = TowlineError(
                sentence(f"{_ended(operation, failed.status)} {failed.hostname}", why),
                f"{why} (job {state.job.id})",
                state.job.id,
            )
            if failed.code in OWN_CODES:
                failure.code = failed.code
            raise failure
    return {"job_id": state.job.id, "results": views.results(state)}


def _ended(operation: AnyOperation, status: str) -> str:
    return f"{operation.label} {ENDED[status]} on"


def status_of(operation: AnyOperation, error: str) -> str:
    """Return the status of the one node that a request was for, by the error that answered it."""
    said = (status for status in ENDED if error.startswith(f"{_ended(operation, status)} "))
    return next(said, "failed")


def _submission(
    context: Context,
    operation: AnyOperation,
    named: Target,
    options: RunOptions,
    values: dict[str, Any],
) -> Submission:
    """Return a request for a job."""
    parameters = msgspec.to_builtins(operation.parameters(**values))
    return context.controller.submitter.submission(
        *(operation, parameters, named, context.caller, options), trace=context.trace
    )


async def _foresee(
    context: Context,
    operation: AnyOperation,
    hostname: str,
    options: RunOptions,
    values: dict[str, Any],
) -> DryRun:
    """Make nothing, and return what a job would come to."""
    submission = _submission(context, operation, target(hostname), options, values)
    return await foreseen(context, submission, wait=context.wait(options.wait))


def collection(operation: AnyOperation) -> type[msgspec.Struct]:
    """Return the struct type of what is answered: the job's id, and one result a node."""
    name = camel(operation.label)
    own = [
        (field.name, field.type | None, None) for field in msgspec.structs.fields(operation.result)
    ]
    row = msgspec.defstruct(
        f"{name}Result",
        [
            ("hostname", Annotated[str, Meta(description="The hostname of the agent.")]),
            ("machine_id", MachineId | None, None),
            (operation.status, Status),
            *own,
            ("error", Failure | None, None),
            ("reason", Reason | None, None),
            ("waits", Waits | None, None),
        ],
        kw_only=True,
        omit_defaults=True,
        namespace={"__doc__": f"What became of {operation.name} on one node."},
    )
    return msgspec.defstruct(
        f"{name}Collection",
        [
            (
                "job_id",
                Annotated[Uuid, Meta(description="The job ID used to process this request.")],
            ),
            ("results", list[row]),  # type: ignore[valid-type]
        ],
        namespace={"__doc__": f"The results of {operation.name}, one a node."},
    )
