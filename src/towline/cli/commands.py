"""The root of all commands. Those of operations are made in `generated`."""

from __future__ import annotations

import click

from towline import __version__
from towline.cli import generated, jobs, nodes, registries, serve, token


@click.group(cls=generated.Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="towline")
def cli() -> None:
    """Put container images on machines, and run a fleet of Linux hosts over one API."""


for commands in (jobs, nodes, registries, serve, token):
    for command in commands.COMMANDS:
        cli.add_command(command)
