"""The command that says how a controller is."""

from __future__ import annotations

import sys
from typing import Any

import click

from towline.cli.command import Command
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.options import output_option
from towline.cli.output import print_json, print_table
from towline.cli.terminal import say


@with_connection
@click.command(cls=Command)
@output_option
def health(output: str, **values: Any) -> None:
    """How the controller is, and all that it works with.

    The exit status is 0 only if a pull would work.
    """
    from towline.endpoints import health

    with connect(take_where(values)) as client:
        found = client.call(health.status)
    if output == "json":
        print_json(found)
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
            ["COMPONENT", "STATUS", "ADDRESS", ""],
            [
                [name, each.status, each.address or "-", each.error or ""]
                for name, each in found.components.items()
            ],
        )
    sys.exit(0 if found.status == "ok" else 1)


COMMANDS = (health,)
