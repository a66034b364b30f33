"""The commands about jobs: list, show, follow, cancel, retry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from towline.cli import outcome, watch
from towline.cli.command import Command
from towline.cli.connection import connect, duration, take_where, with_connection
from towline.cli.display import display
from towline.cli.login import take_login, with_login
from towline.cli.options import take_job_options, with_job_options
from towline.cli.output import print_job, print_json, print_table, printable, results_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from towline.client import Client, JobEvent, JobView

STATUSES = ("submitted", "processing", "completed", "failed", "partial_failure")

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@with_connection
@click.command(cls=Command)
@click.option("--status", type=click.Choice(STATUSES), help="Only jobs of this status.")
@click.option("--operation", metavar="NAME", help="Only jobs of this operation: docker.pull.")
@click.option("--target", metavar="TARGET", help="Only jobs for this very target.")
@click.option("--node", metavar="NODE", help="Only jobs that this node has a part in.")
@click.option("--caller", metavar="NAME", help="Only jobs that this caller made.")
@click.option("--since", metavar="WHEN", help="Only later ones: 2h, or 2030-01-31T12:00:00Z.")
@click.option("--until", metavar="WHEN", help="Only earlier ones.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100))
@click.option("--cursor", metavar="CURSOR", help="Go on behind the page that named this.")
@click.option("-f", "--follow", is_flag=True, help="Show what happens from now on, until ^C.")
@output_option
def jobs(output: str, follow: bool, limit: int, **values: Any) -> None:
    """List jobs, the newest first."""
    where = take_where(values)
    with connect(where) as client:
        if follow:
            for refused in ("status", "until", "cursor"):
                if values.pop(refused) is not None:
                    raise click.UsageError(f"--follow takes no --{refused}")
            _print_events(client.events(**values), output, with_job=True)
            return
        page = client.jobs(limit=limit, **values)
    if output == "json":
        print_json(page)
        return
    print_table(
        ["JOB", "CREATED", "OPERATION", "TARGET", "STATUS", "NODES", "CALLER"],
        [_row(job) for job in page["items"]],
    )
    rest = page.get("next_cursor")
    if rest:
        total = page["total_items"]
        print(f"{total} in all; --cursor {rest} shows what is older", file=sys.stderr)


def _row(job: JobView) -> list[str]:
    nodes = ", ".join(f"{count} {status}" for status, count in job.get("nodes", {}).items())
    return [
        *(job["id"], job["created"], job["operation"]["type"], job["target"], job["status"]),
        *(nodes or "-", job["caller"]),
    ]


@with_connection
@click.command(cls=Command)
@click.argument("job_id")
@click.option("-f", "--follow", is_flag=True, help="Show what happens until the job ends.")
@output_option
def job(job_id: str, output: str, follow: bool, **values: Any) -> None:
    """Show one job. With --follow the exit status is 0 only if it succeeded on every node."""
    with connect(take_where(values)) as client:
        if follow:
            _follow(client, job_id, output)
        found = client.job(job_id)
    if output == "json" and not follow:
        print_json(found)
    elif not follow:
        print_job(found)
    if follow:
        outcome.end(job_id, [result["status"] for result in found["results"]])


def _follow(client: Client, job_id: str, output: str) -> None:
    """Show a job's events, and how far it is, until it ends."""
    if output == "json":
        _print_events(client.job_events(job_id), output, with_job=False)
        return
    screen = display()
    streams = (
        ("event", lambda: client.job_events(job_id)),
        ("progress", lambda: client.progress(job_id)),
    )
    try:
        for each in watch.merged(*streams, seconds=watch.LOOK_EVERY):
            if each is None:
                continue
            name, told = each
            if name == "progress":
                screen.show(told)
            else:
                screen.say(printable(_line(told, with_job=False)))
                if told.kind == "end":
                    return
    except KeyboardInterrupt:
        screen.close()
        outcome.interrupted(job_id)
    finally:
        screen.close()


def _print_events(events: Iterable[JobEvent], output: str, *, with_job: bool) -> None:
    for event in events:
        if output == "json":
            print_json({"id": event.id, "event": event.kind, **event.data}, indent=None)
        else:
            print(printable(_line(event, with_job=with_job)), flush=True)


def _line(event: JobEvent, *, with_job: bool) -> str:
    data = event.data
    rest = data.get("error") or data.get("message") or ""
    if event.kind == "submitted":
        rest = f"{data['operation']['type']} for {data['target']} by {data['caller']}"
    elif event.kind == "end":
        counts = ", ".join(f"{count} {status}" for status, count in data["nodes"].items())
        rest = f"{data['status']}: {counts}"
    parts = [data.get("timestamp", ""), event.job_id if with_job else ""]
    parts += [f"{event.kind:10}", data.get("hostname", ""), rest]
    return "  ".join(part for part in parts if part)


@with_connection
@click.command(cls=Command)
@click.argument("job_id")
@click.option("--wait", default="30s", show_default=True, metavar="DURATION", help="At most.")
@output_option
def cancel(job_id: str, wait: str, output: str, **values: Any) -> None:
    """Stop a job wherever it has not ended."""
    with connect(take_where(values)) as client:
        told = client.cancel(job_id, wait=duration(wait))
    if output == "json":
        print_json(told)
    else:
        results_table(told["results"])


@with_connection
@click.command(cls=Command)
@click.argument("job_id")
@output_option
def pause(job_id: str, output: str, **values: Any) -> None:
    """Let no more nodes of a job have their turn; what runs goes on.

    For jobs made with --max-parallel or --canary.
    """
    _steer(job_id, output, values, back=False)


@with_connection
@click.command(cls=Command)
@click.argument("job_id")
@output_option
def resume(job_id: str, output: str, **values: Any) -> None:
    """Let nodes of a paused job have their turn again."""
    _steer(job_id, output, values, back=True)


def _steer(job_id: str, output: str, values: dict[str, Any], *, back: bool) -> None:
    with connect(take_where(values)) as client:
        told = client.resume(job_id) if back else client.pause(job_id)
    if output == "json":
        print_json(told)
    else:
        print(told["message"])


@with_connection
@click.command(cls=Command)
@click.argument("job_id")
@click.option("--on", metavar="TARGET", help="There, rather than where it failed.")
@click.option("--wait", default="30s", show_default=True, metavar="DURATION", help="At most.")
@with_job_options
@with_login
@output_option
def retry(job_id: str, on: str | None, wait: str, output: str, **values: Any) -> None:
    """Do a job again on the nodes where it failed, expired or was cancelled.

    Nodes get their turns as in that job, unless --max-parallel, --canary or --max-failures say
    otherwise. A credential that came with that job is there no more: give it again. The exit
    status is 0 only if it succeeded on all of them.
    """
    options, credential = take_job_options(values), take_login(values)
    with connect(take_where(values)) as client:
        asking = client.with_options(wait=duration(wait), **options, credential=credential)
        try:
            made = asking.retry(job_id, on=on)
        except KeyboardInterrupt:
            outcome.interrupted_early()
        found = client.job(made["job_id"])
    if output == "json":
        print_json({"job_id": made["job_id"], "results": found["results"]})
    else:
        results_table(found["results"])
    outcome.end(made["job_id"], [result["status"] for result in found["results"]])


COMMANDS = (jobs, job, cancel, pause, resume, retry)
