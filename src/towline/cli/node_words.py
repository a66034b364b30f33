"""What people are told of how a node is, in a word or two, or in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from towline.client import AgentView

READY = "Ready"
SHORT_OF = {
    "MemoryPressure": "short of memory",
    "HighLoad": "high load",
    "DiskPressure": "disk nearly full",
}
"""What a table says of conditions."""


def state(node: AgentView) -> str:
    """Return what a node's state is, in one word."""
    return node.state if node.revoked_at is None else "Revoked"


def troubles(node: AgentView, *, in_full: bool) -> list[str]:
    """Return what is the matter with a node, in a few words each, or in full."""
    found: list[str] = []
    if node.drained_at is not None and node.status != READY:
        found.append("drained")
    if node.second_agent_at is not None:
        since = f", last seen {node.second_agent_at}" if in_full else ""
        found.append(f"a second agent has its identity{since}")
    for name, why in node.troubles.items():
        found.append(f"{name}: {why}" if in_full else f"{name} does not work")
    for each in node.conditions:
        if each.status:
            why = f" ({each.reason})" if in_full and each.reason else ""
            found.append(f"{SHORT_OF.get(each.type, each.type)}{why}")
    if node.refused:
        why = f": {node.refusal}" if in_full and node.refusal else ""
        found.append(f"{node.refused} messages refused{why}")
    if node.dropped:
        why = ": it sends more than a node may" if in_full else ""
        found.append(f"{node.dropped} of its messages dropped{why}")
    if node.revoked_at is not None and in_full:
        found.append(f"revoked by {node.revoked_by} at {node.revoked_at}")
    return found
