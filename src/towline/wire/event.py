"""Events: facts about tasks and jobs, appended to the journal and never changed. Pure data.

A node reports what becomes of its task; a decision is of the whole job, and controllers make it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from towline.wire.fields import ErrorCode, JobId, MachineId, Moment, Name, Text

# What nodes report.
STARTED = "started"
STEP = "step"
COMPLETED = "completed"
FAILED = "failed"
SKIPPED = "skipped"
CANCELLED = "cancelled"
EXPIRED = "expired"
# What controllers decide.
RELEASED = "released"
"""These nodes have their turn; all that wait, where none is named."""
TAKEN_BACK = "taken_back"
"""These nodes have their turn no more."""
LEAVE = "leave"
"""These nodes may begin."""
WITHHELD = "withheld"
"""These nodes have ended without having begun, each with the status and the reason."""
PAUSED = "paused"
RESUMED = "resumed"
CANCELLING = "cancelling"
LED = "led"
"""What the lead has found. A node reports it, and it is stored as a decision."""
DELETED = "deleted"
DECISIONS = frozenset(
    {RELEASED, TAKEN_BACK, LEAVE, WITHHELD, PAUSED, RESUMED, CANCELLING, LED, DELETED}
)
RESULT_STATUS = {
    COMPLETED: "ok",
    FAILED: "failed",
    SKIPPED: "skipped",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
}
"""A result's status by the kind of the event that ended the task."""
REPORTS = frozenset({STARTED, STEP, LED, *RESULT_STATUS})
"""Kinds that a node may report."""
OF_STREAMS = frozenset({"submitted", "end", "resolving", "resolved"})
"""What else streams of events say of a job: no kind of a node's is called so."""
BEGUN = frozenset({STARTED, STEP})
"""Kinds that say that a task is under way; they may be delivered in any order."""
UNFINISHED = ("pending", "running")
BAD = ("failed", "cancelled", "expired")
OWN_CODES = frozenset({403, 404})
"""HTTP statuses that a node may name for the answer to a request for it alone."""
NOBODY = "_"
"""Stands for the machine of a decision, and of a job for any node that none has taken."""
ANY_NODE = "_any"
"""Stands for that machine's hostname."""


class Lead(msgspec.Struct, frozen=True):
    """The node of a job that went first, and what it found: all others are given that.

    Attributes:
        value: what it found; what that means is the operation's to say.
        hostname: of that node.
        time: when.
    """

    value: Text
    hostname: Name
    time: Moment

    @classmethod
    def of(cls, event: Event) -> Lead:
        """Return what a `led` event says."""
        value, hostname = event.said("value", ""), event.said("hostname", "?")
        return cls(str(value), str(hostname), event.time)


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


class NamedNode(msgspec.Struct, frozen=True, array_like=True):
    """A node that a decision names.

    Attributes:
        reason: why it is named.
        status: what it ends with, for `withheld`.
    """

    machine: MachineId
    hostname: Name
    reason: Text | None = None
    status: Name | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact about a task, appended and never changed.

    Attributes:
        machine: the node's machine id; `_` for a decision.
        kind: one of the constants above; newer agents and controllers may know kinds that we don't.
        time: by the clock of whoever wrote it.
        started: when the task that this ends was begun, likewise; where it was.
        data: what the operation returned, any JSON, for `completed`; what the lead found, for
            `led`; who decided it (`caller`), for what people decide.
        error: the sentence that says why: of a failure the error, of all else the reason.
        code: the HTTP status that answers a request for this one node, for `failed`, where that
            says more than 500.
        nodes: which nodes are meant, for decisions about turns.
        until: past which moment those nodes don't begin it, for `released`, where that is before
            the job expires.
        canary, leads: whether those nodes go first, alone: as a trial; to find what all others are
            given.
        step, waits: see `Step`, for `step`; its message is the `error`.
    """

    job: JobId
    machine: MachineId
    hostname: Name
    kind: Name
    time: Moment
    started: Moment | None = None
    data: Any = None
    error: Text | None = None
    code: ErrorCode | None = None
    nodes: list[NamedNode] | None = None
    until: Moment | None = None
    canary: bool = False
    leads: bool = False
    step: Name | None = None
    waits: Name | None = None

    def said(self, name: str, otherwise: object = None) -> Any:
        """Return what its data has under a name, or `otherwise`: it may be no object at all."""
        return self.data.get(name, otherwise) if isinstance(self.data, dict) else otherwise
