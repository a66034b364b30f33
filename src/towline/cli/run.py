"""Running an operation from the command line, and waiting for the nodes that are there."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import msgspec

from towline.cli import outcome, watch
from towline.cli.connection import Where, connect, duration
from towline.cli.form import Form
from towline.cli.output import print_document, print_names
from towline.cli.results import names_of, print_results
from towline.cli.terminal import say
from towline.endpoints.operations import status_of
from towline.errors import Unreachable
from towline.operation import Operation
from towline.wire.target import ANY

if TYPE_CHECKING:
    from towline.client import Client, Credential, Job, Result

FORBIDDEN = 403
FIRST_WAIT = 1.0
"""Seconds that the first request waits; from then on a person is shown the progress."""
LONGEST_WAIT = 30.0
"""Seconds that each further request waits where no progress is shown."""
TAKEN_WITHIN = 5.0
"""Seconds to wait until some node has taken a job for any node: all may be busy."""
AFTERWARDS = 0.1
"""Seconds to wait for results once the progress says that every node that is there has ended."""


def run(
    operation: Operation[..., Any],
    parameters: dict[str, Any],
    where: Where,
    options: dict[str, Any],
    credential: Credential | None,
    *,
    on: str,
    wait: str | None,
    form: Form,
) -> None:
    """Run an operation, print its results, and end with the exit status that they make.

    Args:
        parameters: the operation's, by their names.
        where: where the API is.
        options: how the job is carried out, as `Client.with_options` takes it.
        credential: for the image's registry, where the command line brings one.
        on: the target.
        wait: how long to wait for the nodes that are there; None for their end.
        form: in which form the results are printed.

    Raises:
        ApiError: the request was refused.
        InvalidConfiguration: the controller can't be found, or `wait` is no duration.
    """
    from towline.client import ApiError

    begun = time.monotonic()
    with connect(where) as client:
        client = client.with_options(**options, credential=credential)
        try:
            job = _follow(client, operation, on, parameters, wait, quiet=not form.for_people)
            job_id = job.id
            rows = [_row(result, operation.status) for result in job.results]
        except ApiError as error:
            if error.job_id is None or isinstance(error, Unreachable):
                raise
            # A single node failed. It is shown like every other failure, one node a line.
            job_id = error.job_id
            try:
                rows = client.job(job_id).rows or []
            except ApiError as refused:
                if refused.status != FORBIDDEN:
                    raise
                # A token that may pull need not be one that may read jobs.
                status = status_of(operation, error.error)
                outcome.failed(error, outcome.exit_status([status]))
    if form.document:
        print_document({"job_id": job_id, "results": rows}, form)
    elif form.output == "name":
        print_names(names_of(rows, operation, job_id))
    else:
        print_results(rows, operation, form, seconds=time.monotonic() - begun)
    outcome.end(job_id, rows)


def _follow(
    client: Client,
    operation: Operation[..., Any],
    on: str,
    parameters: dict[str, Any],
    wait: str | None,
    *,
    quiet: bool,
) -> Job[..., Any]:
    """Run an operation, and wait for the nodes that are there.

    Args:
        quiet: whether no progress is shown.
    """
    from towline.client import ApiError

    deadline = time.monotonic() + (math.inf if wait is None else duration(wait))
    first = min(FIRST_WAIT, deadline - time.monotonic())
    try:
        job = client.with_options(wait=max(0.0, first)).run(operation, on, **parameters)
    except KeyboardInterrupt:
        outcome.interrupted_early()
    try:
        untaken = min(deadline, time.monotonic() + TAKEN_WITHIN)
        while [result.hostname for result in job.results] == [
            str(ANY)
        ] and time.monotonic() < untaken:
            job.wait(FIRST_WAIT)
        while (
            any(map(watch.awaited, job.results)) and (remaining := deadline - time.monotonic()) > 0
        ):
            if quiet:
                job.wait(min(LONGEST_WAIT, remaining))
            else:
                watch.watch(client, job.id, deadline)
                job.wait(AFTERWARDS)
    except KeyboardInterrupt:
        outcome.interrupted(job.id)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        say("no more can be shown: the token lacks job:read", error=True)
    return job


def _row(result: Result[Any], status: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "hostname": result.hostname,
        "machine_id": result.machine_id,
        status: result.status,
    }
    if result.value is not None:
        row |= msgspec.to_builtins(result.value)
    row |= {"error": result.error, "reason": result.reason, "waits": result.waits}
    return {name: value for name, value in row.items() if value is not None}
