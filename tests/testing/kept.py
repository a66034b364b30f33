"""A set that is kept true in a small world: by the rule, with real folds of jobs, and no broker."""

from __future__ import annotations

import itertools

import msgspec

from tests.testing.jobs import a_decision, an_event
from tests.testing.sets import NAME, NOW, World, a_set, digest
from tests.testing.turns import Nodes
from towline.controller.jobs.state import JobState
from towline.controller.rollout import rule as turns
from towline.controller.sets import changes, rule
from towline.controller.sets.attempts import brings
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.standing import Attempt, images, pulled, stand
from towline.operations.docker import pull
from towline.wire.event import (
    CANCELLING,
    COMPLETED,
    FAILED,
    LEAVE,
    RELEASED,
    SKIPPED,
    TAKEN_BACK,
    WITHHELD,
    Lead,
    NamedNode,
)
from towline.wire.job import CONVERGE, Job, PlannedNode
from towline.wire.rollout import Waves

PAUSE = 10.0
"""Seconds before what failed is tried again."""


class Kept(World):
    """A set of one image in a world of nodes, with what a registry's tag names.

    Attributes:
        tag: what the tag names.
        failing: the machines on which pulls fail.
        skipping: those that end jobs without having tried them.
        all: every job that was made, by its id.
    """

    def __init__(self, record: SetRecord, machines: str = "abcd") -> None:
        super().__init__(machines)
        self.record = record
        self.state = SetState(record.id)
        self.tag = digest(1)
        self.failing: set[str] = set()
        self.skipping: set[str] = set()
        self.all: dict[str, JobState] = {}
        self.now = NOW
        self.window = True
        self._numbers = itertools.count(1)

    # What the rule sees

    @property
    def image(self) -> ImageState:
        """How far the image is."""
        return images(self.record, self.state)[0]

    @property
    def going(self) -> list[JobState]:
        """The open jobs."""
        return [each for each in self.all.values() if not each.done]

    def job(self, image: ImageState, digest: str, machine: str) -> str:
        """The job that brings a node a digest."""
        for each in self.going:
            what = brings(each.job)
            brought = what is not None and what.digest == digest and each.cancelled is None
            if brought and machine in each.unfinished:
                return each.job.id
        return ""

    def decide(self) -> list[rule.Action]:
        """Return what is to be done now."""
        image = self.image
        rows = [stand(self.record, image, node, self, self.now) for node in self]
        for row in rows:
            if row.state == "converged":
                self.attempts.pop((row.digest, row.machine), None)
        facts = rule.Facts(
            ready=[row.machine for row in rows if row.ready],
            open=[row.machine for row in rows if row.open],
            tried={row.machine for row in rows if row.tried},
            filling=any(
                row.job and row.state == "missing" and row.digest == image.current for row in rows
            ),
            holding=any(
                node.here and self.holds(node.machine, pulled(image), image.next) for node in self
            ),
            unknown=any(node.names is None and node.here for node in self),
        )
        here = {node.machine for node in self if node.here}
        seen = rule.Situation(
            facts={(image.image, image.platform): facts},
            jobs=self.going,
            rollouts={
                each.job.id: rule.rollout(each, each.unfinished & here, self.now)
                for each in self.all.values()
            },
            window=self.window,
            now=self.now,
        )
        return rule.decide(self.record, self.state, seen)

    # What is done

    def resolve(self) -> None:
        """Look up the tag."""
        answer = changes.Answer(NAME, "", self.tag)
        self.state = changes.resolved(self.record, [answer], self.now)(self.state)

    def keep(self) -> list[rule.Action]:
        """Do what is to be done, once; return it."""
        done = self.decide()
        for action in done:
            self.do(action)
        return done

    def do(self, action: rule.Action) -> None:
        """Do something that the rule says."""
        record, now = self.record, self.now
        if isinstance(action, rule.RollOut):
            job = self.make(action.machines, action.image.next, waves=rule.waves_of(record))
            self.state = changes.started(record, action.image, job.id)(self.state)
        elif isinstance(action, rule.FillIn):
            self.make(action.machines, action.image.current)
        elif isinstance(action, rule.Adopt):
            self.state = changes.started(record, action.image, action.job)(self.state)
        elif isinstance(action, rule.Promote):
            self.state = changes.rolled_out(record, action.image, now)(self.state)
        elif isinstance(action, rule.Stop):
            self.state = changes.stopped(record, action.image, action.reason, now)(self.state)
        elif isinstance(action, rule.Cancel):
            self.cancel(action.job, record.caller)

    def make(self, machines: object, wanted: str, **more: object) -> Job:
        """Make a job for machines."""
        plan = [PlannedNode(each, each, "waits") for each in machines]  # type: ignore[attr-defined]
        job = Job(
            f"00000000-0000-7000-8000-{next(self._numbers):012x}",
            pull.name,
            {"image": NAME},
            self.record.target,
            self.record.caller,
            self.now,
            self.now + 1e6,
            effect=CONVERGE,
            plan=plan,
            nodes=len(plan),
            lead=Lead(wanted, "web", self.now),
            requires="docker",
        )
        job = msgspec.structs.replace(job, **more)
        self.all[job.id] = JobState(job)
        return job

    def cancel(self, job_id: str, by: str) -> None:
        """Cancel a job."""
        state = self.all[job_id]
        state.apply(a_decision(state.job, CANCELLING, data={"caller": by}))

    def turn(self) -> None:
        """Give turns in all jobs, by the rule of jobs."""
        view = Nodes()
        view.away = {node.machine for node in self if not node.here}
        for state in self.going:
            while found := turns.decide(state, view, self.now):
                job = state.job
                if found.everyone:
                    state.apply(a_decision(job, RELEASED))
                elif found.release:
                    chosen = "".join(found.release)
                    state.apply(a_decision(job, RELEASED, chosen, canary=found.canary))
                elif found.take_back:
                    state.apply(a_decision(job, TAKEN_BACK, "".join(found.take_back)))
                else:
                    nodes = [
                        NamedNode(machine, machine, reason, status)
                        for machine, (status, reason) in found.withhold.items()
                    ]
                    state.apply(a_decision(job, WITHHELD, nodes=nodes))

    def work(self, machine: str) -> None:
        """Have a node end what it has of jobs."""
        if not self.nodes[machine].here:
            return
        for state in self.going:
            if machine not in state.turns.under_way:
                continue
            what = brings(state.job)
            assert what is not None
            state.apply(a_decision(state.job, LEAVE, machine))
            if state.cancelled is not None:
                state.apply(an_event(state.job, "cancelled", machine))
            elif machine in self.failing | self.skipping:
                kind = FAILED if machine in self.failing else SKIPPED
                state.apply(an_event(state.job, kind, machine, error="no space left"))
                failed = Attempt("no space left", state.job.id, 0.0, self.now + PAUSE, 1)
                self.attempts[what.digest, machine] = failed
            else:
                state.apply(an_event(state.job, COMPLETED, machine))
                self.have(machine, what.digest)

    def settle(self, rounds: int = 40) -> None:
        """Let all go on until nothing more is to be done."""
        for _ in range(rounds):
            self.now += PAUSE
            going = self.going
            acted = self.keep()
            self.turn()
            for machine in self.nodes:
                self.work(machine)
            if not acted and not going:
                return

    def has(self, machine: str) -> str:
        """Return what a node has under the name."""
        return (self.nodes[machine].names or {}).get(NAME, "")

    @property
    def everybody(self) -> str:
        """The digests that the nodes have, as their numbers."""
        return " ".join(
            self.has(machine).lstrip("sha256:").lstrip("0") or "-" for machine in self.nodes
        )


def kept(waves: Waves | None = None) -> Kept:
    """Return a set that has converged on the first digest."""
    found = Kept(a_set(waves=waves))
    found.resolve()
    found.settle()
    assert (found.image.current, found.image.next) == (digest(1), "")
    return found


def kinds(actions: list[rule.Action]) -> list[str]:
    """Return the names of what is to be done."""
    return [type(each).__name__ for each in actions]
