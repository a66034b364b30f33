"""Jobs, tasks and events: pure data, and the rule that folds events into results."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

STARTED = "started"
COMPLETED = "completed"
FAILED = "failed"
SKIPPED = "skipped"
CANCELLED = "cancelled"
EXPIRED = "expired"
PLANNED = "planned"
CLAIMED = "claimed"

RESULT_STATUS = {
    COMPLETED: "ok",
    FAILED: "failed",
    SKIPPED: "skipped",
    CANCELLED: "cancelled",
    EXPIRED: "expired",
}
"""A result's status by the kind of the event that ended the task."""


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation with its parameters, aimed at one target by one caller.

    Attributes:
        id: a UUID (version 7, so ids sort by the time they were made).
        created, expires: seconds since 1970, UTC, by the controller's clock. Past `expires`
            no node begins it.
        trace: the caller's W3C `traceparent`, where it sent one.
        excluded: machine ids that were away and were told to be failed: they must not run it.
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


class PlannedNode(msgspec.Struct, frozen=True, array_like=True):
    """A node that a job is for; `refused` says why it will not run there."""

    machine: str
    hostname: str
    refused: str | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact about a task, appended and never changed.

    Attributes:
        machine: the node's machine id; `_` for an event of the whole job.
        kind: one of the constants above; newer agents may know kinds that we don't.
        time: seconds since 1970, UTC, by the clock of whoever wrote it.
        started: when the task that this ends was begun, likewise; where it was.
        data: what the operation returned, as JSON, for `completed`.
        nodes: which nodes the job is for, for `planned`.
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


class Task:
    """A job's share on one node, folded from its events."""

    __slots__ = ("data", "ended", "error", "hostname", "machine", "started", "status")

    def __init__(self, machine: str, hostname: str) -> None:
        self.machine = machine
        self.hostname = hostname
        self.status = "pending"
        self.data: dict[str, Any] = {}
        self.error: str | None = None
        self.started: float | None = None
        self.ended: float | None = None

    def result(self) -> dict[str, Any]:
        """Return what a request's `results` says of this node; unknown fields are left out."""
        answer: dict[str, Any] = {"hostname": self.hostname, "status": self.status, **self.data}
        if self.error is not None:
            answer["error"] = self.error
        return answer


class Progress:
    """What is known of a job: which nodes, and how far each is.

    Args:
        job: the job.
        nodes: the nodes it is for, where its subject says so already (a single machine);
            otherwise its `planned` event tells.
    """

    def __init__(self, job: Job, nodes: list[PlannedNode] | None = None) -> None:
        self.job = job
        self.tasks: dict[str, Task] = {}
        self.planned = False
        self.updated = job.created
        if nodes is not None:
            self._plan(nodes)

    def _plan(self, nodes: list[PlannedNode]) -> None:
        self.planned = True
        for node in nodes:
            task = self.tasks.setdefault(node.machine, Task(node.machine, node.hostname))
            if node.refused is not None and task.ended is None:
                task.status, task.error, task.ended = "failed", node.refused, self.job.created

    def apply(self, event: Event) -> None:
        """Fold one event; a second delivery, or one that comes late, changes nothing."""
        self.updated = max(self.updated, event.time)
        if event.kind == PLANNED:
            self._plan(event.nodes or [])
            return
        task = self.tasks.get(event.machine)
        if task is None:
            if event.machine == "_":
                return
            task = self.tasks[event.machine] = Task(event.machine, event.hostname)
        if event.kind == CLAIMED:
            self.planned = True
        if event.kind == STARTED and task.started is None:
            task.started = event.time
        if task.ended is not None:
            return
        if event.kind == STARTED:
            task.status = "running"
        elif event.kind in RESULT_STATUS:
            self.planned = True
            task.status = RESULT_STATUS[event.kind]
            task.started, task.ended = event.started or task.started, event.time
            task.data = event.data or {}
            task.error = event.error

    @property
    def done(self) -> bool:
        """Whether it is known which nodes the job is for, and each has ended."""
        return self.planned and all(task.ended is not None for task in self.tasks.values())

    def expire(self, now: float) -> None:
        """Mark what nobody began in time; the deadline is the controllers' business."""
        if now <= self.job.expires:
            return
        for task in self.tasks.values():
            if task.status == "pending":
                task.status, task.ended = "expired", self.job.expires
                task.error = f"not begun before the job expired at {timestamp(self.job.expires)}"

    @property
    def status(self) -> str:
        """Return the job's status: submitted, processing, completed, failed or partial_failure."""
        states = [task.status for task in self.tasks.values()]
        if not self.done:
            return "submitted" if all(state == "pending" for state in states) else "processing"
        bad = sum(state in ("failed", "cancelled", "expired") for state in states)
        if not bad:
            return "completed"
        return "failed" if bad == len(states) else "partial_failure"


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
