"""What is printed of one job: what it is, its results, and its timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from towline.cli.cells import Cell, Moment, between, cell_of, digest, in_form, node_name
from towline.cli.form import Form
from towline.cli.output import label
from towline.cli.results import FEW, result_lines
from towline.cli.tables import Column, table_lines, value_lines
from towline.cli.terminal import say
from towline.cli.words import seconds_in_words
from towline.operation import catalog

if TYPE_CHECKING:
    from towline.client import JobView


def print_job(job: JobView, form: Form) -> None:
    """Print a job for people: what it is, its result on each node, and its timeline."""
    say(*job_lines(job, form))


def job_lines(job: JobView, form: Form, *, now: float | None = None) -> list[str]:
    """Return the lines that `print_job` prints.

    Args:
        now: the present moment, in seconds since 1970; None to look.
    """
    operation = job.operation
    given = in_form(cell_of(operation.data), form)
    values: dict[str, Cell] = {
        "job": job.id,
        "status": job.status,
        "operation": ": ".join(filter(None, [label(operation.type), given])),
        "target": job.target,
        "caller": job.caller,
        "created": Moment(job.created),
        "expires": Moment(job.expires),
        "retry of": job.retry_of,
    }
    if job.paused is not None:
        values["paused"] = f"by {job.paused.by} since {job.paused.since}"
    if job.resolved is not None:
        values["resolved"] = digest(f"{job.resolved.digest} by {job.resolved.resolver}")
    over = job.status not in ("submitted", "processing") and job.updated_at is not None
    results = result_lines(
        job.rows or [],
        catalog.get(operation.type),
        form,
        seconds=between(job.created, str(job.updated_at)) if over else None,
    )
    lines = value_lines(values, form, now=now)
    return [*lines, *([""] if results else []), *results, "", *_timeline(job, form)]


def _timeline(job: JobView, form: Form) -> list[str]:
    """Return when what happened, counted from the beginning; of many nodes what went wrong."""
    moments = job.timeline or []
    many = len(job.rows or []) > FEW and not form.all_nodes
    shown = [each for each in moments if not many or each.hostname is None or each.error]
    lines = table_lines(
        [
            Column("TIME"),
            Column("EVENT"),
            Column("NODE", optional=True),
            Column("", words=True),
        ],
        [
            [
                *(_time(each.timestamp, job.created, form), each.event),
                # It has a machine id where its hostname is not its own.
                each.hostname and node_name(each.hostname, each.machine_id, {each.hostname}),
                digest(each.error or each.reason or each.message or ""),
            ]
            for each in shown
        ],
        form,
        width=form.width,
    )
    left = len(moments) - len(shown)
    return [*lines, *([f"{left} moments of single nodes: --all-nodes shows them"] if left else [])]


def _time(moment: str, created: str, form: Form) -> str:
    """Return how long after the beginning a moment is, or in wide tables the moment."""
    after = None if form.output == "wide" else between(created, moment)
    return moment if after is None else f"+{seconds_in_words(max(0.0, after))}"
