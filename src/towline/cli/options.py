"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

import click

from towline.cli.command import Choice
from towline.options import RunOptions
from towline.signature import Parameter, Upload, of_group
from towline.wire.fact_references import refers

JOB_OPTIONS = [each for each in of_group("options", RunOptions) if not each.flag.hidden]
"""The options that say how a job is carried out, whatever it does."""

state_option = click.option("--state", metavar="DIR", help="The state directory.")
config_option = click.option(
    "--config", "config_file", metavar="FILE", help="The configuration file, TOML."
)
OUTPUT_FLAGS = ["-o", "--output"]
OUTPUT: dict[str, Any] = {
    "type": Choice(["table", "json"]),
    "default": "table",
    "show_default": True,
    "help": "What is printed: a table for people, or JSON for programs.",
}
output_option = click.option(*OUTPUT_FLAGS, **OUTPUT)


def flags(parameter: Parameter) -> list[str]:
    """Return how an option of a parameter is written."""
    return [f"--{parameter.name.replace('_', '-')}", parameter.name]


class ChoiceOrFact(Choice):
    """A choice among texts; what refers to facts of nodes is one of them there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text that was chosen; raises `BadParameter`."""
        return value if refers(value) else super().convert(value, param, ctx)


def kind_of(annotation: Any) -> tuple[Any, dict[str, Any]]:
    """Return click's type for a parameter, and further arguments of its option."""
    if get_origin(annotation) is Literal:
        values = get_args(annotation)
        kind = ChoiceOrFact if all(isinstance(value, str) for value in values) else Choice
        return kind([str(value) for value in values]), {}
    if get_origin(annotation) is list:
        return kind_of(get_args(annotation)[0])[0], {"multiple": True}
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if inner and (type(None) in get_args(annotation) or hasattr(annotation, "__metadata__")):
        return kind_of(inner[0])
    if annotation is bool:
        return bool, {}
    if annotation is Upload:
        return click.File("rb"), {}
    return annotation if annotation in (int, float, str) else str, {}


def parameters_of(parameters: Iterable[Parameter]) -> list[click.Parameter]:
    """Return what commands take: of required parameters arguments, of others options."""
    found: list[click.Parameter] = []
    for parameter in parameters:
        flag = parameter.flag
        if flag.hidden:
            continue
        kind, extra = kind_of(parameter.hint)
        if parameter.required:
            many = -1 if extra.get("multiple") else 1
            found.append(
                click.Argument([parameter.name], type=kind, nargs=many, metavar=flag.metavar)
            )
            continue
        if parameter.group is not None:
            kind = str
        words = parameter.description
        if words is not None and parameter.default not in (None, ""):
            words = f"{words}  [default: {parameter.default}]"
        metavar = flag.metavar
        found.append(
            click.Option(flags(parameter), type=kind, help=words, metavar=metavar, **extra)
        )
    return found


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Return those of a command's values that were given, as endpoints and operations take them."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None and value != ()
    }


def with_job_options(command: Any) -> Any:
    """Add the options that say how a job is carried out to a command."""
    for flag in reversed(parameters_of(JOB_OPTIONS)):
        command = click.option(*flag.opts, metavar=flag.metavar, help=flag.help)(command)
    return command


def take_job_options(values: dict[str, Any]) -> dict[str, Any]:
    """Take the values of these options out of those of a command."""
    return {each.name: values.pop(each.name) for each in JOB_OPTIONS}
