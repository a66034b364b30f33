"""Nodes: what their agents report of them, and what people decide about them. Pure data."""

from __future__ import annotations

import msgspec


class Registration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node is; written when its agent starts, kept for good.

    Attributes:
        machine: the machine id.
        labels: `key: value`, the value a dotted path.
        started, registered: seconds since 1970 by the node's clock: this start, the first one.
        booted: when the machine was started, likewise.
        public_key: what is sealed to it only the node can read: X25519, as base64.
        interval: seconds between its heartbeats.
    """

    machine: str
    hostname: str
    version: str
    started: float
    registered: float
    interval: float
    labels: dict[str, str] = {}
    architecture: str = ""
    kernel: str = ""
    cpu_count: int = 0
    distribution: str = ""
    os_version: str = ""
    booted: float | None = None
    public_key: str = ""


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a node is here, and what it can do at this moment.

    Attributes:
        capabilities: what the node can do, each with the reason why it can't at this moment, or "".
        running: how many tasks.
        leaving: the agent is stopping, of its own will.
        load: the mean number of runnable tasks over 1, 5 and 15 minutes.
        memory: bytes: total, free, used.
    """

    capabilities: dict[str, str] = {}
    running: int = 0
    leaving: bool = False
    load: tuple[float, float, float] | None = None
    memory: tuple[int, int, int] | None = None


class NodeState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What people have decided about a node.

    Attributes:
        drained: since when it takes no work, in seconds since 1970; None for one that does.
        by: who decided so.
        changed: when that was.
    """

    drained: float | None = None
    by: str = ""
    changed: float = 0.0
