"""The commands of operations and endpoints: `towline docker pull IMAGE --on NODE`."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import click

from towline.cli import outcome, spoken
from towline.cli import values as values_of
from towline.cli.command import Command, Group
from towline.cli.connection import connect, connection_parameters, take_where
from towline.cli.options import (
    DRY_RUN,
    JOB_OPTIONS,
    given,
    output_parameters,
    parameters_of,
    take_form,
    take_job_options,
)
from towline.cli.output import print_answer, print_json
from towline.cli.passwords import login_parameters, take_login
from towline.cli.target import FORMS, ON
from towline.endpoint import AnyEndpoint, Stream, endpoints
from towline.errors import InvalidConfiguration
from towline.operation import Operation, catalog
from towline.operations import load_extra
from towline.runtime import config
from towline.signature import Upload

LOADED = "towline.cli.loaded"
"""Under this key a context has whether the modules that the settings name have been imported."""


def further(context: click.Context, by_hand: Collection[str | None]) -> dict[str, str]:
    """Return the names of the commands that settings bring, with what is said of each.

    Others are among them where they have been imported.

    Args:
        by_hand: commands of one word that are written by hand.

    Raises:
        InvalidConfiguration: what settings bring has the name of one of those.
    """
    found = {}
    for words, asked in commands_made(context):
        if words[0] in by_hand:
            raise _taken(words, asked)
        found[words[0]] = asked.summary if len(words) == 1 else _about(words[0])
    return found


def command(
    context: click.Context, name: str, about: str | None, group: click.Group | None
) -> click.Command | None:
    """Return the command of a name, or the group, made of what has been imported.

    Modules that settings name are imported here.

    Args:
        about: what is said of the group.
        group: one of this name that is written by hand: what is made is added to it.

    Raises:
        InvalidConfiguration: what is made has the name of one in the group.
    """
    made = [(words, asked) for words, asked in commands_made(context) if words[0] == name]
    for words, asked in made:
        if len(words) == 1:
            return _of(asked, name)
    by_hand = {} if group is None else group.commands
    group = Group(name, help=about) if group is None else copy.copy(group)
    group.commands = dict(by_hand)
    for words, asked in made:
        if words[1] in by_hand:
            raise _taken(words, asked)
        group.add_command(_of(asked, words[1]))
    return group if group.commands else None


def _taken(words: list[str], asked: Operation[..., Any] | AnyEndpoint) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"{asked!r} can't be the command `towline {' '.join(words)}`: there is one of that name.",
        "Give it another: verb= of an operation, command= of an endpoint",
    )


def _about(domain: str) -> str:
    return f"Operations of the domain {domain}."


def commands_made(
    context: click.Context,
) -> list[tuple[list[str], Operation[..., Any] | AnyEndpoint]]:
    """Return what commands are made of, with the words of each, as far as it has been imported."""
    # The help asks for each command anew: settings and modules are read once.
    if LOADED not in context.meta:
        load_extra(config.load(None).operations)
        context.meta[LOADED] = True
    return [
        (each.command.split(), each) for each in (*catalog, *endpoints) if each.command is not None
    ]


def _of(asked: Operation[..., Any] | AnyEndpoint, name: str) -> Command:
    return _of_operation(asked, name) if isinstance(asked, Operation) else _of_endpoint(asked, name)


def _of_endpoint(endpoint: AnyEndpoint, name: str) -> Command:
    """Return an endpoint's command."""
    streams = isinstance(endpoint, Stream)
    parameters = parameters_of(endpoint.signature.parameters)
    taken = {flag for parameter in parameters for flag in parameter.opts}
    if endpoint.result is not None and not streams:
        parameters += output_parameters(taken)

    def callback(**values: Any) -> None:
        where, form = take_where(values), take_form(values)
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
            print_answer(answer, form)

    return Command(
        name,
        params=parameters + connection_parameters(taken),
        callback=callback,
        help=spoken.plain(f"{endpoint.summary}\n\n{endpoint.description}", parameters),
        short_help=spoken.plain(endpoint.summary, parameters),
    )


def _of_operation(operation: Operation[..., Any], name: str) -> Command:
    """Return an operation's command. Required parameters are its arguments, others its options.

    Of a parameter that may have several values they are the arguments, each for a job of its own.
    """
    signature = operation.signature
    many = (each for each in signature.parameters if each.flag.several and each.required)
    several = next(many, None)
    parameters = parameters_of(each for each in signature.parameters if each is not several)
    taken = {flag for parameter in parameters for flag in parameter.opts}
    if several is not None:
        parameters += values_of.parameters_for(several, taken)
    parameters = [
        click.Option(["--on"], required=True, help=f"Which nodes. {FORMS}", **ON),
        *parameters,
        click.Option(
            ["--wait"], metavar="DURATION", help="How long to wait at most; by default, to the end."
        ),
        click.Option(
            ["--dry-run"],
            is_flag=True,
            help=DRY_RUN,
        ),
        *parameters_of(JOB_OPTIONS),
        *output_parameters(taken, results=True),
    ]
    if operation.takes_credential:
        parameters += login_parameters()

    def callback(**values: Any) -> None:
        # Whoever reads the help needs neither client nor progress.
        from towline.cli import foreseen, run

        where = take_where(values)
        by, listed = None, [values_of.Value("")]
        if several is not None:
            listed, in_list = values_of.take_values(values, several.name)
            by = several.name if in_list else None
        options = take_job_options(values)
        credential = take_login(values)
        form = take_form(values)
        dry = values.pop("dry_run")
        on, wait = values.pop("on"), values.pop("wait")
        rest = given(values)

        def asked_for(value: str) -> dict[str, Any]:
            return rest if several is None else {several.name: value, **rest}

        if by is not None:
            values_of.check_values(listed, lambda value: signature.check(asked_for(value)))
        asked = [asked_for(each.text) for each in listed]
        if dry:
            foreseen.run(operation, asked, where, options, credential, on=on, form=form, by=by)
        run.run(
            *(operation, asked, where, options, credential),
            **{"on": on, "wait": wait, "form": form, "by": by},
        )

    return Command(
        name,
        params=parameters + connection_parameters(taken),
        callback=callback,
        help=_help(operation),
        epilog=outcome.IN_HELP,
        short_help=operation.summary,
    )


def _help(operation: Operation[..., Any]) -> str:
    """Return what is said of an operation, in which an example stays as it is written."""
    described = operation.description.replace("Example:\n", "\b\nExample:\n")
    return f"{operation.summary}\n\n{described}"
