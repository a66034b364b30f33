"""The picture of a job that goes on: its state, the progress of its nodes, and what changed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import msgspec

from towline.controller.jobs.state import JobState, Task
from towline.wire.event import BAD, LEAVE, NOBODY, STARTED, Event
from towline.wire.progress import (
    Figures,
    JobProgress,
    NodeProgress,
    PartProgress,
    TaskProgress,
    Total,
)

FEW = 20
"""Nodes up to which each part of their tasks is sent, too."""
NAMED = 5
"""Nodes that the sum names as the slowest, and as failed."""
BRIEF = 300
"""Characters of an error in the sum, which is sent again and again: a node may report a page."""


class Picture:
    """What is known of a job: how far each node is, and what has changed for whom.

    Attributes:
        silent: the machine ids of nodes that run the job and have reported no progress.

    Args:
        state: the job as its events have made it so far.
    """

    def __init__(self, state: JobState) -> None:
        self.state = state
        self._reports: dict[str, TaskProgress] = {}
        self._failed: dict[str, None] = {}
        self._described: dict[str, tuple[str | None, ...]] = {}
        self._feeds: set[Feed] = set()
        self._total: Total | None = None
        self._encoded: dict[tuple[str, bool], bytes] = {}
        self.silent: set[str] = set()
        for task in state.tasks.values():
            self._described[task.machine] = _description(task)
            if task.status in BAD:
                self._failed[task.machine] = None
            elif task.status == "running":
                self.silent.add(task.machine)

    # In

    def apply(self, event: Event) -> None:
        """Fold an event of the job."""
        self.state.apply(event)
        if event.machine == NOBODY:
            self._encoded.clear()
        machines = [event.machine, *(node.machine for node in event.nodes or ())]
        for machine in machines if event.kind in (STARTED, LEAVE) else ():
            task = self.state.tasks.get(machine)
            if task is not None and task.ended is None:
                # The reason why it had not begun.
                task.reason = task.waits = None
                if machine not in self._reports:
                    self.silent.add(machine)
        self._change(machines)

    def report(self, machine: str, report: TaskProgress) -> None:
        """Take the progress of a node; none where it has no part in the job, or has ended."""
        if machine in self.state.unfinished and self._reports.get(machine) != report:
            self._reports[machine] = report
            self.silent.discard(machine)
            self._change([machine])

    def explained(self) -> bool:
        """Find the nodes whose description has changed, and return whether there are any.

        They may be away, or have expired: no event reports that.
        """
        changed = []
        for machine, task in self.state.tasks.items():
            if self._described.get(machine) != _description(task):
                if task.reason is not None:
                    # It is away: how fast it was counts no more.
                    self._reports.pop(machine, None)
                changed.append(machine)
        self._change(changed)
        return bool(changed)

    def _change(self, machines: Iterable[str]) -> None:
        for machine in machines:
            task = self.state.tasks.get(machine)
            if task is None:
                continue
            self._described[machine] = _description(task)
            for parts in (False, True):
                self._encoded.pop((machine, parts), None)
            if task.ended is not None:
                self._reports.pop(machine, None)
                self.silent.discard(machine)
                if task.status in BAD:
                    self._failed[machine] = None
            for feed in self._feeds:
                feed.change(machine)
        self._total = None

    # Out

    def follow(self, machine: str | None = None) -> Feed:
        """Return a feed of what is known and what changes; `leave` ends it.

        Args:
            machine: the only node that is followed; None for all.
        """
        feed = Feed(self, machine)
        self._feeds.add(feed)
        return feed

    def leave(self, feed: Feed) -> None:
        """End a feed."""
        self._feeds.discard(feed)

    def node(self, machine: str, *, parts: bool = False) -> NodeProgress:
        """Return what is known of a node of the job.

        Args:
            parts: whether each part of the task is among it.
        """
        task, report = self.state.tasks[machine], self._reports.get(machine)
        if report is None or task.ended is not None:
            status, error, reason, waits = _description(task)
            return NodeProgress(
                *(task.hostname, machine, status), error=error, reason=reason, waits=waits
            )
        listed = report.parts if parts else ()
        return NodeProgress(
            *(task.hostname, machine, "running"),
            phase=report.phase,
            note=report.note or None,
            attempt=report.attempt,
            extracted=report.extracted,
            parts=[PartProgress(*msgspec.structs.astuple(part)) for part in listed],
            **{name: getattr(report, name) for name in Figures.__struct_fields__},
        )

    def encoded(self, machine: str, *, parts: bool) -> bytes:
        """Return what is known of a node as JSON, made once for all who follow; as `node`."""
        known = self._encoded.get((machine, parts))
        if known is None:
            known = self._encoded[machine, parts] = msgspec.json.encode(
                self.node(machine, parts=parts)
            )
        return known

    def total(self) -> Total:
        """Return the sum over all nodes."""
        if self._total is None:
            self._total = self._sum()
        return self._total

    def _sum(self) -> Total:
        tasks = self.state.tasks
        counts = Counter(self._status(task) for task in tasks.values())
        complete = float(len(tasks) - len(self.state.unfinished))
        fetched = size = unsized = rate = 0
        left: int | None = 0
        for report in self._reports.values():
            fetched += report.fetched
            size += report.size
            unsized += report.unsized
            rate += report.rate
            if report.size:
                complete += min(1.0, report.fetched / report.size) * _sized(report)
            if left is not None:
                left = None if report.left is None else max(left, report.left)
        slowest = heapq.nsmallest(NAMED, self._reports, key=lambda name: _pace(self._reports[name]))
        return Total(
            dict(counts),
            round(complete / len(tasks), 4) if tasks else 0.0,
            [self.node(machine) for machine in slowest],
            [self._briefly(machine) for machine in islice(reversed(self._failed), NAMED)],
            fetched=fetched,
            size=size,
            unsized=unsized,
            rate=rate,
            left=left if self._reports else None,
        )

    def _briefly(self, machine: str) -> NodeProgress:
        node = self.node(machine)
        return msgspec.structs.replace(node, error=_cut(node.error), reason=_cut(node.reason))

    def _status(self, task: Task) -> str:
        # A report may come before the event that the task has begun.
        return "running" if task.machine in self._reports else task.status

    def snapshot(self, machine: str | None = None) -> JobProgress:
        """Return all that is known, of one node or of all."""
        tasks = self.state.tasks
        wanted = tasks if machine is None else [machine] if machine in tasks else []
        parts = len(wanted) <= FEW
        nodes = [self.node(each, parts=parts) for each in wanted]
        return JobProgress(self.state.job.id, self.state.status, self.total(), nodes)


def _description(task: Task) -> tuple[str, str | None, str | None, str | None]:
    """Return what changes of a task without a report: status, error, reason, what it waits for."""
    return task.status, task.error, task.reason, task.waits


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= BRIEF else f"{text[: BRIEF - 1]}…"


def _sized(report: TaskProgress) -> float:
    """Return the share of parts whose size is known."""
    parts = len(report.parts)
    return max(0, parts - report.unsized) / parts if parts else 0.0


def _pace(report: TaskProgress) -> tuple[bool, float]:
    """Return what sorts the slowest first: without an end in sight, then by the time left."""
    if report.left is None:
        return False, report.rate
    return True, -report.left


class Feed:
    """What one follower of a job is still to be sent, the oldest changes first.

    Args:
        machine: the only node that is followed; None for all.
    """

    def __init__(self, picture: Picture, machine: str | None) -> None:
        self._picture = picture
        self._machine = machine
        tasks = picture.state.tasks
        # Those that are at it first: a follower who comes late asks for these.
        self._due = dict.fromkeys(
            each
            for each in sorted(tasks, key=lambda each: tasks[each].status != "running")
            if machine in (None, each)
        )

    def change(self, machine: str) -> None:
        """Note that a node has changed; it keeps its place where it stands already."""
        if self._machine in (None, machine):
            self._due[machine] = None

    def __bool__(self) -> bool:
        return bool(self._due)

    def take(self, budget: int) -> list[msgspec.Raw]:
        """Return the nodes that have changed, each as JSON, in no more bytes than `budget`."""
        picture, taken = self._picture, list[msgspec.Raw]()
        few = self._machine is not None or len(picture.state.tasks) <= FEW
        for machine in list(self._due):
            if machine in picture.state.tasks:
                encoded = picture.encoded(machine, parts=few)
                # One that is larger than any budget has to be sent sometime.
                if taken and len(encoded) + 1 > budget:
                    break
                budget -= len(encoded) + 1
                taken.append(msgspec.Raw(encoded))
            del self._due[machine]
            if budget <= 0:
                break
        return taken
