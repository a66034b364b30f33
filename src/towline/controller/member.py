"""A node as a controller knows it: what it registered, whether it is here, what was decided."""

from __future__ import annotations

from towline.controller.moment import Moment
from towline.units import timestamp
from towline.wire.member import REVOKED, MemberRecord
from towline.wire.node import Heartbeat, NodeState, Registration
from towline.wire.target import parse_label


class Member:
    """A registered node, as this controller sees it.

    Attributes:
        heartbeat: its last heartbeat; None where this controller has received none.
        received: when that was.
        kept: when any controller heard it last, as far as that is kept, in seconds since 1970.
        here: whether the node sends heartbeats.
        state: what people have decided about it.
        record: what controllers keep of it, where it came by an invite.
        jobs: the ids of the jobs whose tasks its last heartbeat names.
        second: when another agent with its identity was refused last, by this controller's clocks.
    """

    def __init__(self, registration: Registration) -> None:
        self.registration = registration
        self.labels = [parse_label(f"{k}:{v}") for k, v in registration.labels.items()]
        self.heartbeat: Heartbeat | None = None
        self.received: Moment | None = None
        self.kept: float | None = None
        self.here = False
        self.state = NodeState()
        self.record: MemberRecord | None = None
        self.jobs: frozenset[str] = frozenset()
        self.second: Moment | None = None

    @property
    def start(self) -> str:
        """Which start of its agent is here."""
        return "" if self.heartbeat is None else self.heartbeat.start

    @property
    def registered(self) -> float:
        """When the node first was registered, in seconds since 1970."""
        return self.registration.registered or self.registration.started

    @property
    def drained(self) -> float | None:
        """Since when it takes no work, in seconds since 1970; None for one that does."""
        return self.state.drained

    @property
    def revoked(self) -> tuple[float, str] | None:
        """Since when its login is worth nothing, and who decided so; None for one that counts."""
        return revocation(self.record, self.state)

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

    def holds(self, job_id: str) -> bool:
        """Whether its last heartbeat names the task of a job, or more than it can name."""
        if self.heartbeat is None:
            return False
        return job_id in self.jobs or self.heartbeat.more

    @property
    def sign(self) -> float | None:
        """When its last heartbeat came, to whichever controller; None where that is not known.

        In seconds since 1970, by the controllers' clock.
        """
        if self.received is None or self.kept is None:
            return self.kept if self.received is None else self.received.time
        return max(self.kept, self.received.time)

    @property
    def last_heartbeat(self) -> float:
        """When its last heartbeat came, or, where that is not known, when it was registered.

        In seconds since 1970, by the controllers' clock.
        """
        return self.registered if self.sign is None else self.sign

    @property
    def absence(self) -> str:
        """Return "not reachable since …", for results and errors."""
        return f"not reachable since {timestamp(self.last_heartbeat)}"


def revocation(record: MemberRecord | None, state: NodeState | None) -> tuple[float, str] | None:
    """Return when a node was revoked, and by whom; None for one that was not."""
    if record is not None:
        return (record.changed, record.changed_by) if record.state == REVOKED else None
    if state is None or state.revoked is None:
        return None
    return state.revoked, state.shut_by
