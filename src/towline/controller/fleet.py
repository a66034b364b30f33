"""The fleet: which nodes there are, which are here now, and which a target means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import structlog

from towline.broker.bucket import Bucket
from towline.broker.connection import LONGEST_PAUSE
from towline.broker.jetstream import JetStream
from towline.controller.moment import LocalClock, Moment
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
LOOK_EVERY = 0.5
"""Seconds between looks for nodes that send no heartbeats any more."""
LATE = 5.0
"""Seconds between two looks after which this process, or the machine, has stood still."""
GRACE = LONGEST_PAUSE + 2.0
"""Seconds after a connection of this controller's within which agents may still be on their way
back."""


class Member:
    """A registered node, as this controller sees it.

    Attributes:
        heartbeat: its last heartbeat; None where this controller has received none.
        received: when that was.
        here: whether the node sends heartbeats.
        state: what people have decided about it.
    """

    def __init__(self, registration: Registration) -> None:
        self.registration = registration
        self.labels = [parse_label(f"{k}:{v}") for k, v in registration.labels.items()]
        self.heartbeat: Heartbeat | None = None
        self.received: Moment | None = None
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
    def last_heartbeat(self) -> float:
        """When its last heartbeat came, in seconds since 1970, by this controller's clock.

        Where none has come: when its agent was started, by the node's clock.
        """
        return self.registration.started if self.received is None else self.received.time

    @property
    def absence(self) -> str:
        """Return "not reachable since …", for results and errors."""
        return f"not reachable since {timestamp(self.last_heartbeat)}"


class Fleet:
    """All registered nodes, in memory, kept current by following three key-value buckets.

    Attributes:
        hostnames: of all registered nodes, by machine id.

    Args:
        clock: this machine's clocks.
        missed: heartbeats that a node may miss before it counts as away.
        look_every, late, grace: seconds; see the constants.
    """

    def __init__(
        self,
        jetstream: JetStream,
        *,
        clock: LocalClock | None = None,
        missed: int = MISSED,
        look_every: float = LOOK_EVERY,
        late: float = LATE,
        grace: float = GRACE,
    ) -> None:
        self._jetstream = jetstream
        self._clock = clock or LocalClock()
        self._missed = missed
        self._look_every = look_every
        self._late = late
        self._grace = grace
        self._patient_until = 0.0
        self._listeners: list[Callable[[set[str]], None]] = []
        self._node_bucket = Bucket(
            jetstream, NODES, Registration, deny_delete=True, max_consumers=MAX_FOLLOWERS
        )
        self._state_bucket = Bucket(
            jetstream, STATES, NodeState, deny_delete=True, max_consumers=MAX_FOLLOWERS
        )
        # In memory: at 10,000 nodes they would be 2,000 synced writes a second for what is
        # worthless half a minute later.
        self._heartbeat_bucket = Bucket(
            jetstream,
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
        self._states: dict[str, NodeState] = {}
        self._sorted: list[Member] | None = None
        self._early: dict[str, tuple[Heartbeat, Moment]] = {}

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

    async def set_state(self, member: Member, state: NodeState) -> None:
        """Store what people have decided about a node, and have its agent look at it.

        Raises:
            BrokerUnreachable, BrokerRefused: it may not have been stored.
        """
        await self._state_bucket.put(member.machine, state)
        self._states[member.machine] = member.state = state
        await self._jetstream.connection.publish(state_subject(member.machine), b"")

    async def follow_heartbeats(self) -> None:
        """Keep heartbeats current, for ever."""
        async for change in self._heartbeat_bucket.follow():
            # One that the bucket held before this controller followed it is as old as the broker
            # says; what comes after that is of now, whatever the broker's clock.
            ago = 0.0 if change.live else max(0.0, self._jetstream.clock.now() - change.stored)
            self._receive(change.key, change.value, self._clock.moment(ago))

    async def watch(self) -> None:
        """Notice nodes that send no heartbeats any more, for ever."""
        looked = self._clock.running()
        while True:
            await asyncio.sleep(self._look_every)
            now = self._clock.running()
            self._look(now, now - looked)
            looked = now

    def _look(self, now: float, elapsed: float) -> None:
        """Count nodes as away that have missed their heartbeats.

        Args:
            now: seconds since the machine was started.
            elapsed: seconds since the last look.
        """
        # While the broker is away, or this process stands still, no heartbeat is received, and
        # soon after it only those of nodes that are as quick as this controller.
        if not self._jetstream.connection.connected or elapsed > self._late:
            self._patient_until = now + self._grace
        gone = {member.machine for member in self.here() if self._silent(member, now)}
        for machine in gone:
            member = self._members[machine]
            member.here = False
            log.warning("node away", machine=machine, hostname=member.hostname)
        if gone:
            self._notify(gone)

    def _silent(self, member: Member, now: float) -> bool:
        if member.received is None:
            return False
        since = max(member.received.running, self._patient_until)
        return now - since > self._missed * member.registration.interval

    def _register(self, registration: Registration) -> None:
        machine = registration.machine
        member = Member(registration)
        old = self._members.get(machine)
        if old is not None:
            self._by_hostname[old.hostname].discard(machine)
            member.heartbeat, member.received = old.heartbeat, old.received
            member.here = old.here
        member.state = self._states.get(machine, member.state)
        self._members[machine] = member
        self.hostnames[machine] = member.hostname
        self._sorted = None
        self._by_hostname.setdefault(registration.hostname, set()).add(machine)
        early = self._early.pop(machine, None)
        if early is not None:
            self._receive(machine, *early)

    def _receive(self, machine: str, heartbeat: Heartbeat, received: Moment) -> None:
        member = self._members.get(machine)
        if member is None:
            self._early[machine] = (heartbeat, received)
            return
        member.heartbeat, member.received = heartbeat, received
        recent = received.age <= self._missed * member.registration.interval
        here = recent and not heartbeat.leaving
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
            InvalidRequest: several have that hostname, and not just one of them is here.
        """
        if name not in self._members and not self._by_hostname.get(name):
            raise NotFound(
                f"No registered node is called {name!r}.",
                "GET /agent, or towline nodes, lists those that are registered",
            )
        return self.resolve(Hostname(name))[0]

    def _named(self, hostname: str) -> Member:
        """Return the node of this hostname; of several the one that is here.

        Raises:
            InvalidRequest: there is none, or several, of which not just one is here.
        """
        machines = sorted(self._by_hostname.get(hostname, ()))
        if not machines:
            raise InvalidRequest(
                f"No registered node is called {hostname!r}.",
                "GET /agent, or towline nodes, lists those that are registered",
            )
        here = [machine for machine in machines if self._members[machine].here]
        found = machines if len(machines) == 1 else here
        if len(found) != 1:
            raise InvalidRequest(
                f"The hostname {hostname!r} belongs to {len(machines)} nodes, of which "
                f"{len(here)} are here: name one by its machine id.",
                f"Their machine ids: {', '.join(machines)}",
            )
        return self._members[found[0]]

    def resolve(self, target: Target) -> list[Member]:
        """Return the nodes that `target` means; for `_any`, all of which one is to act.

        A hostname that several nodes have means the one that is here, where just one is.

        Raises:
            NoNodes: no node is registered at all.
            InvalidRequest: no registered node has that name or label, or it is not known which of
                several is meant.
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
            return [self._named(target.name)]
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
