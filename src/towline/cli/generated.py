"""Commands made from operations: `towline docker pull IMAGE --on TARGET`."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
import msgspec

from towline.cli import outcome, watch
from towline.cli.command import Command, Group
from towline.cli.connection import Where, connect, connection_parameters, duration, take_where
from towline.cli.login import login_parameters, take_login
from towline.cli.options import JobOptions, job_option_parameters, take_job_options
from towline.cli.output import print_json, results_table
from towline.operation import Operation, catalog
from towline.runtime import config
from towline.wire.target import ANY

if TYPE_CHECKING:
    from towline.client import Client, Credential, Job, Result

SHORT = {"pull": "docker.pull"}
"""A person's own words for the commands used most."""

FORBIDDEN = 403
FIRST_WAIT = 1.0
"""Seconds that the request itself waits; past it a person is shown how far the job is."""
LONGEST_WAIT = 30.0
"""Seconds that one request waits further where nobody is shown that."""
TAKEN_WITHIN = 5.0
"""Seconds to wait for some node to take a job that any node may do: all may be busy."""
AFTERWARDS = 0.1
"""Seconds to wait for the results of a job that has ended, or at the nodes that are there."""


class Commands(Group):
    """The commands written by hand, and one group a domain with the operations' commands."""

    def _domains(self) -> set[str]:
        from towline import operations

        operations.load_extra(config.load(None).operations)
        return {operation.domain for operation in catalog}

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*self.commands, *SHORT, *self._domains()})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        command = super().get_command(context, name)
        if command is not None:
            return command
        domains = self._domains()
        if name in SHORT:
            operation = catalog.get(SHORT[name])
            return None if operation is None else _command(operation, name)
        if name not in domains:
            return None
        group = Group(name, help=f"Operations of the domain {name}.")
        for operation in catalog:
            if operation.domain == name:
                group.add_command(_command(operation, operation.verb))
        return group


def _command(operation: Operation[..., Any], name: str) -> Command:
    """Return the command of an operation: required parameters are arguments, others options."""
    parameters: list[click.Parameter] = []
    for field in msgspec.structs.fields(operation.parameters):
        kind, extra = _kind(field.type)
        if field.required:
            parameters.append(
                click.Argument([field.name], type=kind, nargs=-1 if extra.get("multiple") else 1)
            )
        else:
            flag = f"--{field.name.replace('_', '-')}"
            words = _description(field)
            parameters.append(click.Option([flag, field.name], type=kind, help=words, **extra))
    taken = {flag for parameter in parameters for flag in parameter.opts}
    parameters += [
        click.Option(["--on"], required=True, metavar="TARGET", help="HOSTNAME, _any, _all, K:V."),
        click.Option(["--wait"], metavar="DURATION", help="At most so long; else until the end."),
        *job_option_parameters(),
        click.Option(["-o", "--output"], type=click.Choice(["table", "json"]), default="table"),
    ]
    if operation.takes_credential:
        parameters += login_parameters()

    def callback(**values: Any) -> None:
        where = take_where(values)
        options = take_job_options(values)
        credential = take_login(values)
        names = ("on", "wait", "output")
        rest = {name: values.pop(name) for name in names}
        given = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None and value != ()
        }
        _run(operation, given, where, options, credential, **rest)

    return Command(
        name,
        params=parameters + connection_parameters(taken),
        callback=callback,
        help=f"{operation.summary}\n\n\b\n{operation.description}",
        short_help=operation.summary,
    )


def _description(field: msgspec.structs.FieldInfo) -> str | None:
    """Return what an option says of itself: the parameter's description, and its default."""
    metas = [extra for extra in getattr(field.type, "__metadata__", ()) if hasattr(extra, "title")]
    words = next((meta.description for meta in metas if meta.description), None)
    if words is None or field.default in (None, ""):
        return words
    return f"{words}  [default: {field.default}]"


def _kind(annotation: Any) -> tuple[Any, dict[str, Any]]:
    """Return the click type of a parameter, and what else its option needs."""
    if get_origin(annotation) is Literal:
        return click.Choice([str(value) for value in get_args(annotation)]), {}
    if get_origin(annotation) is list:
        return _kind(get_args(annotation)[0])[0], {"multiple": True}
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if inner and (type(None) in get_args(annotation) or hasattr(annotation, "__metadata__")):
        return _kind(inner[0])
    if annotation is bool:
        return bool, {}
    return annotation if annotation in (int, float, str) else str, {}


def _run(
    operation: Operation[..., Any],
    parameters: dict[str, Any],
    where: Where,
    options: JobOptions,
    credential: Credential | None,
    *,
    on: str,
    wait: str | None,
    output: str,
) -> None:
    from towline.client import ApiError

    with connect(where) as client:
        client = client.with_options(**options, credential=credential)
        try:
            job = _follow(client, operation, on, parameters, wait, quiet=output == "json")
            job_id = job.id
            rows = [_row(result) for result in job.results]
        except ApiError as error:
            if error.job_id is None:
                raise
            # A single node failed: shown like every other failure, a node a line.
            job_id = error.job_id
            try:
                rows = client.job(job_id)["results"]
            except ApiError as refused:
                # A token that may pull need not be one that may look on.
                raise error if refused.status == FORBIDDEN else refused from None
    if output == "json":
        print_json({"job_id": job_id, "results": rows})
    else:
        results_table(rows)
    outcome.end(job_id, [row["status"] for row in rows])


def _follow(
    client: Client,
    operation: Operation[..., Any],
    on: str,
    parameters: dict[str, Any],
    wait: str | None,
    *,
    quiet: bool,
) -> Job[..., Any]:
    """Run the operation and wait for the nodes that are there.

    Args:
        quiet: whether nobody is shown how far it is.
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
        while _waitable(job.results) and (remaining := deadline - time.monotonic()) > 0:
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
        print("no more can be shown: the token lacks job:read", file=sys.stderr)
    return job


def _row(result: Result[Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"hostname": result.hostname, "status": result.status}
    if result.value is not None:
        row |= msgspec.to_builtins(result.value)
    if result.error is not None:
        row["error"] = result.error
    if result.waits is not None:
        row["waits"] = result.waits
    return row


def _waitable(results: list[Result[Any]]) -> bool:
    # A pending node with an error that doesn't wait for its turn is away: nobody waits for those.
    return any(
        result.status == "running"
        or (result.status == "pending" and (result.error is None or result.waits is not None))
        for result in results
    )
