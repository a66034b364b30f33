"""Events: facts about tasks and jobs, appended to the journal and never changed. Pure data."""

from __future__ import annotations

from typing import Any

import msgspec

STARTED = "started"
STEP = "step"
COMPLETED = "completed"
FAILED = "failed"
SKIPPED = "skipped"
CANCELLED = "cancelled"
EXPIRED = "expired"
PLANNED = "planned"
CLAIMED = "claimed"
CANCELLING = "cancelling"
DELETED = "deleted"
LEADING = "leading"
LED = "led"
RELEASED = "released"
WITHHELD = "withheld"
PAUSED = "paused"
RESUMED = "resumed"
TURNS = frozenset({RELEASED, WITHHELD, PAUSED, RESUMED})
"""Kinds that decide about the turns of a job's nodes; such an event is of the whole job."""
BEGUN = frozenset({STARTED, STEP})
"""Kinds that say that a task is under way; they may be delivered in any order."""
RESULT_STATUS = {
    COMPLETED: "ok",
    FAILED: "failed",
    SKIPPED: "skipped",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
}
"""A result's status by the kind of the event that ended the task."""
UNFINISHED = ("pending", "running")
BAD = ("failed", "cancelled", "expired")
NOBODY = "_"
"""Stands for the machine of a job for any node that none has taken, and of events of whole jobs."""
ANY_NODE = "_any"
"""Stands for that machine's hostname."""


class Lead(msgspec.Struct, frozen=True):
    """The node of a job that went first, and what it found: all others are given that.

    Attributes:
        value: what it found; what that means is the operation's to say.
        hostname: of that node.
        time: when; seconds since 1970, by the broker's clock.
    """

    value: str
    hostname: str
    time: float

    @property
    def data(self) -> dict[str, Any]:
        """What the event that records it has as data."""
        return {"value": self.value, "hostname": self.hostname}

    @classmethod
    def of(cls, event: Event) -> Lead:
        """Return what a `led` event says."""
        data = event.data or {}
        return cls(str(data.get("value", "")), str(data.get("hostname", "?")), event.time)


class Step(msgspec.Struct, frozen=True):
    """A step of a task that is under way, as its node reports it.

    Attributes:
        name: what the job's timeline calls it, for example "queued".
        message: the same for people.
        waits: what the task waits for from this step on, for example "max_pulls"; None for
            nothing.
    """

    name: str
    message: str
    waits: str | None = None


class PlannedNode(msgspec.Struct, frozen=True, array_like=True):
    """A node that a job is for.

    Attributes:
        refused: why it will not run there.
        status: what the result's status is then.
    """

    machine: str
    hostname: str
    refused: str | None = None
    status: str = "failed"


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact about a task, appended and never changed.

    Attributes:
        machine: the node's machine id; `_` for an event of the whole job.
        kind: one of the constants above; newer agents may know kinds that we don't.
        time: seconds since 1970, UTC, by the clock of whoever wrote it.
        started: when the task that this ends was begun, likewise; where it was.
        data: what the operation returned, as JSON, for `completed`; who went first and what it
            found, for `led`; whose turn it is to go first, for `leading`.
        nodes: which nodes the job is for, for `planned`; whose turn it is, for `released`; who
            will have none, for `withheld`.
        until: past which moment those nodes don't begin it, for `released`, where that is before
            the job expires; seconds since 1970.
        canary: whether those nodes go first, alone, for `released`.
        step, waits: see `Step`, for `step`; its message is the `error`.
    """

    job: str
    machine: str
    hostname: str
    kind: str
    time: float
    started: float | None = None
    data: dict[str, Any] | None = None
    error: str | None = None
    nodes: list[PlannedNode] | None = None
    until: float | None = None
    canary: bool = False
    step: str | None = None
    waits: str | None = None
