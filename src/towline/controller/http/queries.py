"""The query strings of the API's own routes: filters, pages and times."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from towline.controller.fleet import Fleet
from towline.controller.http.request import query
from towline.errors import InvalidRequest, NotFound
from towline.operation import catalog
from towline.units import parse_duration
from towline.wire.fields import JobId

Text = str | UnsetType
"""Absent is UNSET rather than None: msgspec reads "null" in a query string as None."""


class JobQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The query of a list of jobs."""

    status: (
        Literal["submitted", "processing", "completed", "failed", "partial_failure"] | UnsetType
    ) = UNSET
    operation: Text = UNSET
    target: Text = UNSET
    node: Text = UNSET
    caller: Text = UNSET
    since: Text = UNSET
    until: Text = UNSET
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    offset: Annotated[int, Meta(ge=0, le=2**62)] = 0
    cursor: JobId | UnsetType = UNSET


class EventQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The query of a stream of events."""

    operation: Text = UNSET
    target: Text = UNSET
    node: Text = UNSET
    caller: Text = UNSET
    event: Text = UNSET
    since: Text = UNSET


class ProgressQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The query of a job's progress."""

    node: Text = UNSET


def machine(node: str | None, fleet: Fleet) -> str | None:
    """Return the machine id of the node that a query names; None where it names none.

    Raises:
        InvalidRequest: no registered node has that name, or several have.
    """
    if node is None:
        return None
    try:
        return fleet.one(node).machine
    except NotFound as error:
        raise InvalidRequest(error.error, error.details) from error


def operation(name: str | None) -> str | None:
    """Return the name of the operation that a query names, be it by its label."""
    known = None if name is None else catalog.get(name)
    return name if known is None else known.name


def common(query: JobQuery | EventQuery, fleet: Fleet) -> dict[str, Any]:
    """Return what filters of jobs and of events have in common; raises as `machine`."""
    return {
        "operation": operation(given(query.operation)),
        "target": given(query.target),
        "caller": given(query.caller),
        "machine": machine(given(query.node), fleet),
    }


Q = TypeVar("Q", bound=msgspec.Struct)
V = TypeVar("V")


def given(value: V | UnsetType) -> V | None:
    """Return the value of a query parameter, None where it is absent."""
    return None if value is UNSET else value


def query_as(request: Request, kind: type[Q]) -> Q:
    """Return the query, read as `kind`.

    Raises:
        InvalidRequest: a parameter is unknown or not valid.
    """
    try:
        return msgspec.convert(query(request), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest.because(
            "The request's query is not valid",
            error,
            f"It takes: {', '.join(kind.__struct_fields__)}",
        ) from error


def moment(name: str, text: Text) -> float | None:
    """Return the time that a query parameter names, in seconds since 1970.

    Args:
        text: a time by RFC 3339, or a duration: that long ago.

    Raises:
        InvalidRequest: it is neither.
    """
    if text is UNSET:
        return None
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
    raise InvalidRequest(
        f"The query parameter {name!r} is not valid: {text[:80]!r} is neither a time nor "
        "a duration.",
        "Write a time, 2030-01-31T12:00:00Z, or a duration, 2h",
    )
