"""Nodes: what their agents report of them, and what people decide about them. Pure data."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from towline.wire.facts import Facts
from towline.wire.fields import LATEST, Count, MachineId, Moment, Name, StartId, Text

MOST_NAMED = 256
"""Tasks that a heartbeat names at most."""

LONGEST_INTERVAL = 3600.0
"""Seconds between heartbeats at most: for so long, three times, a node that is gone counts as
here."""
Interval = Annotated[float, msgspec.Meta(gt=0.0, le=LONGEST_INTERVAL)]
Load = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
ConditionType = Literal["MemoryPressure", "HighLoad", "DiskPressure"]


class Registration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node is; sent when its agent starts or reconnects, and now and then; kept for good.

    Attributes:
        machine: the machine id.
        labels: `key: value`, the value a dotted path.
        started: when the agent was, by the node's clock.
        registered: when the node first was, by the controllers' clock; 0 in what an agent sends.
        booted: when the machine was started, by the node's clock.
        public_key: what is sealed to it only the node can read: X25519, as base64.
        start, after: as in its heartbeats; "" where it doesn't say.
        facts: what the machine is.
        trusts: what the node trusts, as a hash, see `towline.trust.trusted`; "" where it doesn't
            say.
    """

    machine: MachineId
    hostname: Name
    version: Name
    started: Moment
    registered: Moment | None = None
    labels: dict[Name, Name] = {}
    booted: Moment | None = None
    public_key: Name = ""
    start: Name = ""
    after: Name = ""
    facts: Facts = Facts()
    trusts: Name = ""


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a node is short of something.

    Attributes:
        since: when `status` became what it is, by the node's clock.
        reason: how short it is; "" where it isn't.
    """

    since: Moment
    status: bool = False
    reason: Text = ""


class Conditions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node may be short of; None for what is not known of it."""

    memory_pressure: Condition | None = None
    high_load: Condition | None = None
    disk_pressure: Condition | None = None

    @property
    def known(self) -> dict[ConditionType, Condition]:
        """What is known, by the names that the API has for it."""
        found: dict[ConditionType, Condition | None] = {
            "MemoryPressure": self.memory_pressure,
            "HighLoad": self.high_load,
            "DiskPressure": self.disk_pressure,
        }
        return {name: each for name, each in found.items() if each is not None}


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a node is here, what it can do at this moment, and which tasks it holds.

    Attributes:
        start: what its agent has drawn when it started.
        after: what it had drawn at its last start; "" where its ledger knows of none.
        interval: seconds until the next one, at most.
        capabilities: what the node can do, each with the reason why it can't at this moment, or "".
        running: how many tasks.
        tasks: the ids of the jobs whose tasks it has accepted and that have not ended for the
            controllers, 16 bytes each, `MOST_NAMED` of them at most.
        more: whether there are more of them than that.
        leaving: the agent is stopping, of its own will.
        load: the mean number of runnable tasks over 1, 5 and 15 minutes.
        memory: bytes: total, free, used.
        conditions: what the node is short of.
        refused: how many messages this start of its agent has not believed, and why not the newest.
        second: another agent with its identity counts: this one only shows that it is there.
        inventory: the hash of what the node has, see `towline.wire.inventory`; "" where it doesn't
            say, or not yet.
    """

    start: StartId
    interval: Interval
    after: Name = ""
    capabilities: dict[Name, Text] = {}
    running: Count = 0
    tasks: bytes = b""
    more: bool = False
    leaving: bool = False
    load: tuple[Load, Load, Load] | None = None
    memory: tuple[Count, Count, Count] | None = None
    conditions: Conditions = Conditions()
    refused: Count = 0
    refusal: Text = ""
    second: bool = False
    inventory: Name = ""

    @property
    def jobs(self) -> frozenset[str]:
        """The ids of the jobs that it names."""
        packed = self.tasks
        whole = range(0, len(packed) - len(packed) % 16, 16)
        return frozenset(str(uuid.UUID(bytes=packed[at : at + 16])) for at in whole)


def pack(jobs: Iterable[str]) -> bytes:
    """Return the ids of jobs as a heartbeat has them."""
    return b"".join(uuid.UUID(job).bytes for job in jobs)


class Signs(msgspec.Struct, frozen=True):
    """When some nodes were heard last, by machine id and by the controllers' clock."""

    heard: dict[MachineId, Moment] = {}


class NodeState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What people have decided about a node.

    Attributes:
        drained: since when it takes no work, in seconds since 1970; None for one that does.
        by, changed: who decided so, and when.
        revoked: since when its login is worth nothing, likewise; None for one that counts.
        removed: when it was forgotten, likewise; what it registered before counts no longer.
        shut_by: who decided so.
    """

    drained: Moment | None = None
    by: Text = ""
    changed: Annotated[float, msgspec.Meta(ge=0.0, le=LATEST)] = 0.0
    revoked: Moment | None = None
    removed: Moment | None = None
    shut_by: Text = ""
