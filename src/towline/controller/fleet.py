"""The fleet: which nodes there are, and which are here now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Set

import msgspec
import structlog

from towline.controller import resolution
from towline.controller.member import Member, revocation
from towline.controller.moment import LocalClock
from towline.controller.names import Names
from towline.controller.permissions import Bounds
from towline.wire.member import NAMELESS, REMOVED, MemberRecord
from towline.wire.node import Heartbeat, NodeState, Registration
from towline.wire.target import Target

log = structlog.get_logger()

MISSED = 3
"""Heartbeats that a node may miss before it counts as away."""


AHEAD = 60.0
"""Seconds by which another controller's clock may be ahead: what is later was kept by a clock that
was wrong."""


def place_of(member: Member) -> tuple[str, str]:
    """Return what nodes are sorted by, wherever they are listed: several may have one hostname."""
    return member.hostname, member.machine


def _why(what: str, by: str) -> str:
    return f"the node was {what}" + (f" by {by}" if by else "")


class Fleet:
    """All registered nodes, in memory.

    `towline.controller.presence` keeps it current.

    Attributes:
        clock: this machine's clocks.
        names: by what the nodes are found.
        version: rises whenever a target may mean other nodes than before.
    """

    def __init__(self, clock: LocalClock | None = None) -> None:
        self.clock = clock or LocalClock()
        self._listeners: list[Callable[[set[str]], None]] = []
        self._on_heartbeat: list[Callable[[Member], None]] = []
        self._members: dict[str, Member] = {}
        self._here: set[str] = set()
        self.names = Names()
        self.version = 0
        self._states: dict[str, NodeState] = {}
        self._records: dict[str, MemberRecord] = {}
        self._kept_signs: dict[str, float] = {}
        self.shut_out: dict[str, str] = {}
        """Why nodes that were revoked or removed never come back, by machine id."""
        self._sorted: dict[str, Member] | None = None
        """All nodes, in the order of `members`."""

    def subscribe(self, changed: Callable[[set[str]], None]) -> None:
        """Have `changed` called with the machine ids of nodes that came or went."""
        self._listeners.append(changed)

    def subscribe_heartbeats(self, received: Callable[[Member], None]) -> None:
        """Have `received` called with each node whose heartbeat came."""
        self._on_heartbeat.append(received)

    def _notify(self, machines: set[str]) -> None:
        for changed in self._listeners:
            changed(machines)

    # What becomes known

    def counted(self, registration: Registration) -> Registration:
        """Return what counts of a registration.

        Of a node that came by an invite hostname, labels and key are what its record says.
        """
        record = self._records.get(registration.machine)
        if record is None:
            return registration
        return msgspec.structs.replace(
            registration,
            hostname=record.hostname,
            labels=record.labels,
            public_key=record.public_key,
        )

    def enrol(self, record: MemberRecord) -> None:
        """Take what controllers keep of a node that came by an invite."""
        self._records[record.machine] = record
        self._judge(record.machine)
        member = self._members.get(record.machine)
        if member is not None:
            self.register(member.registration)

    def forget(self, machine: str) -> None:
        """Keep nothing more of what was recorded of a node that came by an invite."""
        self._records.pop(machine, None)
        self._judge(machine)

    def shut(self, machine: str, by: str) -> None:
        """Take it that a node was removed, by whom, of which no record is kept any more."""
        self.shut_out[machine] = _why("removed", by)
        self.version += 1

    def _judge(self, machine: str) -> None:
        """Shut a node out that was revoked or removed, or let one in that isn't any more."""
        self.version += 1
        record, state = self._records.get(machine), self._states.get(machine)
        member = self._members.get(machine)
        what = by = ""
        if record is None and state is not None and state.removed is not None:
            if member is None or member.registered <= state.removed:
                what, by = "removed", state.shut_by
        elif record is not None and record.state == REMOVED:
            what, by = "removed", record.changed_by
        if not what and (revoked := revocation(record, state)) is not None:
            what, by = "revoked", revoked[1]
        if not what:
            self.shut_out.pop(machine, None)
            return
        self.shut_out[machine] = _why(what, by)
        if member is None:
            return
        was_here = member.here
        self._place(member, here=False)
        if what == "removed":
            del self._members[machine]
            self._kept_signs.pop(machine, None)
            self._sorted = None
            self.names.drop(member)
        if was_here:
            log.warning(f"node {what}", machine=machine, hostname=member.hostname, by=by)
        self._notify({machine})

    def register(self, registration: Registration) -> None:
        """Take what a node is.

        Raises:
            InvalidTarget: a label of it is none.
        """
        registration = self.counted(registration)
        machine = registration.machine
        member = Member(registration)
        old = self._members.get(machine)
        if old is not None:
            member.heartbeat, member.received = old.heartbeat, old.received
            member.here, member.jobs, member.second = old.here, old.jobs, old.second
        member.state = self._states.get(machine, member.state)
        member.kept = self._kept_signs.get(machine)
        member.record = self._records.get(machine)
        self._members[machine] = member
        if old is None or (old.hostname, old.labels) != (member.hostname, member.labels):
            if old is not None:
                self.names.drop(old)
            self.names.add(member)
            self.version += 1
        self._sorted = None
        if machine in self.shut_out:
            self._judge(machine)

    def heard(self, machine: str, moment: float) -> None:
        """Take when any controller heard a node last, in seconds since 1970, as it was kept."""
        if moment > self.clock.wall() + AHEAD:
            return
        self._kept_signs[machine] = moment
        member = self._members.get(machine)
        if member is not None:
            member.kept = moment

    def decide(self, machine: str, state: NodeState) -> None:
        """Take what people have decided about a node."""
        self._states[machine] = state
        member = self._members.get(machine)
        if member is not None:
            member.state = state
        self._judge(machine)

    def second(self, machine: str, start: str, after: str) -> bool:
        """Return whether an agent is a second one with the machine id of one that is here.

        Another start counts when the one that counted is away, has said that it leaves, or is the
        one that the new one names as the last of its ledger: then it was started anew, or its
        state directory was copied, which only `towline.controller.presence` can find out.
        """
        member = self._members.get(machine)
        known = None if member is None or not member.here else member.heartbeat
        return known is not None and start not in (known.start, "") and after != known.start

    def second_seen(self, machine: str) -> None:
        """Take it that a second agent with the machine id of one that is here was refused."""
        member = self._members.get(machine)
        if member is not None:
            member.second = self.clock.moment()

    def refuses(self, machine: str) -> str | None:
        """Return why a node is not registered any more, or None.

        One that came by no invite and was removed comes back as another one, if its login lets it.
        """
        why, state = self.shut_out.get(machine), self._states.get(machine)
        if why is None or state is None or machine in self._records:
            return why
        return None if state.revoked is None else why

    def receive(self, machine: str, heartbeat: Heartbeat) -> bool:
        """Take a heartbeat; one of a node that isn't registered yet counts as none.

        Return False where it is of a second agent with the machine id of one that is here.

        One start counts at a time; see `second`.
        """
        member = self._members.get(machine)
        if member is None or machine in self.shut_out:
            return True
        if heartbeat.second or self.second(machine, heartbeat.start, heartbeat.after):
            self.second_seen(machine)
            return False
        member.heartbeat, member.received = heartbeat, self.clock.moment()
        member.jobs = heartbeat.jobs
        here = not heartbeat.leaving
        if here != member.here:
            self._place(member, here=here)
            log.info(
                "node here" if here else "node left", machine=machine, hostname=member.hostname
            )
            self._notify({machine})
        if here:
            for received in self._on_heartbeat:
                received(member)
        return True

    def find_silent(self, patient_until: float) -> None:
        """Count nodes as away that have missed their heartbeats.

        Args:
            patient_until: seconds since the machine was started, until which heartbeats may have
                gone astray.
        """
        now = self.clock.running()
        gone = set()
        for member in self.here():
            heartbeat, received = member.heartbeat, member.received
            if heartbeat is None or received is None:
                continue
            if now - max(received.running, patient_until) > MISSED * heartbeat.interval:
                gone.add(member.machine)
        for machine in gone:
            member = self._members[machine]
            self._place(member, here=False)
            log.warning("node away", machine=machine, hostname=member.hostname)
        if gone:
            self._notify(gone)

    def _place(self, member: Member, *, here: bool) -> None:
        member.here = here
        if here:
            self._here.add(member.machine)
        else:
            self._here.discard(member.machine)

    # Questions

    def members(self) -> list[Member]:
        """Return all registered nodes, by hostname; of one hostname by machine id."""
        return list(self._in_order().values())

    def some(self, machines: Set[str]) -> Iterator[Member]:
        """Yield the registered nodes that have these machine ids, in the order of `members`.

        No more are looked for than are taken: of a page that is few of a large fleet.
        """
        in_order = self._in_order().items()
        return (member for machine, member in in_order if machine in machines)

    def inside(self, bounds: Bounds) -> frozenset[str]:
        """Return the machine ids of the registered nodes that are inside of a permission.

        Raises:
            Forbidden: it is narrowed to parameters alone.
        """
        return bounds.among(self.names)

    def unbarred(self, machines: frozenset[str]) -> frozenset[str]:
        """Return those of some machine ids of which the nodes are not shut out."""
        return machines.difference(self.shut_out) if self.shut_out else machines

    def _in_order(self) -> dict[str, Member]:
        if self._sorted is None:
            # In one order wherever it was learnt of them: pages of lists go on behind a node.
            found = sorted(self._members.values(), key=place_of)
            self._sorted = {member.machine: member for member in found}
        return self._sorted

    def get(self, machine: str) -> Member | None:
        """Return the node with this machine id, or None."""
        return self._members.get(machine)

    def public_key(self, machine: str) -> str | None:
        """Return the key to which is sealed what only a node may read; None where it has none."""
        member = self._members.get(machine)
        return None if member is None else member.registration.public_key or None

    def is_here(self, machine: str) -> bool:
        """Whether a node is here now."""
        member = self._members.get(machine)
        return member is not None and member.here

    def here(self) -> Iterator[Member]:
        """Yield the nodes that are here now."""
        return (self._members[machine] for machine in self._here)

    @property
    def size(self) -> int:
        """How many nodes are here now."""
        return len(self._here)

    @property
    def registered(self) -> int:
        """How many nodes are known, here or not."""
        return len(self._members)

    def is_invited(self, machine: str) -> bool:
        """Whether a node came by an invite, and has its hostname for itself."""
        record = self._records.get(machine)
        return record is not None and record.state not in NAMELESS

    def one(self, name: str, seen: Bounds | None = None) -> Member:
        """Return the node of a name; see `towline.controller.resolution.one`."""
        return resolution.one(self, name, seen)

    def still(self, target: Target, machines: Collection[str]) -> list[Member]:
        """Return those of some nodes that the target of an earlier job means by now."""
        wanted = resolution.candidates(self, target)
        return [
            member
            for member in self.members()
            if member.machine in machines
            and member.machine not in self.shut_out
            and (wanted is None or member.machine in wanted)
        ]

    def resolve(self, target: Target, seen: Bounds | None = None) -> list[Member]:
        """Return the nodes of a target; see `towline.controller.resolution.resolve`."""
        return resolution.resolve(self, target, seen)

    def meant_by(self, target: Target, seen: Bounds | None = None) -> frozenset[str]:
        """Return their machine ids; see `towline.controller.resolution.meant_by`."""
        return resolution.meant_by(self, target, seen)

    def names_another(self, hostname: str, *machines: str) -> bool:
        """Whether a hostname, in upper or lower case, is another node's name or machine id.

        Args:
            machines: the machine ids of those that are no others.
        """
        wanted = hostname.lower()
        return any(
            wanted in (member.hostname.lower(), member.machine.lower())
            for member in self._members.values()
            if member.machine not in machines
        )
