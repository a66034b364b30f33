"""One node, as people are shown it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple

from towline.cli.cells import Cell, Moment, machine_id
from towline.cli.form import Form
from towline.cli.node_words import state, troubles
from towline.cli.output import print_values
from towline.cli.tables import Column, print_table
from towline.cli.terminal import say
from towline.units import show_size

if TYPE_CHECKING:
    from towline.client import AgentView

KNOWN = ("hostname", "fqdn", "arch", "kernel", "interface", "containerized")
"""Facts of each machine, which stand elsewhere; all others are people's own."""


def print_node(node: AgentView, form: Form) -> None:
    """Print a node for people: how it is, what it is, and what became of it."""
    print_values(_values(node), form)
    if node.interfaces:
        say("")
        print_table(
            [Column("INTERFACE"), Column("IPV4"), Column("IPV6", gives_way=2), Column("MAC", 1)],
            [[each.name, each.ipv4, each.ipv6, each.mac] for each in node.interfaces],
            form,
        )
    if form.output == "wide" and node.routes:
        say("")
        print_table(
            [Column(head) for head in ("DESTINATION", "MASK", "GATEWAY", "INTERFACE", "METRIC")],
            [
                [each.destination, each.mask, each.gateway, each.interface, _text(each.metric)]
                for each in node.routes
            ],
            form,
        )
    say("")
    print_table(
        [Column("WHEN"), Column("EVENT"), Column("", words=True, optional=True)],
        [
            [Moment(each.timestamp), each.event, each.error or each.message]
            for each in node.timeline
        ],
        form,
    )


def _values(node: AgentView) -> dict[str, Cell]:
    """Return what is said of a node, a line each; None for what isn't known."""
    matter = troubles(node, in_full=True)
    memory, load, system = node.memory, node.load_average, node.os_info
    facts = node.facts.get("custom")
    return {
        "node": node.hostname,
        "machine id": machine_id(node.machine_id),
        "state": state(node),
        "trouble": "; ".join(matter) if matter else None,
        "labels": " ".join(f"{key}:{value}" for key, value in sorted(node.labels.items())) or None,
        "heard": Moment(node.last_heard),
        "drained": None if node.drained_at is None else Moment(node.drained_at),
        "version": node.version,
        "can": ", ".join(node.capabilities) or None,
        "running": None if node.running is None else f"{node.running} tasks",
        "invited by": node.invited_by,
        "may choose": ", ".join(node.allowed_labels) or None,
        "ephemeral": None if node.ephemeral is None else f"{node.ephemeral:g} s away at most",
        "system": None if system is None else f"{system.distribution} {system.version}",
        "kernel": _joined(node.kernel_version, node.architecture),
        "up for": node.uptime,
        "processors": _text(node.cpu_count),
        "load": None if load is None else " ".join(f"{each:.2f}" for each in astuple(load)),
        "memory": None
        if memory is None
        else f"{show_size(memory.used)} of {show_size(memory.total)} in use",
        "full name": node.fqdn,
        "services by": node.service_mgr,
        "packages by": node.package_mgr,
        "facts": " ".join(_facts(facts)) if isinstance(facts, dict) and facts else None,
    }


def _facts(facts: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield facts as parameters name them: `custom.site.city=Oslo`."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _facts(value, f"{before}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{before}{name}={text}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _joined(*parts: str | None) -> str | None:
    return ", ".join(part for part in parts if part) or None
