"""What is printed of one job: what it is, its results, and its timeline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from towline.cli.cells import Cell, Moment, between, digest
from towline.cli.form import Form
from towline.cli.output import label, print_values
from towline.cli.results import FEW, result_lines
from towline.cli.tables import Column, print_table
from towline.cli.terminal import say
from towline.cli.words import seconds_in_words
from towline.operation import catalog

if TYPE_CHECKING:
    from towline.client import JobView


def print_job(job: JobView, form: Form) -> None:
    """Print a job for people: what it is, its result on each node, and its timeline."""
    operation = job.operation
    given = json.dumps(operation.data, ensure_ascii=False)
    values: dict[str, Cell] = {
        "job": job.id,
        "status": job.status,
        "operation": f"{label(operation.type)} {given}",
        "target": job.target,
        "caller": job.caller,
        "created": Moment(job.created),
        "expires": Moment(job.expires),
    }
    if job.retry_of is not None:
        values["retry of"] = job.retry_of
    if job.paused is not None:
        values["paused"] = f"by {job.paused.by} since {job.paused.since}"
    if job.resolved is not None:
        values["resolved"] = digest(f"{job.resolved.digest} by {job.resolved.resolver}")
    print_values(values, form)
    lines = result_lines(job.rows or [], catalog.get(operation.type), form)
    if lines:
        say("", *lines)
    _print_timeline(job, form)


def _print_timeline(job: JobView, form: Form) -> None:
    """Print when what happened, counted from the beginning; of many nodes what went wrong."""
    moments = job.timeline or []
    many = len(job.rows or []) > FEW and not form.all_nodes
    shown = [each for each in moments if not many or each.hostname is None or each.error]
    say("")
    print_table(
        [
            Column("TIME"),
            Column("EVENT"),
            Column("NODE", optional=True),
            Column("", words=True),
        ],
        [
            [
                *(_time(each.timestamp, job.created, form), each.event, each.hostname),
                each.error or each.reason or each.message or "",
            ]
            for each in shown
        ],
        form,
    )
    if len(shown) < len(moments):
        say(f"{len(moments) - len(shown)} moments of single nodes more: --all-nodes shows them")


def _time(moment: str, created: str, form: Form) -> str:
    """Return how long after the beginning a moment is, or in wide tables the moment."""
    after = None if form.output == "wide" else between(created, moment)
    return moment if after is None else f"+{seconds_in_words(max(0.0, after))}"
