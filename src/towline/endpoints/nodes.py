"""`/agent`: the registered nodes, and whether they take work."""

from __future__ import annotations

import operator
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import DateTime, Message, Moment, NodeName, one_of, target
from towline.errors import Conflict, InvalidRequest
from towline.operations.node import LoadAverage
from towline.units import show_uptime, timestamp
from towline.wire.facts import Interface, Route, known
from towline.wire.node import Conditions, ConditionType
from towline.wire.target import Hostname

if TYPE_CHECKING:
    from towline.controller.member import Member


READS, WRITES = "agent:read", "agent:write"
SECOND_FOR = 60.0
"""Seconds for which a second agent is shown that was refused: it tries again sooner than that."""


class OsInfo(msgspec.Struct, frozen=True):
    """The operating system, as os-release(5) has it."""

    distribution: str
    version: str


class Memory(msgspec.Struct, frozen=True):
    """Memory in bytes."""

    total: int
    free: int
    used: int


class NodeCondition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a node is short of something, by its own clock.

    Attributes:
        reason: how short it is; absent where it isn't.
    """

    type: Annotated[str, one_of(*get_args(ConditionType))]
    status: bool
    last_transition_time: DateTime
    reason: str | None = None


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
        refused: how many messages this start of its agent has not believed: not signed by a
            controller, altered, for another node, or too old; absent for none.
        refusal: why not the newest.
        dropped: how many messages of it the controller that answers has not read, since it sent
            more than a node may; absent for none.
        revoked_at, revoked_by: since when its login is worth nothing, and who decided so; absent
            for one that counts.
        invited_by: who made the invite by which it came; absent for one that came by none, which
            says by itself what it is called and which labels it carries.
        allowed_labels: patterns of the labels that it may choose itself.
        ephemeral: seconds for which it may be away before it is removed; absent for any time.
        second_agent_at: when another agent with its identity was refused last: a copy of its login
            or its state directory, on another machine; absent where none was in the last minute.
    """

    hostname: str
    machine_id: str
    status: Annotated[str, one_of("Ready", "NotReady")]
    state: Annotated[str, one_of("Ready", "NotReady", "Draining", "Cordoned")]
    labels: dict[str, str]
    registered_at: DateTime
    started_at: DateTime
    last_heard: DateTime
    version: str
    facts: dict[str, Any]
    timeline: list[Moment]
    drained_at: DateTime | None = None
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
    refused: int = 0
    refusal: str = ""
    dropped: int = 0
    revoked_at: DateTime | None = None
    revoked_by: str | None = None
    invited_by: str | None = None
    allowed_labels: list[str] = []
    ephemeral: float | None = None
    second_agent_at: DateTime | None = None


def view(member: Member, dropped: int = 0) -> AgentView:
    """Return what is known of a node, of which a controller has dropped so many messages."""
    registration, beat = member.registration, member.heartbeat
    facts, record = registration.facts, member.record
    os_info = uptime = load = memory = None
    if facts.distribution:
        os_info = OsInfo(facts.distribution, facts.os_version)
    if registration.booted is not None and member.here:
        uptime = show_uptime(time.time() - registration.booted)
    if beat is not None and beat.load is not None:
        load = LoadAverage(*beat.load)
    if beat is not None and beat.memory is not None:
        memory = Memory(*beat.memory)
    return msgspec.structs.replace(
        summary(member, dropped),
        os_info=os_info,
        uptime=uptime,
        load_average=load,
        memory=memory,
        architecture=facts.architecture or None,
        kernel_version=facts.kernel or None,
        cpu_count=facts.cpu_count or None,
        fqdn=facts.fqdn or None,
        service_mgr=facts.service_manager or None,
        package_mgr=facts.package_manager or None,
        interfaces=facts.interfaces,
        primary_interface=facts.primary_interface or None,
        routes=facts.routes,
        facts=known(facts, member.hostname),
        conditions=[] if beat is None else _conditions(beat.conditions),
        capabilities=[] if beat is None else sorted(beat.capabilities),
        allowed_labels=[] if record is None else record.allowed,
        timeline=_history(member),
    )


def summary(member: Member, dropped: int = 0) -> AgentView:
    """Return what lists show of a node: what it is short of, but no facts, figures or history."""
    registration, beat, record = member.registration, member.heartbeat, member.record
    since, by = member.revoked or (None, None)
    troubles = {} if beat is None else {name: why for name, why in beat.capabilities.items() if why}
    return AgentView(
        hostname=member.hostname,
        machine_id=member.machine,
        status="Ready" if member.here else "NotReady",
        state=_state(member),
        drained_at=None if member.drained is None else timestamp(member.drained),
        labels=registration.labels,
        registered_at=timestamp(member.registered),
        started_at=timestamp(registration.started),
        last_heard=timestamp(member.last_heartbeat),
        version=registration.version,
        conditions=[] if beat is None else _conditions(beat.conditions, short=True),
        troubles=troubles,
        running=None if beat is None else beat.running,
        refused=0 if beat is None else beat.refused,
        refusal="" if beat is None else beat.refusal,
        dropped=dropped,
        revoked_at=None if since is None else timestamp(since),
        revoked_by=by,
        invited_by=None if record is None else record.by,
        ephemeral=None if record is None else record.ephemeral,
        second_agent_at=_second(member),
        facts={},
        timeline=[],
    )


def _state(member: Member) -> Literal["Ready", "NotReady", "Draining", "Cordoned"]:
    # Some clients show nothing else of a node.
    if not member.here:
        return "NotReady"
    if member.drained is None:
        return "Ready"
    return "Draining" if member.heartbeat is not None and member.heartbeat.running else "Cordoned"


def _second(member: Member) -> str | None:
    second = member.second
    return timestamp(second.time) if second is not None and second.age < SECOND_FOR else None


def _conditions(found: Conditions, *, short: bool = False) -> list[NodeCondition]:
    """Return what is known of a node's conditions, or only what it is short of."""
    return [
        NodeCondition(name, each.status, timestamp(each.since), each.reason or None)
        for name, each in found.known.items()
        if each.status or not short
    ]


def _history(member: Member) -> list[Moment]:
    moments: list[tuple[float, str, str | None]] = [
        (member.registered, "registered", None),
        (member.registration.started, "started", None),
    ]
    if member.revoked is not None:
        moments.append((member.revoked[0], "revoked", f"by {member.revoked[1]}"))
    if member.state.changed:
        what = "undrained" if member.drained is None else "drained"
        moments.append((member.state.changed, what, f"by {member.state.by}"))
    return [
        Moment(timestamp=timestamp(moment), event=what, hostname=member.hostname, message=why)
        for moment, what, why in sorted(moments, key=operator.itemgetter(0))
    ]


@endpoint(
    "agent.get",
    "GET /agent/{hostname}",
    permission=READS,
    narrows=True,
    errors=(404,),
    command=None,
    typed="node show",
)
async def get(context: Context, *, hostname: NodeName) -> AgentView:
    """One node."""
    member = _member(context, hostname, READS)
    return view(member, context.controller.budget.dropped[member.machine])


@endpoint(
    "agent.drain",
    "POST /agent/{hostname}/drain",
    permission=WRITES,
    narrows=True,
    errors=(404, 409),
    command="node drain",
)
async def drain(context: Context, *, hostname: NodeName) -> Message:
    """Stop giving work to a node; what runs there goes on to its end."""
    member = _member(context, hostname, WRITES)
    if member.drained is not None:
        raise Conflict(
            f"{member.hostname} is drained already, since {timestamp(member.drained)}, "
            f"by {member.state.by}.",
            f"POST /agent/{member.hostname}/undrain lets it work again",
        )
    now = time.time()
    state = msgspec.structs.replace(
        member.state, drained=now, by=context.caller.subject, changed=now
    )
    await context.controller.presence.set_state(member, state)
    running = member.heartbeat.running if member.heartbeat else 0
    rest = f"; {running} tasks run to their end" if running else ""
    return Message(message=f"{member.hostname} takes no more work{rest}.")


@endpoint(
    "agent.undrain",
    "POST /agent/{hostname}/undrain",
    permission=WRITES,
    narrows=True,
    errors=(404, 409),
    command="node undrain",
)
async def undrain(context: Context, *, hostname: NodeName) -> Message:
    """Give work to a drained node again."""
    member = _member(context, hostname, WRITES)
    if member.drained is None:
        raise Conflict(
            f"{member.hostname} is not drained: it takes work already.",
            f"POST /agent/{member.hostname}/drain lets it take no more",
        )
    state = msgspec.structs.replace(
        member.state, drained=None, by=context.caller.subject, changed=time.time()
    )
    await context.controller.presence.set_state(member, state)
    return Message(message=f"{member.hostname} takes work again.")


def _member(context: Context, hostname: str, permission: str) -> Member:
    """Return the node that a caller asks about, with a permission that goes as far as that."""
    named = target(hostname)
    if not isinstance(named, Hostname):
        raise InvalidRequest(
            f"{str(named)!r} is not one node: name it by its hostname or its machine id.",
            "GET /agent shows those that are registered",
        )
    member = context.controller.fleet.one(named.name, context.caller.seen)
    context.caller.bounds(permission).check([member])
    return member
