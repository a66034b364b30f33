"""The commands about registries: keep and list the credentials for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from towline.cli.cells import Moment
from towline.cli.command import Group
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.options import take_form, with_output
from towline.cli.output import print_list
from towline.cli.passwords import read_secret
from towline.cli.tables import Column
from towline.cli.terminal import say

if TYPE_CHECKING:
    from towline.client import RegistryView


@click.group(cls=Group)
def registry() -> None:
    """Keep the credentials that pulls use."""


@registry.command("set")
@click.argument("host")
@click.option("-u", "--username", metavar="NAME", help="The user at the registry.")
@click.option(
    "--identity-token", is_flag=True, help="Read an identity token in place of a password."
)
def set_(host: str, username: str | None, identity_token: bool, **values: Any) -> None:
    """Keep a credential for a registry, in place of an earlier one.

    The password is read from standard input, or typed at a prompt.

    \b
    Example:
        towline registry set registry.internal:5000 -u puller < password
    """
    if username is None and not identity_token:
        raise click.UsageError("Give --username NAME, or --identity-token.")
    secret = read_secret("Identity token" if identity_token else "Password")
    with connect(take_where(values)) as client:
        kept = client.set_registry(
            host,
            username=username,
            password=None if identity_token else secret,
            identity_token=secret if identity_token else None,
        )
    say(f"Kept for {kept.registry}: {_whose(kept)}.")


@registry.command("list")
def list_(**values: Any) -> None:
    """List the registries that have a credential."""
    form = take_form(values)
    with connect(take_where(values)) as client:
        found = client.registries()
    print_list(
        form,
        found,
        [
            Column("REGISTRY"),
            Column("CREDENTIAL", gives_way=1, least=12),
            Column("UPDATED", gives_way=2),
            Column("BY", gives_way=3, least=8),
        ],
        [[kept.registry, _whose(kept), Moment(kept.updated_at), kept.updated_by] for kept in found],
        [kept.registry for kept in found],
    )


def _whose(kept: RegistryView) -> str:
    name = f" of {kept.username}" if kept.username else ""
    unreadable = (
        "" if kept.readable else ", encrypted with a key that this controller does not have"
    )
    return f"{kept.type.replace('_', ' ')}{name}{unreadable}"


with_output(list_)
for command in (set_, list_):
    with_connection(command)

COMMANDS = (registry,)
