"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal, get_args, get_origin

import click

from towline.cli.command import Choice
from towline.cli.form import OUTPUTS, Form
from towline.options import RunOptions
from towline.signature import Parameter, Upload, of_group
from towline.wire.fact_references import refers

JOB_OPTIONS = [each for each in of_group("options", RunOptions) if not each.flag.hidden]
"""The options that say how a job is carried out, whatever it does."""

state_option = click.option("--state", metavar="DIR", help="The state directory.")
config_option = click.option(
    "--config", "config_file", metavar="FILE", help="The configuration file, TOML."
)
DRY_RUN = "Do nothing, and show who would do it, who not and why."
_FORM = "printed_"
"""Keeps what these options say apart from an operation's parameters of the same names."""

_ALL_NODES: tuple[str, list[str], dict[str, Any]] = (
    "all_nodes",
    ["--all-nodes"],
    {"is_flag": True, "help": "A row for each node, however many there are."},
)


def output_parameters(taken: Collection[str] = (), *, results: bool = False) -> list[click.Option]:
    """Return the options that say in which form something is printed; `take_form` reads them.

    Args:
        taken: flags that the command has for something else.
        results: whether what is printed are the results of a job.
    """
    options: tuple[tuple[str, list[str], dict[str, Any]], ...] = (
        (
            "output",
            ["-o", "--output"],
            {
                "type": Choice(OUTPUTS),
                "default": "table",
                "show_default": True,
                "help": "What is printed: a table for people, wide with all columns, JSON or YAML "
                "for programs, or names and ids only, one a line.",
            },
        ),
        ("names", ["-q", "--quiet"], {"is_flag": True, "help": "Names and ids only: -o name."}),
        (
            "whole",
            ["--no-trunc"],
            {"is_flag": True, "help": "Ids and digests in full; nothing is cut."},
        ),
        *((_ALL_NODES,) if results else ()),
    )
    return [
        click.Option([*free, f"{_FORM}{name}"], **more)
        for name, flags_, more in options
        if (free := [flag for flag in flags_ if flag not in taken])
    ]


def with_output(command: click.Command) -> click.Command:
    """Add the options that say in which form something is printed to a command."""
    command.params += output_parameters()
    return command


def with_results_output(command: click.Command) -> click.Command:
    """Add these options to a command that prints the results of a job."""
    command.params += output_parameters(results=True)
    return command


def take_form(values: dict[str, Any]) -> Form:
    """Take the values of `output_parameters` out of those of a command.

    Raises:
        UsageError: -q, and another form than that.
    """
    output = values.pop(f"{_FORM}output", "table")
    names = values.pop(f"{_FORM}names", False)
    if names and output not in ("table", "name"):
        raise click.UsageError(f"-q is -o name: it goes with no -o {output}.")
    return Form(
        "name" if names else output,
        values.pop(f"{_FORM}whole", False),
        values.pop(f"{_FORM}all_nodes", False),
    )


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


def _in_commands(text: str | None) -> str | None:
    """Return what the API says of a parameter as the help of commands has it."""
    if text is None or "`" not in text:
        return text
    from towline.cli import spoken

    return spoken.plain(text)


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
        words = _in_commands(parameter.description)
        if kind is bool and parameter.default is False:
            # Without it the command says nothing of it, and the operation has its default.
            extra = {"is_flag": True, "default": None}
        elif words is not None and parameter.default not in (None, ""):
            words = f"{words}  [default: {parameter.default}]"
        metavar = flag.metavar or ("NUMBER" if kind in (int, float) else None)
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
