"""The commands about nodes; the one that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from towline.cli import watching
from towline.cli.cells import Cell, Moment, machine_id, node_name, twins
from towline.cli.command import Group
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.form import Form
from towline.cli.invite import invite
from towline.cli.node_view import print_node
from towline.cli.node_words import READY, state, troubles
from towline.cli.options import take_form, with_output
from towline.cli.output import print_document, print_list, print_names
from towline.cli.tables import Column
from towline.cli.target import ON
from towline.cli.terminal import say
from towline.cli.watching import Listing, watch_option
from towline.wire.target import AND

if TYPE_CHECKING:
    from towline.client import AgentView, Client


@click.group(cls=Group)
def node() -> None:
    """List and show nodes, let machines in, drain nodes and shut them out."""


@with_connection
@with_output
@node.command("list")
@click.option(
    "--label",
    "labels",
    metavar="KEY:VALUE",
    multiple=True,
    help="Only nodes that carry this label, or one below it. Given more than once: and.",
)
@click.option(
    "--not-ready", "status", flag_value="NotReady", default=None, help="Only nodes that are away."
)
@click.option("--target", **ON, help="Only nodes that this target means, as --on has it.")
@watch_option
def list_(
    labels: tuple[str, ...], status: str | None, target: str | None, watch: bool, **values: Any
) -> None:
    """List the nodes.

    \b
    Example:
        towline node list --label group:web --not-ready
    """
    form = take_form(values)
    with connect(take_where(values)) as client:
        asked = Asked(client, brief=watch or not form.document)
        asked.which(label=AND.join(labels) or None, status=status, target=target)
        if watch:
            watching.watch(asked.again, listing(form, asked, watched=True), form)
        found = asked.again()
    shown = listing(form, asked)
    print_list(form, found, shown.columns, map(shown.row, found), map(shown.name, found))
    if form.for_people and not found:
        some = labels or status or target
        say("no node is one of these" if some else "no node is registered", error=True)


@with_connection
@with_output
@node.command()
@click.argument("name", metavar="NODE")
def show(name: str, **values: Any) -> None:
    """Show one node."""
    form = take_form(values)
    with connect(take_where(values)) as client:
        found = client.node(name)
    if form.document:
        print_document(found, form)
    elif form.output == "name":
        print_names([found.hostname])
    else:
        print_node(found, form)


class Asked:
    """The nodes that are asked for: all at first, and then only what has changed.

    Attributes:
        alike: the hostnames that several of them have.

    Args:
        brief: whether their facts, figures and history are left out.
    """

    def __init__(self, client: Client, *, brief: bool) -> None:
        self._client = client
        self._given: dict[str, Any] = {"brief": brief}
        self._nodes: dict[str, AgentView] = {}
        self.alike: frozenset[str] = frozenset()

    def which(self, **given: str | None) -> None:
        """Say which nodes, by the parameters of the endpoint; None for what isn't said."""
        self._given |= {name: value for name, value in given.items() if value is not None}

    def again(self) -> list[AgentView]:
        """Return the nodes as they are now, by hostname; raises `ApiError`."""
        from towline.endpoints import node_list

        answer = self._client.call(node_list.list_nodes, **self._given)
        if not answer.changes:
            self._nodes.clear()
        for machine in answer.gone:
            self._nodes.pop(machine, None)
        self._nodes |= {each.machine_id: each for each in answer.agents}
        self._given["after"] = answer.cursor
        found = sorted(self._nodes.values(), key=lambda each: (each.hostname, each.machine_id))
        self.alike = twins((each.hostname, each.machine_id) for each in found)
        return found


def listing(form: Form, asked: Asked, *, watched: bool = False) -> Listing[AgentView]:
    """Return how a list of nodes is shown.

    Args:
        watched: whether nodes that are here say nothing of when they were heard: that is no news.
    """
    in_full = form.whole or form.output == "wide"

    def row(node: AgentView) -> list[Cell]:
        here = watched and node.status == READY
        return [
            node_name(node.hostname, node.machine_id, asked.alike),
            state(node),
            None if here else Moment(node.last_heard),
            " ".join(f"{key}:{value}" for key, value in sorted(node.labels.items())),
            node.version,
            machine_id(node.machine_id),
            "; ".join(troubles(node, in_full=in_full)),
        ]

    return Listing(
        [
            Column("NODE"),
            Column("STATE"),
            Column("HEARD", gives_way=1),
            Column("LABELS", gives_way=2, least=12, optional=True),
            Column("VERSION", gives_way=3),
            Column("MACHINE ID", wide=True),
            Column("TROUBLE", words=True, optional=True),
        ],
        row,
        name=lambda node: node.machine_id if node.hostname in asked.alike else node.hostname,
        key=lambda node: node.machine_id,
        urgent=lambda node: state(node) != READY or bool(troubles(node, in_full=False)),
    )


node.add_command(invite)
COMMANDS = (node,)
