"""Jobs, events and an index filled with them, for tests of what is made of them."""

from pathlib import Path
from typing import Any

import msgspec

from towline.broker.journal import CHANGES, READS, STREAMS, place
from towline.controller.jobs.index import Index, decided_at
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.state import JobState
from towline.wire.event import COMPLETED, NOBODY, Event, NamedNode
from towline.wire.job import Job, PlannedNode, first_id, new_id

CREATED = "2030-01-01T00:00:00Z"
LATER = "2030-02-02T00:00:00Z"
LONG_AGO = 1_700_000_000.0
"""When the jobs of tests are made, in seconds since 1970."""


def planned(machines: str, state: str = "turn") -> list[PlannedNode]:
    """Return the plan of a job for machines that are named by a letter each."""
    return [PlannedNode(machine, f"host-{machine}", state) for machine in machines]


def a_job(created: float = LONG_AGO, machines: str = "a", **more: Any) -> Job:
    """Return a job for all nodes, made at a moment in seconds since 1970."""
    job = Job(
        first_id(created)[:15] + new_id()[15:],
        *("node.load.get", {}, "_all", "ci", created, created + 60),
        plan=planned(machines),
        nodes=len(machines),
    )
    return msgspec.structs.replace(job, **more)


def an_event(job: Job, kind: str, machine: str = "a", **more: Any) -> Event:
    """Return an event of a job from a node, a second after the job was made."""
    return Event(job.id, machine, f"host-{machine}", kind, job.created + 1, **more)


def a_decision(job: Job, kind: str, machines: str | None = None, **more: Any) -> Event:
    """Return a decision about a job, and of the nodes that it names."""
    nodes = None
    if machines is not None:
        nodes = [NamedNode(machine, f"host-{machine}") for machine in machines]
    return Event(job.id, NOBODY, "", kind, job.created + 1, **{"nodes": nodes, **more})


class Fold:
    """Folds jobs and events into an index, each as a message of its own.

    Attributes:
        open: the jobs that go on.
        sequences: of the last message of each stream.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.open = OpenJobs()
        self.sequences = dict.fromkeys(STREAMS, 0)
        for stream in STREAMS:
            assert index.position(stream, CREATED, 10**9) == 0

    def _next(self, stream: str) -> int:
        self.sequences[stream] += 1
        self.index.advance(stream, self.sequences[stream])
        return self.sequences[stream]

    def job(self, job: Job, stream: str = CHANGES) -> int:
        """Fold a job; return its sequence."""
        sequence = self._next(stream)
        self.index.add_job(job, stream, place(sequence))
        self.index.change(self.open.add(job) or JobState(job))
        return sequence

    def event(self, event: Event, stream: str = CHANGES) -> int:
        """Fold an event; return its sequence."""
        sequence = self._next(stream)
        self.index.add_event(event, stream, place(sequence))
        state = self.open.apply(event, decided_at(stream, place(sequence)))
        if state is not None:
            self.index.change(state)
        return sequence

    def read(self, job: Job, *events: Event) -> None:
        """Fold a read and its ends."""
        self.job(job, READS)
        for event in events:
            self.event(event, READS)


def found(index: Index, job: Job) -> tuple[JobState, list[Event]]:
    """Return what the index says of a job, which it has."""
    answer = index.find(job.id)
    assert answer is not None
    return answer


def fill(path: Path, jobs: int = 50) -> list[Job]:
    """Make an index of many pages: a message for each job, and one for its end."""
    made = [a_job() for _ in range(jobs)]
    with Index(path) as index:
        fold = Fold(index)
        for job in made:
            fold.job(job)
            fold.event(an_event(job, COMPLETED, data={"filler": "x" * 500}))
    return made
