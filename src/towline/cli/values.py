"""Several values of a command's parameter: arguments, and a file with one a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO, Any

import click
import msgspec

from towline.errors import InvalidConfiguration
from towline.signature import Parameter

FILE = "file_of_values"
FLAGS = ("-f", "--file")
COMMENT = "#"
STDIN = "<stdin>"
MOST_NAMED = 10
"""Lines that can't be used which an error names."""


def parameters_for(parameter: Parameter, taken: set[str]) -> list[click.Parameter]:
    """Return what a command takes in place of the argument for one value."""
    name = parameter.name
    metavar = parameter.flag.metavar or name.upper()
    found: list[click.Parameter] = [
        click.Argument([name], nargs=-1, required=False, metavar=parameter.flag.metavar)
    ]
    if free := [flag for flag in FLAGS if flag not in taken]:
        found.append(click.Option([*free, FILE], **_of_file(metavar)))
    return found


def file_option(metavar: str) -> Callable[[Any], Any]:
    """Return what gives a command that is written by hand the option of a file of values.

    Args:
        metavar: what the help calls one of them.
    """
    return click.option(*FLAGS, FILE, **_of_file(metavar))


def _of_file(metavar: str) -> dict[str, Any]:
    return {
        "type": click.File("rb"),
        "metavar": "FILE",
        "help": f"A file with one {metavar} a line, or - for standard input. From {COMMENT} on a "
        "line is a comment.",
    }


class Value(msgspec.Struct, frozen=True):
    """One value.

    Attributes:
        line: the name of its file and the number of its line; "" for an argument.
    """

    text: str
    line: str = ""


def take_values(values: dict[str, Any], name: str) -> tuple[list[Value], bool]:
    """Take the values of a parameter out of those of a command.

    Returns:
        The values, each once, and whether the command is for several: it names more than one, or a
        file.

    Raises:
        UsageError: there is none, or standard input is to be two things.
        InvalidConfiguration: the file is not UTF-8.
    """
    file: IO[bytes] | None = values.pop(FILE, None)
    if file is not None and _name(file) == STDIN and values.get("registry_user") is not None:
        raise click.UsageError(
            f"Standard input can't be both: the password of --registry-user, and {FLAGS[0]} -."
        )
    found = [Value(text) for text in values.pop(name)]
    if file is not None:
        found += _lines(file)
    if not found:
        raise click.UsageError(
            f"Missing argument '{name.upper()}'."
            if file is None
            else f"There is no {name.upper()} in {_name(file)!r}."
        )
    once: dict[str, Value] = {}
    for value in found:
        once.setdefault(value.text, value)
    return [*once.values()], file is not None or len(found) > 1


def _name(file: IO[bytes]) -> str:
    # A stream in memory has no name.
    return str(getattr(file, "name", STDIN))


def _lines(file: IO[bytes]) -> list[Value]:
    """Return the values in a file; raises `InvalidConfiguration`."""
    found = []
    for number, line in enumerate(file.read().splitlines(), 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise InvalidConfiguration(
                f"{_name(file)}, line {number}, is not UTF-8.", "Write the file as text"
            ) from None
        value = text.partition(COMMENT)[0].strip()
        if value:
            found.append(Value(value, f"{_name(file)}, line {number}: "))
    return found


def check_values(values: Sequence[Value], check: Callable[[str], object]) -> None:
    """Check values before anything is asked for.

    Args:
        check: raises `ValueError`, or msgspec's `ValidationError`, for one that isn't valid.

    Raises:
        InvalidConfiguration: one isn't valid, with the number of its line, and all others.
    """
    wrong = []
    for value in values:
        try:
            check(value.text)
        except (ValueError, msgspec.ValidationError) as error:
            wrong.append(f"{value.line}{error}")
    if wrong:
        first, *others = wrong
        left = len(others) - MOST_NAMED
        raise InvalidConfiguration(
            f"Nothing was asked for: {first}",
            "\n".join([*others[:MOST_NAMED], *([f"and {left} more"] if left > 0 else [])]),
        )
