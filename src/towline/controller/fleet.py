"""The fleet: which nodes there are, which are here now, and which a target means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import structlog

from towline.broker.bucket import Bucket
from towline.broker.connection import LONGEST_PAUSE, Connection
from towline.errors import InvalidRequest, NoNodes, NotFound
from towline.units import timestamp
from towline.wire.node import Heartbeat, NodeState, Registration
from towline.wire.subjects import HEARTBEATS, NODES, STATES, state_subject
from towline.wire.target import ALL, ANY, Hostname, Label, Target, parse_label

log = structlog.get_logger()


MAX_FOLLOWERS = 1000
"""Controllers that may follow a bucket at a time."""
HEARTBEATS_KEPT = 120.0
"""Seconds after which the broker forgets the heartbeat of a node that sends no more."""
MISSED = 3
"""Heartbeats that a node may miss before it counts as away."""
TICK = 0.5
GRACE = LONGEST_PAUSE + 2.0
"""Seconds after a connection of ours within which agents may still be on their way back."""


class Member:
    """A registered node, as this controller sees it."""

    def __init__(self, registration: Registration) -> None:
        self.registration = registration
        self.labels = [parse_label(f"{k}:{v}") for k, v in registration.labels.items()]
        self.heartbeat: Heartbeat | None = None
        self.heard = registration.started
        """When it was heard last: seconds since 1970, by this controller's clock."""
        self.here = False
        self.state = NodeState()

    @property
    def drained(self) -> float | None:
        """Since when it takes no work, in seconds since 1970; None for one that does."""
        return self.state.drained

    @property
    def machine(self) -> str:
        """The machine id."""
        return self.registration.machine

    @property
    def hostname(self) -> str:
        """The name for people."""
        return self.registration.hostname

    def can(self, capability: str) -> bool:
        """Whether the node says it has `capability`, working at this moment or not."""
        return self.heartbeat is None or capability in self.heartbeat.capabilities

    def trouble(self, capability: str) -> str:
        """Return why `capability` doesn't work there just now, or ""."""
        return self.heartbeat.capabilities.get(capability, "") if self.heartbeat else ""

    @property
    def absence(self) -> str:
        """Return "not reachable since …", for results and errors."""
        return f"not reachable since {timestamp(self.heard)}"


class Fleet:
    """All registered nodes, in memory, kept current by following three key-value buckets."""

    def __init__(self, broker: Connection) -> None:
        self._broker = broker
        self._listeners: list[Callable[[set[str]], None]] = []
        self._node_bucket = Bucket(
            broker, NODES, Registration, deny_delete=True, max_consumers=MAX_FOLLOWERS
        )
        self._state_bucket = Bucket(
            broker, STATES, NodeState, deny_delete=True, max_consumers=MAX_FOLLOWERS
        )
        # In memory: at 10,000 nodes they would be 2,000 synced writes a second for what is
        # worthless half a minute later.
        self._heartbeat_bucket = Bucket(
            broker,
            HEARTBEATS,
            Heartbeat,
            storage="memory",
            max_age=HEARTBEATS_KEPT,
            deny_delete=True,
            max_consumers=MAX_FOLLOWERS,
        )
        self._members: dict[str, Member] = {}
        self._by_hostname: dict[str, set[str]] = {}
        self.hostnames: dict[str, str] = {}
        """Of all registered nodes, by machine id."""
        self._states: dict[str, NodeState] = {}
        self._sorted: list[Member] | None = None
        self._early: dict[str, tuple[Heartbeat, float]] = {}

    def subscribe(self, changed: Callable[[set[str]], None]) -> None:
        """Have `changed` called with the machine ids of nodes that came or went."""
        self._listeners.append(changed)

    def _notify(self, machines: set[str]) -> None:
        for changed in self._listeners:
            changed(machines)

    async def run(self) -> None:
        """Keep the fleet current, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.follow_nodes())
            group.create_task(self.follow_states())
            group.create_task(self.follow_heartbeats())
            group.create_task(self.watch())

    async def create(self, replicas: int) -> None:
        """Make the buckets where they don't exist.

        Args:
            replicas: copies of each in a cluster.

        Raises:
            BrokerRefused, BrokerUnreachable: they could not be made.
        """
        await self._node_bucket.create(replicas)
        await self._state_bucket.create(replicas)
        await self._heartbeat_bucket.create(replicas)

    async def follow_nodes(self) -> None:
        """Keep registrations current, for ever."""
        async for change in self._node_bucket.follow():
            try:
                self._register(change.value)
            except ValueError as error:
                log.error("registration not readable", machine=change.key, reason=str(error))

    async def follow_states(self) -> None:
        """Keep what people have decided about nodes current, for ever."""
        async for change in self._state_bucket.follow():
            self._states[change.key] = change.value
            member = self._members.get(change.key)
            if member is not None:
                member.state = change.value

    async def decide(self, member: Member, state: NodeState) -> None:
        """Keep a decision about a node, and have its agent look at it.

        Raises:
            BrokerUnreachable, BrokerRefused: it may not have been kept.
        """
        await self._state_bucket.put(member.machine, state)
        self._states[member.machine] = member.state = state
        await self._broker.publish(state_subject(member.machine), b"")

    async def follow_heartbeats(self) -> None:
        """Keep signs of life current, for ever."""
        async for change in self._heartbeat_bucket.follow():
            # What the bucket held when we came is as old as the broker says; what comes after is
            # now, whatever the broker's clock.
            now = time.time()
            self._hear(change.key, change.value, now if change.live else min(now, change.stored))

    async def watch(self) -> None:
        """Notice nodes that have fallen silent, for ever."""
        patient_until = 0.0
        while True:
            await asyncio.sleep(TICK)
            now = time.time()
            # While the broker is away nobody can be heard, and soon after it only who was as quick
            # as we: that says nothing of the nodes.
            if not self._broker.connected:
                patient_until = time.monotonic() + GRACE
            if time.monotonic() < patient_until:
                for member in self._members.values():
                    if member.here:
                        member.heard = now
                continue
            gone = {
                member.machine
                for member in self._members.values()
                if member.here and now - member.heard > MISSED * member.registration.interval
            }
            for machine in gone:
                member = self._members[machine]
                member.here = False
                log.warning("node away", machine=machine, hostname=member.hostname)
            if gone:
                self._notify(gone)

    def _register(self, registration: Registration) -> None:
        machine = registration.machine
        member = Member(registration)
        old = self._members.get(machine)
        if old is not None:
            self._by_hostname[old.hostname].discard(machine)
            member.heartbeat, member.heard, member.here = old.heartbeat, old.heard, old.here
        member.state = self._states.get(machine, member.state)
        self._members[machine] = member
        self.hostnames[machine] = member.hostname
        self._sorted = None
        self._by_hostname.setdefault(registration.hostname, set()).add(machine)
        early = self._early.pop(machine, None)
        if early is not None:
            self._hear(machine, *early)

    def _hear(self, machine: str, heartbeat: Heartbeat, heard: float) -> None:
        member = self._members.get(machine)
        if member is None:
            self._early[machine] = (heartbeat, heard)
            return
        member.heartbeat, member.heard = heartbeat, heard
        here = not heartbeat.leaving and (
            time.time() - heard <= MISSED * member.registration.interval
        )
        if here != member.here:
            member.here = here
            log.info(
                "node here" if here else "node left", machine=machine, hostname=member.hostname
            )
            self._notify({machine})

    def members(self) -> list[Member]:
        """Return all registered nodes, by hostname."""
        if self._sorted is None:
            self._sorted = sorted(self._members.values(), key=lambda member: member.hostname)
        return list(self._sorted)

    def get(self, machine: str) -> Member | None:
        """Return the node with this machine id, or None."""
        return self._members.get(machine)

    def here(self) -> Iterator[Member]:
        """Yield the nodes that are here now."""
        return (member for member in self._members.values() if member.here)

    def one(self, name: str) -> Member:
        """Return the node of this hostname or machine id.

        Raises:
            NotFound: there is none.
            InvalidRequest: several have that hostname.
        """
        if name not in self._members and not self._by_hostname.get(name):
            raise NotFound(
                f"No registered node is called {name!r}.",
                "GET /agent, or towline nodes, lists those that are registered",
            )
        return self.resolve(Hostname(name))[0]

    def resolve(self, target: Target) -> list[Member]:
        """Return the nodes that `target` means; for `_any`, all of which one is to act.

        Raises:
            NoNodes: no node is registered at all.
            InvalidRequest: no registered node has that name or label, or two have that name.
        """
        if not self._members:
            raise NoNodes(
                "No node is registered.", "Start an agent: towline agent --nats URL, see towline up"
            )
        if target in (ANY, ALL):
            return self.members()
        if isinstance(target, Hostname):
            member = self._members.get(target.name)
            if member is not None:
                return [member]
            machines = self._by_hostname.get(target.name, set())
            if len(machines) > 1:
                raise InvalidRequest(
                    f"The hostname {target.name!r} belongs to {len(machines)} nodes.",
                    f"Name one by its machine id: {', '.join(sorted(machines))}",
                )
            if not machines:
                raise InvalidRequest(
                    f"No registered node is called {target.name!r}.",
                    "GET /agent, or towline nodes, lists those that are registered",
                )
            return [self._members[machine] for machine in machines]
        assert isinstance(target, Label)
        found = [
            member
            for member in self.members()
            if any(target.matches(label) for label in member.labels)
        ]
        if not found:
            raise InvalidRequest(
                f"No registered node carries the label {str(target)!r}.",
                "GET /agent, or towline nodes, lists the labels that nodes carry",
            )
        return found
