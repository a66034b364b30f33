"""The commands about nodes; the one that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from towline.cli.cells import Moment, machine_id
from towline.cli.command import Group
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.invite import invite
from towline.cli.options import take_form, with_output
from towline.cli.output import print_list
from towline.cli.tables import Column

if TYPE_CHECKING:
    from towline.client import AgentView


@click.group(cls=Group)
def node() -> None:
    """List and show nodes, let machines in, drain nodes and shut them out."""


@with_connection
@with_output
@node.command("list")
def list_(**values: Any) -> None:
    """List the nodes."""
    form = take_form(values)
    with connect(take_where(values)) as client:
        found = client.nodes()
    print_list(
        form,
        found,
        [
            Column("HOSTNAME"),
            Column("MACHINE ID", gives_way=4),
            Column("LABELS", gives_way=3, least=12, optional=True),
            Column("VERSION", gives_way=5),
            Column("LAST HEARD", gives_way=2),
            Column("STATE", words=True),
        ],
        [
            [
                node.hostname,
                machine_id(node.machine_id),
                " ".join(f"{key}:{value}" for key, value in node.labels.items()),
                node.version,
                Moment(node.last_heard),
                _state_of(node),
            ]
            for node in found
        ],
        [node.hostname for node in found],
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
