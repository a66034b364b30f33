"""The command that makes an invite, and prints the line by which a machine comes in."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlsplit

import click

from towline.cli import local
from towline.cli.command import Command
from towline.cli.connection import connect, settings_of, take_where, with_connection
from towline.cli.terminal import say
from towline.errors import InvalidConfiguration


@with_connection
@click.command(cls=Command)
@click.option("--hostname", metavar="NAME", help="What the node is called.")
@click.option(
    "--label",
    "labels",
    metavar="KEY:VALUE",
    multiple=True,
    help="What its nodes carry. It may be given several times.",
)
@click.option(
    "--allow-label",
    "allow_labels",
    metavar="PATTERN",
    multiple=True,
    help="Labels that a machine itself may choose, such as 'zone:*'. It may be given several "
    "times.",
)
@click.option(
    "--expires", metavar="DURATION", help="How long it may be used, 30d at most; 1h unless given."
)
@click.option(
    "--uses",
    metavar="NUMBER",
    help="How many machines may use it, 1000 at most, or unlimited; 1 unless given.",
)
@click.option(
    "--ephemeral",
    metavar="DURATION",
    help="Remove its nodes when they have been away for so long, 1m at least; for machines that "
    "come and go.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Let a machine take the name of one that is away and came by the same line, which is "
    "removed.",
)
@click.option("--approve", is_flag=True, help="Let each machine wait until somebody lets it in.")
def invite(**values: Any) -> None:
    """Print the line that makes another machine a node.

    Whoever has the line can come in by it: keep it as a password.
    """
    from towline.client.connection import is_loopback
    from towline.endpoints import joining

    where = take_where(values)
    settings = settings_of(where)
    url = settings.url or local.url(settings)
    if settings.url is None and is_loopback(urlsplit(url).hostname or ""):
        raise InvalidConfiguration(
            f"No other machine reaches this controller: it answers at {url}.",
            "Start it with --listen HOST:PORT, an address that other machines reach. Where it has "
            f"one, name that with --state {shlex.quote(str(local.directory(settings)))} --url URL; "
            f"for an agent on this machine the URL is {url}",
        )
    given: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value not in (None, (), False)  # what is empty is somebody's mistake, and refused
    }
    with connect(where) as client:
        made = client.call(joining.create, **given)
    say(f"towline agent join {url} {made.token}")
