"""The commands about the audit: list it, and look whether it was tampered with."""

from __future__ import annotations

import sys
from typing import Any

import click

from towline.cli.cells import Moment
from towline.cli.command import Command, Group
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.options import given, take_form, with_output
from towline.cli.output import print_document, print_list
from towline.cli.tables import Column
from towline.cli.terminal import printable, say


@click.group(cls=Group, invoke_without_command=True)
@click.option("--user", metavar="NAME", help="Only requests of this caller.")
@click.option(
    "--operation", metavar="OPERATION", help="Only requests for this, such as docker.pull."
)
@click.option(
    "--code", type=click.IntRange(100, 599), metavar="STATUS", help="Only those with this status."
)
@click.option("--job", metavar="JOB_ID", help="Only requests about this job.")
@click.option(
    "--since",
    metavar="WHEN",
    help="Only requests since then: 2030-01-31T12:00:00Z, or 2h: two hours ago.",
)
@click.option("--until", metavar="WHEN", help="Only requests before then.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, 100),
    metavar="NUMBER",
    help="How many entries are listed.",
)
@click.option(
    "--offset",
    type=click.IntRange(0),
    metavar="NUMBER",
    help="How many of the newest are left out.",
)
@click.pass_context
def audit(context: click.Context, /, **values: Any) -> None:
    """List who changed something and who was refused.

    The newest comes first.
    """
    where, form = take_where(values), take_form(values)
    if context.invoked_subcommand is not None:
        return
    from towline.endpoints import audit as endpoints

    with connect(where) as client:
        page = client.call(endpoints.list_audit, **given(values))
    print_list(
        form,
        page,
        [
            Column("TIME", gives_way=1),
            Column("USER"),
            Column("ADDRESS", gives_way=4),
            Column("OPERATION", gives_way=2, least=12),
            Column("TARGET", gives_way=3, least=8),
            Column("CODE"),
            Column("COUNT", gives_way=5),
        ],
        [
            [
                *(Moment(each.timestamp), each.user, each.source_ip, each.operation_id),
                *(each.target, str(each.response_code), str(each.count or 1)),
            ]
            for each in page.items
        ],
        [each.id for each in page.items],
    )
    if form.for_people and page.total_items > len(page.items):
        say(f"{page.total_items} in all; --offset and --limit show others", error=True)


@with_connection
@with_output
@click.command(cls=Command)
def verify(**values: Any) -> None:
    """Name what of the audit was changed, removed or put in.

    The exit status is 0 only if nothing was.
    """
    from towline.endpoints import audit as endpoints

    form = take_form(values)
    with connect(take_where(values)) as client:
        found = client.call(endpoints.verify)
    if form.document:
        print_document(found, form)
    else:
        for fault in found.faults:
            when = f" ({fault.timestamp}, {fault.id})" if fault.id else ""
            say(printable(f"{fault.error}{when}"))
        for job in found.jobs_without_entry:
            say(
                f"job {job} has no entry: that was lost with a controller; the job says whose it is"
            )
        counted = f"{found.entries} entries, {found.chains} chains, {found.checkpoints} checkpoints"
        older = f"; {found.forgotten} older entries are not kept" if found.forgotten else ""
        say(f"{'intact' if found.intact else 'NOT INTACT'}: {counted}{older}")
    sys.exit(0 if found.intact else 1)


audit.add_command(verify)
with_connection(with_output(audit))
COMMANDS = (audit,)
