"""The commands of operations, made from them: `towline docker pull IMAGE --on TARGET`."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import click
import msgspec

from towline.cli import run
from towline.cli.command import Command, Group
from towline.cli.connection import connection_parameters, take_where
from towline.cli.login import login_parameters, take_login
from towline.cli.options import OUTPUT, OUTPUT_FLAGS, job_option_parameters, take_job_options
from towline.operation import Operation, catalog
from towline.runtime import config

SHORT = {"pull": "docker.pull"}
"""Short names of the commands that are used most."""


class Commands(Group):
    """The commands written by hand, and for each domain a group with those of its operations."""

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
    """Return an operation's command. Required parameters are its arguments, others its options."""
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
        click.Option(
            ["--on"],
            required=True,
            metavar="TARGET",
            help="A hostname, _any, _all, or a label, KEY:VALUE.",
        ),
        click.Option(
            ["--wait"], metavar="DURATION", help="How long to wait at most; by default, to the end."
        ),
        *job_option_parameters(),
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
        given = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None and value != ()
        }
        run.run(operation, given, where, options, credential, **rest)

    return Command(
        name,
        params=parameters + connection_parameters(taken),
        callback=callback,
        help=f"{operation.summary}\n\n\b\n{operation.description}",
        short_help=operation.summary,
    )


def _description(field: msgspec.structs.FieldInfo) -> str | None:
    """Return the help of an option: the parameter's description and default."""
    # Of one that may be left out the description stands inside: `Annotated[str, …] | None`.
    hints = (field.type, *get_args(field.type))
    extras = [extra for hint in hints for extra in getattr(hint, "__metadata__", ())]
    metas = [extra for extra in extras if hasattr(extra, "title")]
    words = next((meta.description for meta in metas if meta.description), None)
    if words is None or field.default in (None, ""):
        return words
    return f"{words}  [default: {field.default}]"


def _kind(annotation: Any) -> tuple[Any, dict[str, Any]]:
    """Return click's type for a parameter, and further arguments of its option."""
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
