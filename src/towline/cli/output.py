"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from towline.cli.terminal import printable, printable_json, say
from towline.operation import OUTCOME, RESULT_RESERVED, STATUS

if TYPE_CHECKING:
    from towline.client import JobView


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print `value` as JSON, on one line where `indent` is None."""
    plain = msgspec.to_builtins(value)
    say(*printable_json(json.dumps(plain, indent=indent, ensure_ascii=False)).split("\n"))


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print rows under a head, each column as wide as its widest cell."""
    lines = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = (map(str.ljust, line, widths) for line in lines)
    say(*("  ".join(cells).rstrip() for cells in padded))


def results_table(results: list[dict[str, Any]]) -> None:
    """Print a job's results, each in a line."""
    names: list[str] = []
    for result in results:
        names += [name for name in result if name not in names]
    status = OUTCOME if OUTCOME in names else STATUS
    names = [name for name in names if name not in RESULT_RESERVED | {status}]
    nodes = {(result["hostname"], result.get("machine_id")) for result in results}
    twins = ["machine_id"] if len({hostname for hostname, _ in nodes}) < len(nodes) else []
    why = [name for name in ("error", "reason") if any(name in result for result in results)]
    columns = ["hostname", *twins, status, *names, *why]
    print_table(
        [name.replace("_", " ").upper() for name in columns],
        [[_cell(result.get(name)) for name in columns] for result in results],
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def label(operation: str) -> str:
    """Return what people are shown for the type of an operation: it is called so as a command."""
    return ".".join(operation.split(".")[:2])


def print_job(job: JobView) -> None:
    """Print a job for people: what it is, its result on each node, and its timeline."""
    operation = job.operation
    say(
        f"job        {job.id}",
        f"status     {job.status}",
        f"operation  {label(operation.type)} {json.dumps(operation.data, ensure_ascii=False)}",
        f"target     {job.target}",
        f"caller     {job.caller}",
        f"created    {job.created}",
        f"expires    {job.expires}",
    )
    if job.resolved is not None:
        say(f"resolved   {job.resolved.digest} by {job.resolved.resolver}")
    say("")
    results_table(job.rows or [])
    say("")
    print_table(
        ["TIME", "EVENT", "NODE", ""],
        [
            [
                *(moment.timestamp, moment.event, moment.hostname or ""),
                moment.error or moment.reason or moment.message or "",
            ]
            for moment in job.timeline or []
        ],
    )


def print_answer(answer: object, output: str) -> None:
    """Print what an endpoint has answered: a table where it is a list of things of one kind."""
    plain = msgspec.to_builtins(answer)
    if output == "json" or not isinstance(plain, dict):
        print_json(plain)
        return
    lists = [value for value in plain.values() if isinstance(value, list)]
    if "message" in plain:
        say(str(plain["message"]))
    elif len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
        names = list(dict.fromkeys(name for row in lists[0] for name in row))
        print_table(
            [name.replace("_", " ").upper() for name in names],
            [[_cell(row.get(name)) for name in names] for row in lists[0]],
        )
    else:
        width = max(map(len, plain), default=0)
        for name, value in plain.items():
            say(f"{name.ljust(width)}  {_cell(value)}")
