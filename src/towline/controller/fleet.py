"""The fleet: which nodes there are, which are here now, and which a target means."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import structlog

from towline.controller.member import Member, revocation
from towline.controller.moment import LocalClock
from towline.errors import InvalidRequest, NoNodes, NotFound
from towline.units import timestamp
from towline.wire.member import NAMELESS, REMOVED, MemberRecord
from towline.wire.node import Heartbeat, NodeState, Registration
from towline.wire.target import ALL, ANY, Hostname, Label, Target

log = structlog.get_logger()

MISSED = 3
"""Heartbeats that a node may miss before it counts as away."""


def _why(what: str, by: str) -> str:
    return f"the node was {what}" + (f" by {by}" if by else "")


class Fleet:
    """All registered nodes, in memory.

    `towline.controller.presence` keeps it current.

    Attributes:
        clock: this machine's clocks.
    """

    def __init__(self, clock: LocalClock | None = None) -> None:
        self.clock = clock or LocalClock()
        self._listeners: list[Callable[[set[str]], None]] = []
        self._on_heartbeat: list[Callable[[Member], None]] = []
        self._members: dict[str, Member] = {}
        self._here: set[str] = set()
        self._by_hostname: dict[str, set[str]] = {}
        self._states: dict[str, NodeState] = {}
        self._records: dict[str, MemberRecord] = {}
        self.shut_out: dict[str, str] = {}
        """Why nodes that were revoked or removed never come back, by machine id."""
        self._sorted: list[Member] | None = None

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

    def _judge(self, machine: str) -> None:
        """Shut a node out that was revoked or removed, or let one in that isn't any more."""
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
            self._sorted = None
            self._unname(member)
        if was_here:
            log.warning(f"node {what}", machine=machine, hostname=member.hostname, by=by)
        self._notify({machine})

    def _unname(self, member: Member) -> None:
        same = self._by_hostname[member.hostname]
        same.discard(member.machine)
        if not same:
            del self._by_hostname[member.hostname]

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
            self._unname(old)
            member.heartbeat, member.received = old.heartbeat, old.received
            member.here, member.jobs, member.second = old.here, old.jobs, old.second
        member.state = self._states.get(machine, member.state)
        member.record = self._records.get(machine)
        self._members[machine] = member
        self._sorted = None
        self._by_hostname.setdefault(registration.hostname, set()).add(machine)
        if machine in self.shut_out:
            self._judge(machine)

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
        """Return all registered nodes, by hostname."""
        if self._sorted is None:
            self._sorted = sorted(self._members.values(), key=lambda member: member.hostname)
        return list(self._sorted)

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
        return self._members.get(name) or self._named(name)

    def _named(self, hostname: str) -> Member:
        """Return the node of this hostname; of several the one that is here.

        One that came by an invite has its name for itself: no other can take it by saying so.

        Raises:
            InvalidRequest: there is none, or several, of which not just one is here.
        """
        machines = sorted(self._by_hostname.get(hostname, ()))
        if not machines:
            raise InvalidRequest(
                f"No registered node is called {hostname!r}.",
                "GET /agent, or towline nodes, lists those that are registered",
            )
        invited = [each for each in machines if self._is_invited(each)]
        machines = invited or [each for each in machines if each not in self.shut_out] or machines
        here = [machine for machine in machines if self._members[machine].here]
        found = machines if len(machines) == 1 else here
        if len(found) != 1:
            raise InvalidRequest(
                f"The hostname {hostname!r} belongs to {len(machines)} nodes, of which "
                f"{len(here)} are here: name one by its machine id.",
                f"Their machine ids: {', '.join(machines)}",
            )
        return self._members[found[0]]

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

    def _is_invited(self, machine: str) -> bool:
        record = self._records.get(machine)
        return record is not None and record.state not in NAMELESS

    def resolve(self, target: Target) -> list[Member]:
        """Return the nodes that `target` means; for `_any`, all of which one is to act.

        A hostname that several nodes have means the one that is here, where just one is.

        Raises:
            NoNodes: no node is registered at all, or all were revoked.
            InvalidRequest: no registered node has that name or label, it was revoked, or it is not
                known which of several is meant.
        """
        if not self._members:
            raise NoNodes(
                "No node is registered.", "Start an agent: towline agent --nats URL, see towline up"
            )
        if isinstance(target, Hostname):
            member = self._members.get(target.name) or self._named(target.name)
            if member.revoked is not None:
                since, by = member.revoked
                raise InvalidRequest(
                    f"{member.hostname} was revoked, at {timestamp(since)}, by {by}: it takes no "
                    "work any more.",
                    f"DELETE /agent/{member.hostname}, or towline node remove, forgets it",
                )
            return [member]
        members = [member for member in self.members() if member.machine not in self.shut_out]
        if target in (ANY, ALL):
            if not members:
                raise NoNodes("All nodes that are registered were revoked.", "Let another one in")
            return members
        assert isinstance(target, Label)
        found = [
            member for member in members if any(target.matches(label) for label in member.labels)
        ]
        if not found:
            raise InvalidRequest(
                f"No registered node carries the label {str(target)!r}.",
                "GET /agent, or towline nodes, lists the labels that nodes carry",
            )
        return found
