"""The commands about nodes: list them, and say which of them take work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from towline.cli.command import Command
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.options import output_option
from towline.cli.output import print_json, print_table

if TYPE_CHECKING:
    from towline.client import NodeView


@with_connection
@click.command(cls=Command)
@output_option
def nodes(output: str, **values: Any) -> None:
    """List the nodes."""
    with connect(take_where(values)) as client:
        found = client.nodes()
    if output == "json":
        print_json(found)
        return
    print_table(
        ["HOSTNAME", "STATE", "LABELS", "VERSION", "LAST HEARD", "MACHINE ID"],
        [
            [
                node["hostname"],
                _state_of(node),
                " ".join(f"{key}:{value}" for key, value in node["labels"].items()),
                node["version"],
                node["last_heard"],
                node["machine_id"],
            ]
            for node in found
        ],
    )


def _state_of(node: NodeView) -> str:
    states = [node["status"]]
    if node["state"] != node["status"]:
        states.append(node["state"])
    elif "drained_at" in node:
        states.append("drained")
    states += [f"{name}: {why}" for name, why in node.get("troubles", {}).items()]
    return "; ".join(states)


@with_connection
@click.command(cls=Command)
@click.argument("node")
def drain(node: str, **values: Any) -> None:
    """Stop giving work to a node.

    What runs there goes on to its end.
    """
    with connect(take_where(values)) as client:
        print(client.drain(node))


@with_connection
@click.command(cls=Command)
@click.argument("node")
def undrain(node: str, **values: Any) -> None:
    """Give work to a drained node again."""
    with connect(take_where(values)) as client:
        print(client.undrain(node))


COMMANDS = (nodes, drain, undrain)
