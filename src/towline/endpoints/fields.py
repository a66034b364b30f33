"""What several endpoints take and answer: ids, times, statuses, results of nodes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from towline.errors import InvalidRequest, NotFound, did_you_mean
from towline.operation import AnyOperation, catalog
from towline.signature import Check, Flag
from towline.units import parse_duration
from towline.wire.target import InvalidTarget, Target, parse_target

if TYPE_CHECKING:
    from towline.controller.jobs.lists import Lists
    from towline.endpoint import AnyEndpoint, Context

TARGETS = (
    "A target is a hostname, a machine id, _any, _all, a label (key:value), or an expression of "
    "these: ',' means and, ';' or, '!' excludes, '*' stands for anything within a name"
)
_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


_SHORT_ID = re.compile("[0-9a-fA-F]{12}")


def _job_id(text: str) -> None:
    if not is_uuid(text) and not is_short_id(text):
        raise ValueError(
            f"{text[:80]!r} is not a job id, which is a UUID, or the 12 hex digits at its end"
        )


def _cursor(text: str) -> None:
    if not is_uuid(text):
        raise ValueError(f"{text[:80]!r} is not a cursor, which is a UUID")


def is_short_id(text: str) -> bool:
    """Return whether a text is the end of a UUID, behind its last dash, in either case."""
    return _SHORT_ID.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID, in letters of either case."""
    return _UUID.fullmatch(text) is not None


def _when(text: str) -> None:
    moment(text)


JobId: TypeAlias = Annotated[
    str,
    Meta(
        extra_json_schema={"format": "uuid"},
        description="The job's id, or its short id: the 12 hex digits behind its last dash.",
    ),
    Check(_job_id),
    Flag("JOB_ID"),
]
"""A job's id or short id, in letters of either case."""
Cursor: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "uuid"}), Check(_cursor)]

Uuid: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
DateTime: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]

When: TypeAlias = Annotated[str, Check(_when), Flag("WHEN")]
"""A time by RFC 3339, or a duration: that long ago."""

NodeName: TypeAlias = Annotated[
    str, Meta(min_length=1, description="The node's hostname or machine id."), Flag("NODE")
]

OfOperation: TypeAlias = Annotated[str, Meta(description="For example docker.pull.")]
OfTarget: TypeAlias = Annotated[
    str, Meta(description="Jobs for this very target, in whichever order it is written.")
]
OfNode: TypeAlias = Annotated[
    str, Meta(description="Jobs that this node has a part in, by hostname or machine id.")
]
OfCaller: TypeAlias = Annotated[str, Meta(description="Jobs that this caller made.")]
Since: TypeAlias = Annotated[
    When, Meta(description="Made then or later: a time by RFC 3339, or a duration: 2h ago.")
]

KnownStatus: TypeAlias = Literal[
    "submitted", "processing", "completed", "failed", "partial_failure"
]
"""The statuses that jobs of this version have."""


def one_of(*values: str, description: str | None = None) -> Meta:
    """Return what says that a text is one of these in answers of this version.

    A client takes what newer controllers add to them.
    """
    return Meta(extra_json_schema={"enum": list(values)}, description=description)


JobStatus: TypeAlias = Annotated[str, one_of(*get_args(KnownStatus))]
Status: TypeAlias = Annotated[
    str, one_of("ok", "failed", "skipped", "pending", "running", "cancelled", "expired")
]
Waits: TypeAlias = Annotated[
    str,
    one_of(
        *("max_parallel", "canary", "paused", "max_pulls", "registry"),
        description="What a node that is here waits for: its turn in the job, while it is pending, "
        "or, while it is running, other pulls on it (max_pulls) or a registry that has had too "
        "many requests (registry). The reason says it in words.",
    ),
]
MachineId: TypeAlias = Annotated[
    str,
    Meta(description="The machine id of the agent. It tells two nodes of the same hostname apart."),
]
Failure: TypeAlias = Annotated[str, Meta(description="Error message if the agent failed.")]
Reason: TypeAlias = Annotated[
    str,
    Meta(description="Why the node has not ended, or was skipped or cancelled, or has expired."),
]


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of what the API answers; what isn't known is left out, never null."""


class Moment(View, frozen=True, kw_only=True):
    """An entry of the timeline of a job or a node."""

    timestamp: DateTime
    event: str
    hostname: str | None = None
    machine_id: Annotated[
        str | None, Meta(description="Only where several nodes of the job have the hostname.")
    ] = None
    message: str | None = None
    reason: Reason | None = None
    error: str | None = None


class Message(View, frozen=True, kw_only=True):
    """What was done, for people."""

    message: str


class NodeResult(View, frozen=True, kw_only=True):
    """What became of a job on one node; beside it stands what the operation returned."""

    hostname: Annotated[str, Meta(description="The hostname of the agent.")]
    machine_id: MachineId | None = None
    status: Annotated[
        str | None,
        Meta(description="As in `responses`, unless the operation has a status of its own."),
    ] = None
    outcome: Annotated[
        Status | None,
        Meta(description="The node's, where the operation has a status of its own."),
    ] = None
    error: Failure | None = None
    reason: Reason | None = None
    waits: Waits | None = None


Rows: TypeAlias = Annotated[
    list[dict[str, Any]],
    Meta(
        description="The results of the request that made the job, and what has come since.",
        extra_json_schema={"items": {"$ref": "#/components/schemas/NodeResult"}},
    ),
]


def moment(text: str) -> float:
    """Return the time that a text names, in seconds since 1970; raises `ValueError`."""
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        # In a query string a plus sign is a space.
        found = datetime.fromisoformat(text.replace(" ", "+"))
        if found.tzinfo is not None:
            return found.timestamp()
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        f"{text[:80]!r} is neither a time nor a duration: write 2030-01-31T12:00:00Z, or 2h"
    )


def target(text: str) -> Target:
    """Return the target that a text names.

    Raises:
        InvalidRequest: it can't name any node.
    """
    try:
        return parse_target(text)
    except InvalidTarget as error:
        raise InvalidRequest.because("The target is not valid", error, TARGETS) from error


def same_target(text: str | None) -> str | None:
    """Return a target that a filter names as jobs have it; what is none, as it is."""
    try:
        return None if text is None else str(parse_target(text))
    except InvalidTarget:
        return text


def named(
    name: str | None, known: Iterable[AnyOperation | AnyEndpoint], kept: Callable[[str], object]
) -> str | None:
    """Return the name of what a filter names, be it by its label; None where it names nothing.

    Args:
        known: what there is.
        kept: whether something is kept of a name all the same: it may be of another version.

    Raises:
        InvalidRequest: there is nothing of that name.
    """
    if name is None:
        return None
    labels = {each.label: each.name for each in known}
    if name in labels.values() or (name not in labels and kept(name)):
        return name
    if name not in labels:
        raise InvalidRequest(
            f"There is no operation {name[:80]!r}. {did_you_mean(name[:80], labels)}".rstrip(),
            f"There are: {', '.join(sorted(labels))}",
        )
    return labels[name]


def operation(name: str | None, lists: Lists) -> str | None:
    """Return the name of the operation that a filter of jobs names; raises as `named`."""
    return named(name, catalog, lambda name: lists.count(lists.filter(operation=name)))


def machine(node: str | None, context: Context) -> str | None:
    """Return the machine id of the node that a filter names; None where it names none.

    Raises:
        InvalidRequest: no registered node has that name, or several have.
    """
    if node is None:
        return None
    try:
        return context.controller.fleet.one(node, context.caller.seen).machine
    except NotFound as error:
        raise InvalidRequest(error.error, error.details) from error
