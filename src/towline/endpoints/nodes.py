"""The registered nodes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from towline.operations.node import LoadAverage
from towline.wire.node import ConditionType

Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class OsInfo(msgspec.Struct, frozen=True):
    """The operating system, as os-release(5) has it."""

    distribution: str
    version: str


class Memory(msgspec.Struct, frozen=True):
    """Memory in bytes."""

    total: int
    free: int
    used: int


class Interface(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network interface: the first address of each family, a global one where it has one."""

    name: str
    ipv4: str | None = None
    ipv6: str | None = None
    mac: str | None = None
    family: Literal["inet", "inet6", "dual"] | None = None


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """A route; of the default one, destination and mask are all zeros.

    Attributes:
        gateway: all zeros where the destination is reached directly.
        flags: letters as route(8) shows them.
    """

    destination: str
    gateway: str
    interface: str
    mask: str | None = None
    metric: int | None = None
    flags: str | None = None


class NodeCondition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a node is short of something, by its own clock.

    Attributes:
        reason: how short it is; absent where it isn't.
    """

    type: ConditionType
    status: bool
    last_transition_time: Timestamp
    reason: str | None = None


class NodeMoment(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a node."""

    timestamp: Timestamp
    event: str
    hostname: str | None = None
    message: str | None = None
    error: str | None = None


class AgentView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A registered node.

    Attributes:
        status: whether it is here.
        state: whether it takes work; NotReady for one that is away, whatever was decided about it.
        drained_at: since when it takes no work; absent for one that does.
        last_heard: when its last heartbeat came, by the controller's clock.
        uptime: absent for one that is away.
        version: its agent's.
        capabilities: what it can do.
        troubles: why some of that does not work at this moment, by capability.
        running: how many tasks.
        facts: what parameters may refer to as `@fact.NAME`.
    """

    hostname: str
    machine_id: str
    status: Literal["Ready", "NotReady"]
    state: Literal["Ready", "NotReady", "Draining", "Cordoned"]
    labels: dict[str, str]
    registered_at: Timestamp
    started_at: Timestamp
    last_heard: Timestamp
    version: str
    facts: dict[str, Any]
    timeline: list[NodeMoment]
    drained_at: Timestamp | None = None
    os_info: OsInfo | None = None
    uptime: str | None = None
    load_average: LoadAverage | None = None
    memory: Memory | None = None
    architecture: str | None = None
    kernel_version: str | None = None
    cpu_count: int | None = None
    fqdn: str | None = None
    service_mgr: str | None = None
    package_mgr: str | None = None
    interfaces: list[Interface] = []
    primary_interface: str | None = None
    routes: list[Route] = []
    conditions: list[NodeCondition] = []
    capabilities: list[str] = []
    troubles: dict[str, str] = {}
    running: int | None = None
