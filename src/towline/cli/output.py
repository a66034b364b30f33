"""What commands print: tables for people, documents for programs, names for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from towline.cli.cells import (
    Cell,
    cell_of,
    head_of,
    lines_of,
)
from towline.cli.form import Form
from towline.cli.tables import Column, print_table, value_lines
from towline.cli.terminal import printable_json, say

NAMES = ("name", "id", "job_id", "hostname", "registry", "key", "subject")
"""The fields by which things are named in an answer: the first that is there."""


def print_list(
    form: Form,
    answer: object,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    names: Iterable[str],
    *,
    now: float | None = None,
) -> None:
    """Print a list of things in the form that is asked for.

    Args:
        answer: all that is known of them, for documents.
        columns, rows: the table; see `print_table`.
        names: what names each of them.
    """
    if form.document:
        print_document(answer, form)
    elif form.output == "name":
        print_names(names)
    else:
        print_table(columns, rows, form, now=now)


def print_names(names: Iterable[str]) -> None:
    """Print names, one a line; nothing where there is none."""
    for name in names:
        say(name)


def print_document(value: object, form: Form) -> None:
    """Print `value` for programs, as JSON or YAML."""
    if form.output == "yaml":
        from towline.cli import yaml_text

        say(*yaml_text.lines_of(value))
    else:
        print_json(value)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print `value` as JSON, on one line where `indent` is None."""
    plain = msgspec.to_builtins(value)
    say(*printable_json(json.dumps(plain, indent=indent, ensure_ascii=False)).split("\n"))


def label(operation: str) -> str:
    """Return what people are shown for the type of an operation: it is called so as a command."""
    return ".".join(operation.split(".")[:2])


def print_values(
    values: Mapping[str, Cell | list[Cell]], form: Form, *, now: float | None = None
) -> None:
    """Print what one thing is, a line a value: what `value_lines` returns."""
    say(*value_lines(values, form, now=now))


def print_answer(answer: object, form: Form) -> None:
    """Print what an endpoint has answered: a table where it is a list of things of one kind."""
    plain = msgspec.to_builtins(answer)
    if form.document or not isinstance(plain, dict):
        print_document(plain, form)
        return
    lists = [value for value in plain.values() if isinstance(value, list)]
    rows = lists[0] if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]) else None
    if form.output == "name":
        print_names(filter(None, map(_name_of, [plain] if rows is None else rows)))
    elif "message" in plain:
        say(str(plain["message"]))
    elif rows is not None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        print_table(
            [_column_of(number, name) for number, name in enumerate(names)],
            [[cell_of(row.get(name), name) for name in names] for row in rows],
            form,
        )
    else:
        print_values({name: lines_of(value, name) for name, value in plain.items()}, form)


def _name_of(row: dict[str, Any]) -> str | None:
    """Return the name of a thing, or None where it has none."""
    return next((str(row[name]) for name in NAMES if row.get(name)), None)


def _column_of(number: int, name: str) -> Column:
    """Return the column of a field: what names a thing is never cut, the last give way first."""
    if number == 0 or name in NAMES:
        return Column(head_of(name))
    return Column(head_of(name), gives_way=number, least=8, optional=True)
