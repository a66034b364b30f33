"""What commands print: tables for people, documents for programs, names for scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from towline.cli.cells import (
    Cell,
    Moment,
    cell_of,
    digest,
    head_of,
    in_form,
    machine_id,
    node_name,
    twins,
)
from towline.cli.form import Form
from towline.cli.tables import GAP, Column, hanging, print_table
from towline.cli.terminal import printable_json, say
from towline.operation import OUTCOME, RESULT_RESERVED, STATUS

if TYPE_CHECKING:
    from towline.client import JobView

NAMES = ("name", "id", "job_id", "hostname", "registry", "key", "subject")
"""The fields by which things are named in an answer: the first that is there."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
"""How answers write moments."""


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


def results_table(results: list[dict[str, Any]], form: Form) -> None:
    """Print a job's results, each in a line."""
    names: list[str] = []
    for result in results:
        names += [name for name in result if name not in names]
    status = OUTCOME if OUTCOME in names else STATUS
    names = [name for name in names if name not in RESULT_RESERVED | {status}]
    alike = twins((result["hostname"], result.get("machine_id")) for result in results)
    why = [name for name in ("error", "reason") if any(name in result for result in results)]
    print_table(
        [
            *(Column("NODE"), Column(head_of(status))),
            *(
                Column(head_of(name), gives_way=number, least=8)
                for number, name in enumerate(names, 1)
            ),
            *([Column("WHY", words=True)] if why else []),
        ],
        [
            [
                node_name(result["hostname"], result.get("machine_id"), alike),
                *(cell_of(result.get(name)) for name in (status, *names)),
                *([": ".join(str(result[name]) for name in why if name in result)] if why else []),
            ]
            for result in results
        ],
        form,
    )


def label(operation: str) -> str:
    """Return what people are shown for the type of an operation: it is called so as a command."""
    return ".".join(operation.split(".")[:2])


def print_job(job: JobView, form: Form) -> None:
    """Print a job for people: what it is, its result on each node, and its timeline."""
    operation = job.operation
    given = json.dumps(operation.data, ensure_ascii=False)
    print_values(
        {
            "job": job.id,
            "status": job.status,
            "operation": f"{label(operation.type)} {given}",
            "target": job.target,
            "caller": job.caller,
            "created": Moment(job.created),
            "expires": Moment(job.expires),
            "resolved": None
            if job.resolved is None
            else digest(f"{job.resolved.digest} by {job.resolved.resolver}"),
        },
        form,
    )
    say("")
    results_table(job.rows or [], form)
    say("")
    print_table(
        [
            Column("TIME"),
            Column("EVENT"),
            Column("NODE"),
            Column("", words=True),
        ],
        [
            [
                *(moment.timestamp, moment.event, moment.hostname or ""),
                moment.error or moment.reason or moment.message or "",
            ]
            for moment in job.timeline or []
        ],
        form,
    )


def print_values(values: Mapping[str, Cell], form: Form, *, now: float | None = None) -> None:
    """Print what one thing is: names and values, a line each, without those that are None.

    What is longer than the rest of its line goes on below, indented as the values are.
    """
    shown = {name: in_form(cell, form, now) for name, cell in values.items() if cell is not None}
    margin = max(map(len, shown), default=0) + len(GAP)
    for name, text in shown.items():
        say(*hanging(f"{name.ljust(margin)}", text, form.width))


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
            [[_cell_of(name, row.get(name)) for name in names] for row in rows],
            form,
        )
    else:
        print_values({name: _cell_of(name, value) for name, value in plain.items()}, form)


def _name_of(row: dict[str, Any]) -> str | None:
    """Return the name of a thing, or None where it has none."""
    return next((str(row[name]) for name in NAMES if row.get(name)), None)


def _column_of(number: int, name: str) -> Column:
    """Return the column of a field: what names a thing is never cut, the last give way first."""
    if number == 0 or name in NAMES:
        return Column(head_of(name))
    return Column(head_of(name), gives_way=number, least=8, optional=True)


def _cell_of(name: str, value: object) -> Cell:
    if name == "machine_id" and isinstance(value, str):
        return machine_id(value)
    if isinstance(value, str) and MOMENT.fullmatch(value):
        return Moment(value)
    return cell_of(value)
