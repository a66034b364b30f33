"""What callers choose: how a job is carried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from towline.endpoint import Endpoint
from towline.options import JobOptions
from towline.wire.job import new_id

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

WAIT = 30.0
"""Seconds that a request waits for results by default. The request asks for it: what the controller
is configured to may be longer than the HTTP request may take."""
USUAL = JobOptions(wait=WAIT)


def new_job_id() -> str:
    """Return an id for a job that is yet to be made: a UUID of version 7, with this moment in it.

    As the `idempotency_key` of a request it becomes the id of the job that the request makes, so
    that the job can be named whatever becomes of the request. It is good for one request, within a
    day, and refused where this machine's clock and the controllers' are more than an hour apart.

    Example:
        job_id = towline.new_job_id()
        client.with_options(idempotency_key=job_id).run(docker.pull, on="web-01", image="shop:1.0")
    """
    return new_id()


def taking(
    kind: Callable[P, Any] | Endpoint[P, Any],
) -> Callable[[Callable[[C, dict[str, Any]], R]], Callable[Concatenate[C, P], R]]:
    """Let a method take the parameters of an endpoint as its own, each by its type.

    Args:
        kind: the endpoint; or a struct whose fields the method is to take.
    """

    def decorate(method: Callable[[C, dict[str, Any]], R]) -> Callable[Concatenate[C, P], R]:
        def take(client: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(client, dict(kwargs))

        take.__doc__ = method.__doc__
        return take

    return decorate


def changed(options: JobOptions, given: dict[str, Any]) -> JobOptions:
    """Return `options` with those that are given, and not None, in place of its own."""
    changes = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(options, **changes)
