"""The commands about nodes; the one that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from towline.cli.command import Group
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.invite import invite
from towline.cli.options import output_option
from towline.cli.output import print_json, print_table

if TYPE_CHECKING:
    from towline.client import AgentView


@click.group(cls=Group)
def node() -> None:
    """List and show nodes, let machines in, drain nodes and shut them out."""


@with_connection
@node.command("list")
@output_option
def list_(output: str, **values: Any) -> None:
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
                node.hostname,
                _state_of(node),
                " ".join(f"{key}:{value}" for key, value in node.labels.items()),
                node.version,
                node.last_heard,
                node.machine_id,
            ]
            for node in found
        ],
    )


def _state_of(node: AgentView) -> str:
    states: list[str] = [node.status]
    if node.revoked_at is not None:
        states.append(f"revoked by {node.revoked_by}")
    if node.second_agent_at is not None:
        states.append(f"another agent has its identity, last seen {node.second_agent_at}")
    if node.state != node.status:
        states.append(node.state)
    elif node.drained_at is not None:
        states.append("drained")
    states += [f"{name}: {why}" for name, why in node.troubles.items()]
    if node.refused:
        states.append(f"{node.refused} messages refused: {node.refusal}")
    if node.dropped:
        states.append(f"{node.dropped} of its messages dropped: it sends more than a node may")
    return "; ".join(states)


node.add_command(invite)
COMMANDS = (node,)
