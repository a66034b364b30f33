"""The command that says how a controller is."""

from __future__ import annotations

import sys
from typing import Any

import click

from towline.cli.command import Command
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.options import take_form, with_output
from towline.cli.output import print_document, print_names
from towline.cli.tables import Column, print_table
from towline.cli.terminal import say


@with_connection
@with_output
@click.command(cls=Command)
def health(**values: Any) -> None:
    """How the controller is, and all that it works with.

    The exit status is 0 only if a pull would work.
    """
    from towline.endpoints import health

    form = take_form(values)
    with connect(take_where(values)) as client:
        found = client.call(health.status)
    if form.document:
        print_document(found, form)
    elif form.output == "name":
        print_names(found.components)
    else:
        say(f"status   {found.status}")
        say(f"version  {found.version}, up {found.uptime}")
        say(f"nodes    {found.agents.ready} of {found.agents.total} are here")
        say(f"jobs     {found.jobs.total}, {found.jobs.processing} under way")
        if found.audit is not None and found.audit.lost:
            say(f"audit    {found.audit.lost} requests have no entry: too many waited")
        if found.forged:
            say(f"stored   {found.forged} times something was read that no controller has stored")
        say("")
        print_table(
            [
                Column("COMPONENT"),
                Column("STATUS"),
                Column("ADDRESS", gives_way=1, least=12),
                Column("ERROR", words=True, optional=True),
            ],
            [
                [name, each.status, each.address, each.error]
                for name, each in found.components.items()
            ],
            form,
        )
    sys.exit(0 if found.status == "ok" else 1)


COMMANDS = (health,)
