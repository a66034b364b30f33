"""A job whose tasks get their turns by the rule, in a fleet that a test decides about."""

from typing import Any

import msgspec

from tests.testing.jobs import LONG_AGO, a_decision, a_job, an_event, planned
from towline.controller.jobs.state import JobState
from towline.controller.rollout.rule import Decision, decide
from towline.wire.event import (
    COMPLETED,
    EXPIRED,
    FAILED,
    LEAVE,
    RELEASED,
    SKIPPED,
    TAKEN_BACK,
    WITHHELD,
    NamedNode,
)
from towline.wire.job import Job

ENDS = {"ok": COMPLETED, "failed": FAILED, "skipped": SKIPPED, "expired": EXPIRED}
NOW = LONG_AGO + 1


class Nodes:
    """A fleet in which all are here, but those that a test says."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.held: set[str] = set()
        self.drained: set[str] = set()
        self.shut_out: dict[str, str] = {}
        self.picked: str | None = None
        self.beaten = 2 * NOW

    def here(self, machine: str) -> bool:
        """Whether a node is here."""
        return machine not in self.away

    def holds(self, machine: str, job_id: str) -> bool:
        """Whether a node has the task of a job."""
        return machine in self.held

    def received(self, machine: str) -> float:
        """Return when a node's last heartbeat came."""
        return self.beaten

    def refused(self, job: Job, machine: str) -> tuple[str, str] | None:
        """Return why a node can't have its turn."""
        return ("skipped", "drained") if machine in self.drained else None

    def pick(self, job: Job) -> str | None:
        """Return the node that a job for any node is for."""
        return self.picked


class World:
    """A job in a fleet, brought forward by the rule."""

    def __init__(self, machines: str = "", **more: Any) -> None:
        self.nodes = Nodes()
        self.state = JobState(a_job(plan=planned(machines, "waits"), nodes=len(machines), **more))

    @property
    def job(self) -> Job:
        """The job."""
        return self.state.job

    def ask(self, now: float = NOW) -> Decision:
        """Return what the rule says."""
        return decide(self.state, self.nodes, now)

    def go(self, now: float = NOW) -> str:
        """Let the rule decide, and fold what it says; return who has a turn since."""
        found = self.ask(now)
        job, apply = self.state.job, self.state.apply
        if found.everyone:
            waiting = "".join(self.state.turns.waiting)
            apply(msgspec.structs.replace(a_decision(job, RELEASED), time=now))
            return waiting
        if found.release:
            marks = {"canary": found.canary, "leads": found.leads}
            decided = a_decision(job, RELEASED, "".join(found.release), **marks)
            apply(msgspec.structs.replace(decided, time=now))
        if found.take_back:
            apply(a_decision(job, TAKEN_BACK, "".join(found.take_back)))
        if found.withhold:
            nodes = [
                NamedNode(machine, f"host-{machine}", reason, status)
                for machine, (status, reason) in found.withhold.items()
            ]
            apply(a_decision(job, WITHHELD, nodes=nodes))
        return "".join(found.release)

    def leave(self, machines: str) -> None:
        """Give leave to nodes."""
        self.state.apply(a_decision(self.job, LEAVE, machines))

    def end(self, machine: str, status: str = "ok") -> None:
        """Have a node end its task."""
        self.state.apply(an_event(self.job, ENDS[status], machine))

    @property
    def statuses(self) -> dict[str, str]:
        """What became of the tasks, by machine id."""
        return {machine: task.status for machine, task in self.state.tasks.items()}
