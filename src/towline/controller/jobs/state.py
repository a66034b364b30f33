"""The state of a job: its tasks, folded from their events by one pure rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from towline.controller.rollout.rule import Pause, Turns
from towline.units import timestamp
from towline.wire.event import (
    ANY_NODE,
    BAD,
    BEGUN,
    CANCELLING,
    CLAIMED,
    LED,
    NOBODY,
    PAUSED,
    PLANNED,
    RELEASED,
    RESULT_STATUS,
    STARTED,
    STEP,
    TURNS,
    WITHHELD,
    Event,
    Lead,
    PlannedNode,
)
from towline.wire.job import Job
from towline.wire.target import ANY


class Task:
    """A job's share on one node, folded from its events.

    Attributes:
        error: why it failed, where it did.
        reason: why it is as it is, in one sentence, where it has not failed: what it waits for,
            why it was skipped or cancelled, when it expired.
        until: past which moment the node doesn't begin it, where that is before the job expires.
        waits: what it waits for: its turn (see `waits_for` in `towline.controller.rollout.rule`),
            or what its last step says.
        stepped: when that step was, in seconds since 1970.
    """

    __slots__ = (
        *("data", "ended", "error", "hostname", "machine", "reason", "started", "status"),
        *("stepped", "until", "waits"),
    )

    def __init__(self, machine: str, hostname: str) -> None:
        self.machine = machine
        self.hostname = hostname
        self.status = "pending"
        self.data: dict[str, Any] = {}
        self.error: str | None = None
        self.reason: str | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.until: float | None = None
        self.waits: str | None = None
        self.stepped = 0.0

    def result(self) -> dict[str, Any]:
        """Return what a request's `results` says of this node; unknown fields are left out."""
        answer: dict[str, Any] = {"hostname": self.hostname}
        if self.machine != NOBODY:
            answer["machine_id"] = self.machine
        answer |= {"status": self.status, **self.data}
        if self.error is not None:
            answer["error"] = self.error
        if self.reason is not None:
            answer["reason"] = self.reason
        if self.waits is not None:
            answer["waits"] = self.waits
        return answer


class JobState:
    """A job as its events have made it: which nodes it is for, and what became of each.

    Attributes:
        unfinished: the machine ids of the nodes that have not ended.
        turns: of a job with waves, which nodes have had theirs.
        lead: the node that went first and what it found, where one has.
        cancelled: why it is stopped wherever it has not ended, where it is.

    Args:
        job: the job.
        nodes: the nodes it is for, where its subject says so already (a single machine);
            otherwise its `planned` event says it.
    """

    def __init__(self, job: Job, nodes: list[PlannedNode] | None = None) -> None:
        self.job = job
        self.tasks: dict[str, Task] = {}
        self.unfinished: set[str] = set()
        self.planned = False
        self.cancelled: str | None = None
        self.lead = job.lead
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

    def _end(self, task: Task, status: str, moment: float, why: str | None) -> None:
        task.status, task.ended, task.waits = status, moment, None
        task.error, task.reason = (why, None) if status == "failed" else (None, why)
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
        elif event.kind == LED:
            self.lead = Lead.of(event)
        elif event.kind in TURNS:
            self._turn(event)
        elif event.kind in RESULT_STATUS or event.kind in BEGUN or event.kind == CLAIMED:
            # Of kinds that only newer agents know nothing follows, not even a share in the job.
            self._apply(self._task(event.machine, event.hostname), event)
            if self.job.target == ANY:
                self._take_over()

    def _turn(self, event: Event) -> None:
        """Fold a decision about turns, in the order of the journal."""
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
        """Forget a node that began a job for any node and died, once another has ended it."""
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
            # Whichever comes first: the start itself may be reported later.
            task.status = "running"
            if self.turns is not None:
                self.turns.begin(task.machine)
            if event.kind == STEP and event.time > task.stepped:
                task.stepped, task.waits = event.time, event.waits
                task.reason = event.error if task.waits is not None else None
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
        """Mark the tasks that no node began in time; controllers decide that, by their clock."""
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
        """The reason of a task that has expired."""
        return f"not begun before the job expired at {timestamp(self.job.expires)}"

    def _expire_turns(self, now: float) -> None:
        """Mark the tasks that were not begun before their turn was over."""
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
