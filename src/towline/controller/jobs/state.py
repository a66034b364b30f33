"""The state of a job: its tasks, folded from its plan and its events by one pure rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from towline.controller.rollout.turns import Pause, Turns
from towline.units import timestamp
from towline.wire.event import (
    ANY_NODE,
    BAD,
    BEGUN,
    CANCELLING,
    DECISIONS,
    LEAVE,
    LED,
    NOBODY,
    PAUSED,
    RELEASED,
    RESULT_STATUS,
    RESUMED,
    STARTED,
    STEP,
    TAKEN_BACK,
    WITHHELD,
    Event,
    Lead,
    NamedNode,
)
from towline.wire.job import CANARY, CONVERGE, LEADS, READ, SOON, TURN, WAITS, Job


class Task:
    """A job's share on one node, folded from its events.

    Attributes:
        data: what the operation returned on it, any JSON; None where it has not, or nothing.
        error: why it failed.
        code: the HTTP status that answers a request for this one node, where it failed.
        reason: why it is pending, skipped, expired or cancelled, where that is known.
        waits: what it waits for: its turn (see `waits_for` in `towline.controller.rollout.rule`),
            or what its last step says.
        stepped: when that step was, in seconds since 1970.
    """

    __slots__ = (
        *("code", "data", "ended", "error", "hostname", "machine", "reason", "started", "status"),
        *("stepped", "waits"),
    )

    def __init__(self, machine: str, hostname: str) -> None:
        self.machine = machine
        self.hostname = hostname
        self.status = "pending"
        self.data: Any = None
        self.error: str | None = None
        self.code: int | None = None
        self.reason: str | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.waits: str | None = None
        self.stepped = 0.0

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What the operation returned, as rows of a job's results: one, or one for each entry."""
        rows = self.data if isinstance(self.data, list) and self.status == "ok" else [self.data]
        return [row if isinstance(row, dict) else {} for row in rows]

    @property
    def changed(self) -> bool | None:
        """Whether it changed something, where what the operation returned says so."""
        found = [bool(row["changed"]) for row in self.rows if "changed" in row]
        return any(found) if found else None

    def results(self, status: str = "status") -> list[dict[str, Any]]:
        """Return what a request's `results` says of this node; unknown fields are left out.

        Args:
            status: what its status is called there.
        """
        whose = {"hostname": self.hostname}
        if self.machine != NOBODY:
            whose["machine_id"] = self.machine
        whose[status] = self.status
        why = {
            name: value
            for name in ("error", "reason", "waits")
            if (value := getattr(self, name)) is not None
        }
        # Whose result it is says the plan, whatever the operation has returned.
        return [whose | row | whose | why for row in self.rows]


class JobState:
    """A job as its plan and its events have made it: which nodes it is for, what became of each.

    Attributes:
        tasks: by machine id; of a job for any node that none has taken, none.
        unfinished: the machine ids of the nodes that have not ended.
        turns: which nodes have had their turn.
        lead: the node that went first and what it found, where one has.
        changed: whether it has changed something anywhere; None until a node has said.
        cancelled: why it is stopped wherever it has not ended, where it is.
        ended: when the last node ended that has, in seconds since 1970; 0 for none.
        last: the place in the journal of the last decision about it; 0 for none.
        foreign: whether there is a decision among them of a kind that this version doesn't know:
            then it makes none itself.

    Args:
        job: the job.
        open_only: whether tasks that have ended are dropped, and only counted.
    """

    def __init__(self, job: Job, *, open_only: bool = False) -> None:
        self.job = job
        self.tasks: dict[str, Task] = {}
        self.unfinished: set[str] = set()
        self.turns = Turns(job.nodes)
        self.changed = False if job.effect == READ else None
        self.cancelled: str | None = None
        self.lead = job.lead
        self.updated = job.created
        self.ended = 0.0
        self.last = 0
        self.foreign = False
        self._open_only = open_only
        self._counts: dict[str, int] = {}
        # As those that follow: a node that can't begin would keep its place for a day.
        until = None
        if job.waves is not None and job.effect != CONVERGE:
            until = min(job.expires, job.created + SOON)
        for node in job.plan:
            task = self._task(node.machine, node.hostname)
            if node.state == WAITS:
                self.turns.wait(node.machine)
            elif node.state in (TURN, CANARY, LEADS):
                leads = node.state == LEADS
                tried = leads and job.waves is not None and job.waves.canary is not None
                self.turns.release(
                    node.machine,
                    job.created,
                    until=until,
                    canary=node.state == CANARY or tried,
                    leads=leads,
                )
            else:
                self._end(task, node.state, job.created, node.reason)

    def _task(self, machine: str, hostname: str) -> Task:
        task = self.tasks.get(machine)
        if task is None:
            task = self.tasks[machine] = Task(machine, hostname)
            self.unfinished.add(machine)
        return task

    def _end(self, task: Task, status: str, moment: float, why: str | None) -> None:
        task.status, task.ended, task.waits = status, moment, None
        task.error, task.reason = (why, None) if status == "failed" else (None, why)
        self.ended = max(self.ended, moment)
        self.unfinished.discard(task.machine)
        self.turns.end(task.machine, status)
        if self._open_only:
            del self.tasks[task.machine]
            self._counts[status] = self._counts.get(status, 0) + 1

    # Folding

    def apply(self, event: Event, place: int = 0) -> None:
        """Fold one event; a second one of the same kind, or one that comes late, changes nothing.

        Args:
            place: its place in the journal.
        """
        self.updated = max(self.updated, event.time)
        if event.machine == NOBODY:
            self.last = max(self.last, place)
            self._decide(event)
        elif event.kind in RESULT_STATUS or event.kind in BEGUN:
            task = self.tasks.get(event.machine)
            if task is not None:
                self._report(task, event)

    def _decide(self, event: Event) -> None:
        """Fold a decision, in the order of the journal."""
        if event.kind == RELEASED:
            self._release(event)
        elif event.kind == TAKEN_BACK:
            for node in event.nodes or []:
                if self.turns.take_back(node.machine) and self.job.for_any:
                    del self.tasks[node.machine]
                    self.unfinished.discard(node.machine)
                    self.turns.waiting.pop(node.machine, None)
        elif event.kind == LEAVE:
            for node in event.nodes or []:
                self.turns.begin(node.machine, leave=True)
                self._begin(self.tasks.get(node.machine), event.time)
        elif event.kind == WITHHELD:
            for node in event.nodes or []:
                self._withhold(node, event.time)
        elif event.kind == CANCELLING:
            self._cancel(event)
        elif event.kind == LED:
            self._led(event)
        elif event.kind == PAUSED:
            self.turns.paused = Pause(str(event.said("caller", "?")), event.time)
        elif event.kind == RESUMED:
            self.turns.paused = None
        elif event.kind not in DECISIONS:
            self.foreign = True

    def _release(self, event: Event) -> None:
        nodes = event.nodes
        if nodes is None:
            names = self.tasks
            nodes = [NamedNode(each, names[each].hostname) for each in self.turns.waiting]
        for node in nodes:
            if self.job.for_any and not self.tasks:
                self._task(node.machine, node.hostname)
            if node.machine in self.unfinished:
                self.turns.release(
                    node.machine,
                    event.time,
                    until=event.until,
                    canary=event.canary,
                    leads=event.leads,
                )

    def _withhold(self, node: NamedNode, moment: float) -> None:
        if node.machine == NOBODY and not self.tasks:
            self._task(NOBODY, ANY_NODE)
        task = self.tasks.get(node.machine)
        if task is not None and task.ended is None:
            self._end(task, node.status or "cancelled", moment, node.reason)

    def _cancel(self, event: Event) -> None:
        """Fold a cancellation: who has no turn, or not the leave that it needs, has ended."""
        self.cancelled = f"cancelled by {event.said('caller', '?')}"
        if not self.tasks and not self._counts:
            self._task(NOBODY, ANY_NODE)
        for machine in list(self.unfinished):
            turn = self.turns.under_way.get(machine)
            if turn is None or (self.job.needs_leave and not turn.leave):
                self._end(self.tasks[machine], "cancelled", event.time, self.cancelled)

    def _led(self, event: Event) -> None:
        if self.lead is not None:
            return
        self.lead = Lead.of(event)
        if self.job.waves is None:
            for machine in list(self.turns.waiting):
                self.turns.release(machine, event.time)

    def _begin(self, task: Task | None, moment: float) -> None:
        if task is not None and task.ended is None:
            task.status = "running"
            task.reason = task.waits = None
            task.started = task.started or moment

    def _report(self, task: Task, event: Event) -> None:
        if event.kind == STARTED and task.started is None:
            task.started = event.time
        if task.ended is not None:
            return
        if event.kind in BEGUN:
            # Whichever comes first: the start itself may be reported later.
            task.status = "running"
            self.turns.begin(task.machine)
            if event.kind == STEP and event.time > task.stepped:
                task.stepped, task.waits = event.time, event.waits
                task.reason = event.error if task.waits is not None else None
        else:
            task.started = event.started or task.started
            task.data, task.code = event.data, event.code
            self._end(task, RESULT_STATUS[event.kind], event.time, event.error)
            changed = task.changed
            if changed is not None:
                self.changed = bool(self.changed or changed)

    # Asking

    @property
    def done(self) -> bool:
        """Whether each node that the job is for has ended."""
        return not self.unfinished and bool(self.tasks or self._counts)

    @property
    def expiry(self) -> str:
        """That the job has expired, and when."""
        return f"the job expired at {timestamp(self.job.expires)}"

    @property
    def counts(self) -> dict[str, int]:
        """How many of its tasks have which status."""
        counts = self._counts.copy()
        for task in self.tasks.values():
            counts[task.status] = counts.get(task.status, 0) + 1
        return counts

    @property
    def status(self) -> str:
        """Return the job's status: submitted, processing, completed, failed or partial_failure."""
        return overall(self.counts, done=self.done)


def overall(counts: Mapping[str, int], *, done: bool) -> str:
    """Return a job's status.

    Args:
        counts: how many of its tasks have which status.
        done: whether all of them have ended.
    """
    total = sum(counts.values())
    if not done:
        return "submitted" if counts.get("pending", 0) == total else "processing"
    if counts.keys().isdisjoint(BAD):
        return "completed"
    bad = sum(counts.get(status, 0) for status in BAD)
    return "failed" if bad == total else "partial_failure"
