"""What callers choose: how a job is carried out, and which jobs and events they want."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypedDict, TypeVar

import msgspec

from towline.endpoints.fields import KnownStatus
from towline.options import JobOptions

P = ParamSpec("P")
C = TypeVar("C")

WAIT = 30.0
"""Seconds that a request waits for results by default. The request asks for it: what the controller
is configured to may be longer than the HTTP request may take."""
USUAL = JobOptions(wait=WAIT)


def as_options(
    kind: Callable[P, JobOptions],
) -> Callable[[Callable[[C, dict[str, Any]], C]], Callable[Concatenate[C, P], C]]:
    """Let a method take the fields of a struct as keyword arguments, each by its type.

    Args:
        kind: the struct.
    """

    def decorate(method: Callable[[C, dict[str, Any]], C]) -> Callable[Concatenate[C, P], C]:
        def taking(client: C, /, *args: P.args, **kwargs: P.kwargs) -> C:
            return method(client, dict(kwargs))

        taking.__doc__ = method.__doc__
        return taking

    return decorate


def changed(options: JobOptions, given: dict[str, Any]) -> JobOptions:
    """Return `options` with those that are given, and not None, in place of its own."""
    changes = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(options, **changes)


class JobFilters(TypedDict, total=False):
    """Which jobs a page has. A time is one of RFC 3339, or a duration: that long ago."""

    status: KnownStatus | None
    operation: str | None
    target: str | None
    node: str | None
    caller: str | None
    since: str | None
    until: str | None
    limit: int
    offset: int
    cursor: str | None


class EventFilters(TypedDict, total=False):
    """Which events a stream has; `event` takes several kinds, separated by commas."""

    operation: str | None
    target: str | None
    node: str | None
    caller: str | None
    event: str | None
    since: str | None
