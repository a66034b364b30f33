"""The commands of operations and endpoints: `towline docker pull IMAGE --on NODE`."""

from __future__ import annotations

from typing import Any

import click

from towline.cli import run
from towline.cli.command import Command, Group
from towline.cli.connection import connect, connection_parameters, take_where
from towline.cli.login import login_parameters, take_login
from towline.cli.options import (
    JOB_OPTIONS,
    OUTPUT,
    OUTPUT_FLAGS,
    given,
    parameters_of,
    take_job_options,
)
from towline.cli.output import print_answer, print_json
from towline.endpoint import AnyEndpoint, Stream
from towline.operation import Operation, catalog
from towline.runtime import config
from towline.signature import Upload

MADE = "towline.cli.made"
SHORT = {"pull": "docker.pull"}
"""Short names of the commands that are used most."""
FORM = "printed_form"
"""Keeps what `-o` says apart from a parameter that is called `output`."""


class Commands(Group):
    """The commands written by hand, and those that operations and endpoints are."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*self.commands, *SHORT, *(words[0] for words, _ in _made(context))})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        command = super().get_command(context, name)
        if command is not None and not isinstance(command, click.Group):
            return command
        made = [(words, asked) for words, asked in _made(context) if words[0] == name]
        if name in SHORT:
            operation = catalog.get(SHORT[name])
            return None if operation is None else _of_operation(operation, name)
        for words, asked in made:
            if len(words) == 1:
                return _of(asked, name)
        if command is None and made:
            command = Group(name, help=f"Operations of the domain {name}.")
        if isinstance(command, click.Group):
            for words, asked in made:
                command.add_command(_of(asked, words[1]))
        return command


def _made(context: click.Context) -> list[tuple[list[str], Operation[..., Any] | AnyEndpoint]]:
    """Return all operations and endpoints that are commands, with their words."""
    from towline import operations
    from towline.endpoints import offered

    # The help asks for each command anew: settings and modules are read once.
    if MADE not in context.meta:
        operations.load_extra(config.load(None).operations)
        context.meta[MADE] = [
            *(([operation.domain, operation.verb], operation) for operation in catalog),
            *((each.command.split(), each) for each in offered if each.command is not None),
        ]
    made: list[tuple[list[str], Operation[..., Any] | AnyEndpoint]] = context.meta[MADE]
    return made


def _of(asked: Operation[..., Any] | AnyEndpoint, name: str) -> Command:
    return _of_operation(asked, name) if isinstance(asked, Operation) else _of_endpoint(asked, name)


def _of_endpoint(endpoint: AnyEndpoint, name: str) -> Command:
    """Return an endpoint's command."""
    streams = isinstance(endpoint, Stream)
    parameters = parameters_of(endpoint.signature.parameters)
    taken = {flag for parameter in parameters for flag in parameter.opts}
    if endpoint.result is not None and not streams:
        free = [flag for flag in OUTPUT_FLAGS if flag not in taken]
        parameters.append(click.Option([*free, FORM], **OUTPUT))

    def callback(**values: Any) -> None:
        where, output = take_where(values), values.pop(FORM, "json")
        found = endpoint.signature.arguments(
            {
                name: Upload(value.name, value.read()) if hasattr(value, "read") else value
                for name, value in given(values).items()
            }
        )
        with connect(where) as client:
            if isinstance(endpoint, Stream):
                for event in client.stream(endpoint, **found):
                    print_json(event.data, indent=None)
                return
            answer = client.call(endpoint, **found)
        if answer is not None:
            print_answer(answer, output)

    return Command(
        name,
        params=parameters + connection_parameters(taken),
        callback=callback,
        help=f"{endpoint.summary}\n\n{endpoint.description}",
        short_help=endpoint.summary,
    )


def _of_operation(operation: Operation[..., Any], name: str) -> Command:
    """Return an operation's command. Required parameters are its arguments, others its options."""
    parameters = parameters_of(operation.signature.parameters)
    taken = {flag for parameter in parameters for flag in parameter.opts}
    parameters += [
        click.Option(
            ["--on"],
            required=True,
            metavar="TARGET",
            help="A hostname, _any, _all, or a label, KEY:VALUE.",
        ),
        click.Option(
            ["--wait"], metavar="DURATION", help="How long to wait at most; by default, to the end."
        ),
        *parameters_of(JOB_OPTIONS),
        click.Option(OUTPUT_FLAGS, **OUTPUT),
    ]
    if operation.takes_credential:
        parameters += login_parameters()

    def callback(**values: Any) -> None:
        where = take_where(values)
        options = take_job_options(values)
        credential = take_login(values)
        names = ("on", "wait", "output")
        rest = {name: values.pop(name) for name in names}
        run.run(operation, given(values), where, options, credential, **rest)

    return Command(
        name,
        params=parameters + connection_parameters(taken),
        callback=callback,
        help=f"{operation.summary}\n\n\b\n{operation.description}",
        short_help=operation.summary,
    )
