"""The commands about jobs: list, show, follow, cancel and retry them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, cast

import click
import msgspec

from towline.cli import last_words, outcome, spoken, watch, watching
from towline.cli.cells import Cell, Moment
from towline.cli.cells import job_id as short
from towline.cli.command import Choice, Group
from towline.cli.connection import Where, connect, duration, take_where, with_connection
from towline.cli.display import display
from towline.cli.form import Form
from towline.cli.job_events import Printed
from towline.cli.job_view import print_job
from towline.cli.options import (
    DRY_RUN,
    take_form,
    take_job_options,
    with_job_options,
    with_output,
    with_results_output,
)
from towline.cli.orders import Order, patiently
from towline.cli.output import label, print_document, print_list, print_names
from towline.cli.passwords import take_login, with_login
from towline.cli.results import print_results
from towline.cli.run import deadline_of, print_orders
from towline.cli.tables import Column
from towline.cli.target import FORMS, ON
from towline.cli.terminal import say
from towline.cli.together import carry_out
from towline.cli.watching import Listing, watch_option
from towline.errors import ApiError

if TYPE_CHECKING:
    from towline.client import Client, DryRun, JobPage, JobView

GOING_ON = ("submitted", "processing")
FAILED = ("failed", "partial_failure")
"""The statuses of jobs that failed on all nodes, or on some."""
STATUSES = ("submitted", "processing", "completed", "failed", "partial_failure")


@click.group(cls=Group)
def job() -> None:
    """List, show, follow, cancel and retry jobs.

    towline job JOB_ID is short for towline job show JOB_ID.
    """


@with_connection
@with_output
@job.command("list")
@click.option("--status", type=Choice(STATUSES), help="Only jobs with this status.")
@click.option(
    "--failed", is_flag=True, help="Only jobs that have ended, and failed on some node or on all."
)
@click.option(
    "--operation", metavar="OPERATION", help="Only jobs of this operation, for example docker.pull."
)
@click.option("--target", metavar="TARGET", help="Only jobs for exactly this target.")
@click.option("--node", metavar="NODE", help="Only jobs that this node has a part in.")
@click.option("--caller", metavar="NAME", help="Only jobs that this caller made.")
@click.option(
    "--since",
    metavar="WHEN",
    help="Only jobs made since then: 2030-01-31T12:00:00Z, or 2h: two hours ago.",
)
@click.option("--until", metavar="WHEN", help="Only jobs made before then.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, 100),
    metavar="NUMBER",
    help="How many jobs are listed.",
)
@click.option("--cursor", metavar="CURSOR", help="Go on behind the page that named this cursor.")
@click.option("-f", "--follow", is_flag=True, help="Show the events of jobs from now on, until ^C.")
@watch_option
def list_(follow: bool, watch: bool, failed: bool, **values: Any) -> None:
    """List jobs, the newest first.

    \b
    Example:
        towline job list --failed --since 2h
    """
    where, form = take_where(values), take_form(values)
    if failed and values["status"] is not None:
        raise click.UsageError("--failed says the status: it goes with no --status.")
    if follow:
        _check_follows(form)
    for flag in [name for name, on in (("follow", follow), ("watch", watch)) if on]:
        for refused in ("until", "cursor", *(("status",) if follow else ())):
            if values[refused] is not None:
                raise click.UsageError(f"--{flag} takes no --{refused}")
    if follow and (watch or failed):
        raise click.UsageError(f"--follow takes no --{'watch' if watch else 'failed'}")
    with connect(where) as client:
        if follow:
            for name in ("status", "until", "cursor", "limit"):
                del values[name]
            Printed(form).print_all(client.events(**values))
            return
        if watch:
            watching.watch(lambda: page_of(client, values, failed=failed).items, LISTING, form)
        page = page_of(client, values, failed=failed)
    rows, names = map(LISTING.row, page.items), map(LISTING.name, page.items)
    print_list(form, page, LISTING.columns, rows, names)
    if form.for_people and not page.items:
        say("no job is one of these" if page.status_counts else "there is no job yet", error=True)
    if form.for_people and page.next_cursor:
        say(
            f"{page.total_items} in all; --cursor {page.next_cursor} shows older ones",
            error=True,
        )


def page_of(client: Client, given: dict[str, Any], *, failed: bool) -> JobPage:
    """Return a page of jobs.

    Args:
        failed: whether only of those that failed on some node, or on all.
    """
    if not failed:
        return client.jobs(**given)
    pages = [client.jobs(**{**given, "status": status}) for status in FAILED]
    # Ids begin with the moment at which the job was made.
    found = sorted((job for page in pages for job in page.items), key=lambda job: job.id)[::-1]
    more = any(page.next_cursor for page in pages) or len(found) > given["limit"]
    items = found[: given["limit"]]
    return msgspec.structs.replace(
        pages[0],
        total_items=sum(page.total_items for page in pages),
        items=items,
        next_cursor=items[-1].id if more else None,
    )


def _row(job: JobView) -> list[Cell]:
    nodes = ", ".join(f"{count} {status}" for status, count in (job.nodes or {}).items())
    return [
        *(short(job.id), Moment(job.created), label(job.operation.type), job.target, job.status),
        *(nodes, job.caller),
    ]


LISTING: Listing[JobView] = Listing(
    [
        Column("JOB"),
        Column("CREATED", gives_way=2),
        Column("OPERATION", gives_way=3),
        Column("TARGET", gives_way=1, least=12),
        Column("STATUS"),
        Column("NODES", gives_way=4, least=8),
        Column("CALLER", gives_way=5, least=8),
    ],
    row=_row,
    name=lambda job: job.id,
    key=lambda job: job.id,
    # They are sorted by age already.
    urgent=lambda _: True,
    # What newer ones have taken the place of is there still.
    leaves=False,
)
"""How a list of jobs is shown."""


@with_connection
@with_results_output
@job.command(epilog=outcome.IN_HELP)
@click.argument("job_id")
@click.option(
    *("-f", "--follow", "-w", "--watch"),
    is_flag=True,
    help="Show its events and progress until it ends.",
)
def show(job_id: str, follow: bool, **values: Any) -> None:
    """Show one job; with --follow as towline job follow."""
    where, form = take_where(values), take_form(values)
    if follow:
        _follow_to_its_end(where, job_id, form)
    with connect(where) as client:
        found = client.job(job_id)
    if form.document:
        print_document(found, form)
    elif form.output == "name":
        print_names([found.id])
    else:
        print_job(found, form)
        if found.status in GOING_ON:
            say(f"goes on: towline job follow {short(found.id).short} shows it", error=True)


@with_connection
@with_output
@job.command(epilog=outcome.IN_HELP)
@click.argument("job_id")
def follow(job_id: str, **values: Any) -> None:
    """Show a job's events and progress until it ends."""
    _follow_to_its_end(take_where(values), job_id, take_form(values))


def _follow_to_its_end(where: Where, job_id: str, form: Form) -> NoReturn:
    _check_follows(form)
    order = Order.made(job_id)
    with connect(where) as client, last_words.on_signals([order]):
        order.rows = client.job(job_id).rows or []
        printed = Printed(form, order.rows)
        try:
            _follow(client, job_id, printed)
            order.rows = client.job(job_id).rows or []
        except ApiError as error:
            # Whatever has ended the following has not ended the job.
            spoken.translate(error, click.get_current_context().command)
            order.error = error
    last_words.end([order])


def _check_follows(form: Form) -> None:
    """Refuse a form that events don't come in; raises `UsageError`."""
    if form.output in ("name", "yaml"):
        raise click.UsageError(
            "What is followed is shown in words, or with -o json as an object a line: "
            f"it takes no {'-q and no -o name' if form.output == 'name' else '-o yaml'}."
        )


def _follow(client: Client, job_id: str, printed: Printed) -> None:
    """Show a job's events and progress until it ends."""
    if not printed.form.for_people:
        printed.print_all(client.job_events(job_id))
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
            name, news = each
            if name == "progress":
                screen.show(news)
            else:
                screen.say(printed.line(news))
                if news.kind == "end":
                    return
    finally:
        screen.close()


@with_connection
@with_results_output
@job.command(epilog=outcome.IN_HELP)
@click.argument("job_id")
@click.option(
    "--wait",
    default="30s",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for its end.",
)
def cancel(job_id: str, wait: str, **values: Any) -> None:
    """Stop a job on every node where it has not ended.

    \b
    Example:
        towline job cancel 0123456789ab
    """
    form = take_form(values)
    doubt = f"it is not known whether job {job_id} was stopped: towline job {job_id} shows it"
    seconds = duration(wait)
    with connect(take_where(values)) as client, last_words.instead(doubt):
        # One that has stopped already answers as the first time.
        cancelled = patiently(
            lambda: client.cancel(job_id, wait=seconds),
            lambda words: say(words, error=True),
            doubt=False,
        )
    if form.document:
        print_document(cancelled, form)
    elif form.output == "name":
        print_names([cancelled.job_id])
    else:
        print_results(cancelled.rows, None, form)
    outcome.stopped(cancelled.rows)


@with_connection
@with_results_output
@job.command(epilog=outcome.IN_HELP)
@click.argument("job_id")
@click.option(
    "--on", help=f"Which nodes, in place of those where it did not succeed. {FORMS}", **ON
)
@click.option(
    "--wait",
    default="30s",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for its end.",
)
@click.option("--dry-run", is_flag=True, help=DRY_RUN)
@with_job_options
@with_login
def retry(job_id: str, on: str | None, wait: str, dry_run: bool, **values: Any) -> None:
    """Do a job again where it did not succeed.

    The new job is for the nodes on which the first one failed, expired or was cancelled, unless
    --on names a target. They get their turns as in the first job, unless --max-parallel, --canary
    or --max-failures say otherwise. A credential that came with the first job has not been kept:
    give it again.

    \b
    Example:
        towline job retry 0123456789ab --max-parallel 10%
    """
    from towline.cli import foreseen
    from towline.endpoints import jobs as endpoints

    form = take_form(values)
    options, credential = take_job_options(values), take_login(values)
    key = options.pop("idempotency_key", None)
    deadline = deadline_of(wait)
    with connect(take_where(values)) as client:
        asking = client.with_options(**options, credential=credential)
        if dry_run:
            asking = asking.with_options(idempotency_key=key)
            found = asking.call(endpoints.retry, id=job_id, target_hostname=on, dry_run=True)
            foreseen.show([cast("DryRun", found)], [""], form, by=None)

        def ask(key: str, wait: float) -> tuple[str, None]:
            again = asking.with_options(wait=wait, idempotency_key=key)
            return again.retry(job_id, on=on).job_id, None

        order = Order(ask, key=key)
        with last_words.on_signals([order]):
            carry_out(asking, [order], deadline, form)
            print_orders([order], form)
    last_words.end([order])


COMMANDS = (job,)
