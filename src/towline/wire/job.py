"""Jobs, tasks and events: pure data, and the rule that folds events into results."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from towline.wire.rollout import Pause, Turns, Waves
from towline.wire.target import ANY

STARTED = "started"
COMPLETED = "completed"
FAILED = "failed"
SKIPPED = "skipped"
CANCELLED = "cancelled"
EXPIRED = "expired"
PLANNED = "planned"
CLAIMED = "claimed"
CANCELLING = "cancelling"
DELETED = "deleted"
ATTEMPT = "attempt"
RESOLVING = "resolving"
RESOLVED = "resolved"
QUEUED = "queued"
DEQUEUED = "dequeued"
RESTING = "resting"
RELEASED = "released"
WITHHELD = "withheld"
PAUSED = "paused"
RESUMED = "resumed"

TURNS = frozenset({RELEASED, WITHHELD, PAUSED, RESUMED})
"""Kinds that decide about the turns of a job's nodes; such an event is of the whole job."""

REPEATED = frozenset({ATTEMPT, QUEUED, DEQUEUED, RESTING})
"""Kinds that a task may have several events of; of the others there is one each."""

BEGUN = frozenset({STARTED, QUEUED, DEQUEUED, RESTING})
"""Kinds that say of a task that it goes on; they may be delivered in any order."""

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
ITS_PACE = "max_pulls"
"""What a task waits for that has begun on its node, and is queued there."""
ITS_REGISTRY = "registry"
"""What a task waits for whose registry rests, having had too many requests."""
WAITS = {QUEUED: ITS_PACE, RESTING: ITS_REGISTRY}
"""What a task waits for that has begun, by the kind of the event that tells it."""


class Resolution(msgspec.Struct, frozen=True):
    """What a tag was when a node of a job asked the registry: all its nodes pull that.

    Attributes:
        digest: of the manifest, or of the list of manifests for several platforms.
        resolver: the hostname of the node that asked.
        time: when; seconds since 1970, by the broker's clock.
    """

    digest: str
    resolver: str
    time: float

    @property
    def data(self) -> dict[str, Any]:
        """It as the data of an event."""
        return {"digest": self.digest, "resolver": self.resolver}

    @classmethod
    def of(cls, event: Event) -> Resolution:
        """Return what a `resolved` event tells."""
        data = event.data or {}
        return cls(str(data.get("digest", "")), str(data.get("resolver", "?")), event.time)


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation with its parameters, aimed at one target by one caller.

    Attributes:
        id: a UUID (version 7, so ids sort by the time they were made).
        created, expires: seconds since 1970, UTC, by the controller's clock. Past `expires`
            no node begins it.
        trace: the caller's W3C `traceparent`, where it sent one.
        excluded: machine ids that must not run it: they were away, and were told to be failed.
        only: machine ids that may run it, where not all are meant that the subject reaches.
        retries: the id of the job whose failed nodes this is for.
        waves: how its nodes get their turns; None for all at once. What a node is given when it
            has its turn is the same job, on that node's subject.
        nodes: how many nodes it is for, but those that were refused from the beginning; 1 for any
            one node.
        resolved: what its nodes pull, where the job that it retries has resolved its tag.
        credential: whether the request brought a credential for the registry. It is kept apart,
            see `towline.controller.credentials.store`, and forgotten when the job has ended.
    """

    id: str
    operation: str
    parameters: dict[str, Any]
    target: str
    caller: str
    created: float
    expires: float
    trace: str | None = None
    excluded: list[str] = []
    only: list[str] | None = None
    retries: str | None = None
    waves: Waves | None = None
    credential: bool = False
    nodes: int = 1
    resolved: Resolution | None = None

    def is_for(self, machine: str) -> bool:
        """Whether a machine that this reaches is to run it."""
        return machine not in self.excluded and (self.only is None or machine in self.only)


CANCEL = "job.cancel"
"""The operation of a message that tells nodes to stop job `parameters["job"]`."""


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
        data: what the operation returned, as JSON, for `completed`; what a tag is, for `resolved`;
            whose turn it is to ask that, for `resolving`.
        nodes: which nodes the job is for, for `planned`; whose turn it is, for `released`; who
            will have none, for `withheld`.
        until: past which moment those nodes don't begin it, for `released`, where that is before
            the job expires; seconds since 1970.
        canary: whether those nodes go first, alone, for `released`.
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


class Task:
    """A job's share on one node, folded from its events.

    Attributes:
        until: past which moment it isn't begun, where that is before the job expires.
        waits: what it waits for, where it has not had its turn (see `waits_for` in
            `towline.wire.rollout`),
            or is queued on its node.
        queued: when it was last told to be queued there, or no more; seconds since 1970.
    """

    __slots__ = (
        *("data", "ended", "error", "hostname", "machine", "queued", "started", "status"),
        *("until", "waits"),
    )

    def __init__(self, machine: str, hostname: str) -> None:
        self.machine = machine
        self.hostname = hostname
        self.status = "pending"
        self.data: dict[str, Any] = {}
        self.error: str | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.until: float | None = None
        self.waits: str | None = None
        self.queued = 0.0

    def result(self) -> dict[str, Any]:
        """Return what a request's `results` says of this node; unknown fields are left out."""
        answer: dict[str, Any] = {"hostname": self.hostname, "status": self.status, **self.data}
        if self.error is not None:
            answer["error"] = self.error
        if self.waits is not None:
            answer["waits"] = self.waits
        return answer


class Progress:
    """What is known of a job: which nodes, and how far each is.

    Attributes:
        unfinished: the machine ids of the nodes that have not ended.
        turns: of a job with waves, which nodes have had theirs.
        resolution: what its nodes pull, where they have agreed on that.
        cancelled: why it is stopped wherever it has not ended, where it is.

    Args:
        job: the job.
        nodes: the nodes it is for, where its subject says so already (a single machine);
            otherwise its `planned` event tells.
    """

    def __init__(self, job: Job, nodes: list[PlannedNode] | None = None) -> None:
        self.job = job
        self.tasks: dict[str, Task] = {}
        self.unfinished: set[str] = set()
        self.planned = False
        self.cancelled: str | None = None
        self.resolution = job.resolved
        self.updated = job.created
        self.turns = Turns() if job.waves is not None else None
        if nodes is not None:
            self._plan(nodes)

    def _plan(self, nodes: list[PlannedNode]) -> None:
        self.planned = True
        for node in nodes:
            task = self._task(node.machine, node.hostname)
            if node.refused is not None:
                if task.ended is None:
                    self._end(task, node.status, self.job.created, node.refused)
            elif self.turns is not None:
                self.turns.plan(node.machine)

    def _task(self, machine: str, hostname: str) -> Task:
        task = self.tasks.get(machine)
        if task is None:
            task = self.tasks[machine] = Task(machine, hostname)
            self.unfinished.add(machine)
        return task

    def _end(self, task: Task, status: str, moment: float, error: str | None) -> None:
        task.status, task.ended, task.error, task.waits = status, moment, error, None
        self.unfinished.discard(task.machine)
        if self.turns is not None:
            self.turns.end(task.machine, status)

    def apply(self, event: Event) -> None:
        """Fold one event; a second delivery, or one that comes late, changes nothing."""
        self.updated = max(self.updated, event.time)
        if event.kind == PLANNED:
            self._plan(event.nodes or [])
        elif event.kind == CANCELLING:
            self.cancelled = f"cancelled by {(event.data or {}).get('caller', '?')}"
        elif event.kind == RESOLVED:
            self.resolution = Resolution.of(event)
        elif event.kind in TURNS:
            self._turn(event)
        elif event.kind in RESULT_STATUS or event.kind in BEGUN or event.kind == CLAIMED:
            # Of kinds that only newer agents know nothing follows, not even a share in the job.
            self._apply(self._task(event.machine, event.hostname), event)
            if self.job.target == ANY:
                self._take_over()

    def _turn(self, event: Event) -> None:
        """Fold a decision about turns; that of a pause in the order of the journal."""
        if event.kind == WITHHELD:
            for node in event.nodes or []:
                task = self._task(node.machine, node.hostname)
                if task.ended is None:
                    self._end(task, node.status, event.time, node.refused)
        elif self.turns is None:
            return
        elif event.kind == RELEASED:
            for node in event.nodes or []:
                self._task(node.machine, node.hostname).until = event.until
                self.turns.release(node.machine, canary=event.canary)
        else:
            by = str((event.data or {}).get("caller", "?"))
            self.turns.paused = Pause(by, event.time) if event.kind == PAUSED else None

    def _take_over(self) -> None:
        """Forget of a job for any node who began it, and died, once another one has ended it."""
        if len(self.unfinished) < len(self.tasks):
            for machine in self.unfinished:
                del self.tasks[machine]
            self.unfinished.clear()

    def _apply(self, task: Task, event: Event) -> None:
        if event.kind == CLAIMED:
            self.planned = True
        if event.kind == STARTED and task.started is None:
            task.started = event.time
        if task.ended is not None:
            return
        if event.kind in BEGUN:
            # Whichever comes first: the start itself may be told later.
            task.status = "running"
            if self.turns is not None:
                self.turns.begin(task.machine)
            if event.kind != STARTED and event.time > task.queued:
                task.queued = event.time
                task.waits = WAITS.get(event.kind)
                task.error = event.error if task.waits is not None else None
        elif event.kind in RESULT_STATUS:
            self.planned = True
            task.started = event.started or task.started
            task.data = event.data or {}
            self._end(task, RESULT_STATUS[event.kind], event.time, event.error)

    @property
    def done(self) -> bool:
        """Whether it is known which nodes the job is for, and each has ended."""
        return self.planned and not self.unfinished

    def expire(self, now: float) -> None:
        """Mark what nobody began in time; the deadline is the controllers' business."""
        expires = self.job.expires
        if now <= expires:
            self._expire_turns(now)
            return
        if not self.planned and not self.tasks:
            self._plan([PlannedNode(NOBODY, ANY_NODE)])
        for machine in list(self.unfinished):
            task = self.tasks[machine]
            if task.status == "pending":
                self._end(task, "expired", expires, self.expiry)

    @property
    def expiry(self) -> str:
        """Why a node that did not begin in time has expired."""
        return f"not begun before the job expired at {timestamp(self.job.expires)}"

    def _expire_turns(self, now: float) -> None:
        """Mark what was not begun within the time that its turn had."""
        for machine in list(self.turns.under_way) if self.turns is not None else ():
            task = self.tasks[machine]
            if task.status == "pending" and task.until is not None and now > task.until:
                reason = f"not begun before its turn was over at {timestamp(task.until)}"
                self._end(task, "expired", task.until, reason)

    @property
    def status(self) -> str:
        """Return the job's status: submitted, processing, completed, failed or partial_failure."""
        counts = Counter(task.status for task in self.tasks.values())
        return overall(counts, done=self.done)


def overall(counts: Mapping[str, int], *, done: bool) -> str:
    """Return a job's status.

    Args:
        counts: how many of its tasks have which status.
        done: whether all of them are known and have ended.
    """
    total = sum(counts.values())
    if not done:
        return "submitted" if counts.get("pending", 0) == total else "processing"
    bad = sum(counts.get(status, 0) for status in BAD)
    if not bad:
        return "completed"
    return "failed" if bad == total else "partial_failure"


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562, section 5.7)."""
    value = int.from_bytes(os.urandom(16), "big")
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | (value & ((1 << 80) - 1))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_id(seconds: float) -> str:
    """Return what no id of a job made at `seconds` since 1970, or later, comes before."""
    text = f"{int(seconds * 1000):012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 text in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
