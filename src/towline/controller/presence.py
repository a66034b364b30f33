"""Presence: what nodes register and how they are here, received from them and kept for good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from towline.broker.bucket import Bucket
from towline.broker.connection import LONGEST_PAUSE, Connection
from towline.broker.jetstream import JetStream
from towline.broker.listener import Listener, Received
from towline.broker.repeated import Repeated
from towline.controller.budget import STORED, Budget
from towline.controller.fleet import Fleet
from towline.controller.member import Member
from towline.errors import BrokerError
from towline.runtime.part import keep_running
from towline.runtime.pauses import within
from towline.trust.signing import Signer, order_for
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.node import NodeState, Registration
from towline.wire.release import BeatNow
from towline.wire.report import Answer
from towline.wire.subjects import ALL_NODES, HEARTBEATS, task_subject

log = structlog.get_logger()

NODES = "nodes"
STATES = "states"
MAX_FOLLOWERS = 1000
"""Controllers that may follow a bucket at a time."""
INTERVAL = 5.0
"""Seconds between a node's heartbeats in a small fleet."""
MOST_HEARTBEATS = 500.0
"""Heartbeats a second that a controller receives at most: their interval grows with the fleet. Each
costs it some 0.1 ms."""
SPREAD_PER_NODE = 1 / 4000
LONGEST_SPREAD = 2.0
"""Seconds over which nodes spread the heartbeat that all are asked for, for each and at most."""
RENEWED_PER_SECOND = 200.0
"""Nodes that have their login renewed a second, where all are to trust something else: to make the
answer takes a controller 1 ms, and the registration behind it is stored."""
LOOK_EVERY = 0.5
"""Seconds between looks for nodes that send no heartbeats any more."""
LATE = 5.0
"""Seconds between two looks after which this process, or the machine, has stood still."""
ALIVE_WITHIN = 2.0
"""Seconds within which an agent sends a heartbeat that it alone is asked for, if it runs: after
these another one that goes on with its ledger takes its place."""
GRACE = LONGEST_PAUSE + 2.0
"""Seconds after a connection of this controller's within which agents may still be on their way
back."""


class Presence:
    """Keeps the fleet current: follows what is kept of nodes, and receives their heartbeats.

    Attributes:
        settled: set once a node that has sent no heartbeat to this controller is away: the nodes
            were asked for one, and had the time.

    Args:
        nodes: the connection to the nodes' account.
        stream: that to the journal's.
        signer: signs what is sent.
        budget: what each node may send.
        interval: seconds between heartbeats in a small fleet.
        trusts: returns the hash of what every node ought to trust.
        members_known: set once it is known which nodes came by an invite; None for no such nodes.
        look_every, late, grace, alive_within: seconds; see the constants.
    """

    def __init__(
        self,
        fleet: Fleet,
        nodes: Connection,
        stream: JetStream,
        signer: Signer,
        *,
        budget: Budget | None = None,
        interval: float = INTERVAL,
        trusts: Callable[[], str] = lambda: "",
        members_known: asyncio.Event | None = None,
        look_every: float = LOOK_EVERY,
        late: float = LATE,
        grace: float = GRACE,
        alive_within: float = ALIVE_WITHIN,
    ) -> None:
        self._fleet = fleet
        self._nodes = nodes
        self._signer = signer
        self._budget = budget or Budget()
        self._interval = interval
        self._trusts = trusts
        self._trusts_anew = asyncio.Event()
        self._members_known = members_known
        self._look_every = look_every
        self._late = late
        self._grace = grace
        self._alive_within = alive_within
        self._waited_for: dict[tuple[str, str], asyncio.Event] = {}
        """Machine ids and starts of agents that were asked for a heartbeat."""
        self._patient_until = 0.0
        self._registrations = Bucket(
            stream, NODES, Registration, deny_delete=True, max_consumers=MAX_FOLLOWERS
        )
        self._states = Bucket(
            stream, STATES, NodeState, deny_delete=True, max_consumers=MAX_FOLLOWERS
        )
        self._duplicates = Repeated("two agents of one machine id")
        self._refusals = Repeated("a node does not believe what it was sent")
        self.heartbeats = Listener(nodes, HEARTBEATS, self._budget.limited(self._heartbeat))
        self.settled = asyncio.Event()
        self._known = asyncio.Event()
        """Set once all that is kept of nodes has been read."""

    async def create(self, replicas: int) -> None:
        """Make the buckets where they don't exist.

        Args:
            replicas: copies of each in a cluster.

        Raises:
            BrokerError: they could not be made.
        """
        await self._registrations.create(replicas)
        await self._states.create(replicas)

    @property
    def interval(self) -> float:
        """Seconds between a node's heartbeats, as large as the fleet is."""
        # Until nodes have had the time to answer, all that are known count.
        size = self._fleet.size if self.settled.is_set() else self._fleet.registered
        return max(self._interval, size / MOST_HEARTBEATS)

    async def run(self) -> None:
        """Keep the fleet current, for ever."""
        parts = {
            "registrations": self._follow_registrations,
            "states": self._follow_states,
            "heartbeats": self.heartbeats.run,
            "asking for heartbeats": self._ask,
            "silent nodes": self._watch,
        }
        async with asyncio.TaskGroup() as group:
            for name, run in parts.items():
                group.create_task(keep_running(name, run))

    def trust_anew(self) -> None:
        """Have all nodes told now what they ought to trust: it has become something else."""
        self._trusts_anew.set()

    async def _follow_registrations(self) -> None:
        if self._members_known is not None:
            await self._members_known.wait()  # they say what counts of a registration
        follow = self._registrations.follow(all_read=self._known.set)
        async for change in follow:
            try:
                if change.value.machine != change.key:
                    raise Unreadable("it names another machine")
                self._fleet.register(messages.checked(change.value))
            except Unreadable as error:
                self._registrations.count_unreadable(change.key, error)

    async def _follow_states(self) -> None:
        async for change in self._states.follow():
            self._fleet.decide(change.key, change.value)

    async def set_state(self, member: Member, state: NodeState) -> None:
        """Store what people have decided about a node.

        Raises:
            BrokerError: it may not have been stored.
        """
        await self._states.put(member.machine, state)
        self._fleet.decide(member.machine, state)

    async def remove(self, member: Member, state: NodeState | None) -> None:
        """Forget a node; raises as `set_state`.

        Args:
            state: what is kept of it; None where its record as a member says that it is removed.
        """
        if state is not None:
            await self.set_state(member, state)
        await self._registrations.purge(member.machine)

    async def register(self, received: Received) -> Answer:
        """Take what a node registers, and return what it is answered.

        Raises:
            Unreadable: it can't be read.
        """
        registration = messages.registration(received.subject, received.data)
        second = await self._is_second(registration)
        if why := self._fleet.refuses(registration.machine):
            return Answer(time.time(), error=why)
        if second:
            self._fleet.second_seen(registration.machine)
            self._duplicates.warning(machine=registration.machine)
            error = (
                f"another agent with the machine id {registration.machine} is here: each takes a "
                "state directory of its own, or a machine-id"
            )
            return Answer(time.time(), error=error, again=True, second=True)
        known = self._fleet.get(registration.machine)
        since = time.time() if known is None else known.registration.registered
        registration = msgspec.structs.replace(self._fleet.counted(registration), registered=since)
        if known is None or known.registration != registration:
            self._budget.spend(registration.machine, STORED)
            try:
                await self._registrations.put(registration.machine, registration)
            except BrokerError as error:
                return Answer(time.time(), error=f"{error.error} {error.details}", again=True)
            self._fleet.register(registration)
        return Answer(time.time(), interval=self.interval, trusts=self._trusts())

    async def _is_second(self, registration: Registration) -> bool:
        """Return whether another agent with the identity of the one that registers runs.

        Raises:
            BrokerError: it can't be found out.
        """
        machine, start = registration.machine, registration.start
        if self._fleet.second(machine, start, registration.after):
            return True
        member = self._fleet.get(machine)
        if member is None or not start:
            return False
        # Until the nodes have had the time to show who is here, it is the last that was registered.
        last = "" if self.settled.is_set() else member.registration.start
        counts = member.start if member.here else last
        if counts in ("", start):
            return False
        return await self._runs(machine, counts) or self._fleet.second(
            machine, start, registration.after
        )

    async def _runs(self, machine: str, start: str) -> bool:
        """Ask one start of an agent for a heartbeat, and return whether one comes."""
        subject = task_subject(machine, start)
        order = BeatNow(time.time(), self.interval)
        came = self._waited_for.setdefault((machine, start), asyncio.Event())
        try:
            await self._nodes.publish(subject, self._signer.seal(order, order_for(subject, "")))
            return await within(self._alive_within, came.wait())
        finally:
            self._waited_for.pop((machine, start), None)

    def _heartbeat(self, received: Received) -> None:
        machine, heartbeat = messages.heartbeat(received.subject, received.data)
        came = self._waited_for.get((machine, heartbeat.start))
        if came is not None and not heartbeat.leaving and not heartbeat.second:
            came.set()
        member = self._fleet.get(machine)
        before = None if member is None else member.heartbeat
        if not self._fleet.receive(machine, heartbeat):
            self._duplicates.warning(machine=machine)
        elif heartbeat.refused > (
            before.refused if before and before.start == heartbeat.start else 0
        ):
            self._refusals.warning(
                machine=machine, refused=heartbeat.refused, reason=heartbeat.refusal
            )

    async def _ask(self) -> None:
        """Ask all nodes for a heartbeat at each connection, and when their interval changes."""
        while True:
            await self._known.wait()
            await self._nodes.client()
            await self.heartbeats.ready.wait()
            lost = asyncio.create_task(self._nodes.lost())
            anew = asyncio.create_task(self._trusts_anew.wait())
            spread = min(LONGEST_SPREAD, self._fleet.registered * SPREAD_PER_NODE)
            settling: asyncio.Task[None] | None = None
            try:
                while not lost.done():
                    asked = self.interval
                    self._trusts_anew.clear()
                    order = BeatNow(
                        *(time.time(), asked, spread, self._trusts()),
                        self._fleet.registered / RENEWED_PER_SECOND,
                    )
                    message = self._signer.seal(order, order_for(ALL_NODES, ""))
                    await self._nodes.publish(ALL_NODES, message)
                    self._patient_until = self._fleet.clock.running() + self._grace
                    if settling is None:
                        settling = asyncio.create_task(self._settle(spread))
                    while abs(self.interval - asked) <= asked / 4 and not lost.done():
                        await asyncio.wait(
                            (lost, anew), timeout=asked, return_when=asyncio.FIRST_COMPLETED
                        )
                        if anew.done():
                            break
                    # Who is here need not send one sooner to learn of another interval.
                    spread = self.interval
                    if anew.done():
                        anew = asyncio.create_task(self._trusts_anew.wait())
            finally:
                lost.cancel()
                anew.cancel()
                if settling is not None:
                    settling.cancel()

    async def _settle(self, spread: float) -> None:
        """Set `settled` when each node that is known is here, or has had the time."""
        if self.settled.is_set():
            return
        deadline = self._fleet.clock.running() + spread + self._interval
        while self._fleet.clock.running() < deadline:
            waited = (each for each in self._fleet.members() if each.revoked is None)
            if all(member.received is not None for member in waited):
                break
            await asyncio.sleep(0.05)
        self.settled.set()

    async def _watch(self) -> None:
        """Notice nodes that send no heartbeats any more."""
        clock = self._fleet.clock
        looked = clock.running()
        while True:
            await asyncio.sleep(self._pause)
            now = clock.running()
            self.look(looked)
            looked = now

    @property
    def _pause(self) -> float:
        """Seconds between two looks."""
        # In a large fleet each look takes a while, and nodes may be silent for longer.
        return max(self._look_every, self.interval / 10)

    def look(self, looked: float) -> None:
        """Count nodes as away that have missed their heartbeats.

        Args:
            looked: when that was done before, in seconds since the machine was started.
        """
        now = self._fleet.clock.running()
        stood = now - looked - self._pause
        # While the broker is away, or this process stands still, no heartbeat is received, and
        # soon after it only those of nodes that are as quick as this controller.
        if not self._nodes.connected or stood > self._late:
            self._patient_until = now + self._grace
        elif stood > self.interval:
            # What came meanwhile is not received yet.
            self._patient_until = max(self._patient_until, now)
        self._fleet.find_silent(self._patient_until)
