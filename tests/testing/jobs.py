"""Jobs, events and an index filled with them, for tests of what is made of them."""

from pathlib import Path
from typing import Any

import msgspec

from towline.broker.journal import EVENTS, JOBS
from towline.controller.jobs.index import Index
from towline.controller.jobs.state import JobState
from towline.wire.event import (
    COMPLETED,
    Event,
)
from towline.wire.job import Job, first_id, new_id

CREATED = "2030-01-01T00:00:00Z"
LATER = "2030-02-02T00:00:00Z"


def a_job(created: float = 1_700_000_000.0) -> Job:
    """Return a job for all nodes, made at a moment in seconds since 1970."""
    return Job(
        first_id(created)[:15] + new_id()[15:], "node.load", {}, "_all", "ci", created, created + 60
    )


def an_event(job: Job, kind: str, machine: str = "a", **more: Any) -> Event:
    """Return an event of a job from a node, a second after the job was made."""
    return Event(job.id, machine, f"host-{machine}", kind, job.created + 1, **more)


def add_job(index: Index, job: Job, sequence: int, machine: str | None = None) -> None:
    """Write a job into the index, as the message of a sequence."""
    index.add_job(job, machine, sequence, msgspec.json.encode(job))
    index.advance(JOBS, sequence)


def add_event(index: Index, event: Event, sequence: int) -> None:
    """Write an event into the index, as the message of a sequence."""
    index.add_event(event, sequence, msgspec.json.encode(event))
    index.advance(EVENTS, sequence)


def found(index: Index, job: Job, **hostnames: str) -> tuple[JobState, list[Event]]:
    """Return what the index says of a job, which it has."""
    answer = index.find(job.id, hostnames)
    assert answer is not None
    return answer


def begin(index: Index) -> None:
    """Take up both streams from their start."""
    for stream in (JOBS, EVENTS):
        assert index.position(stream, CREATED, 1000) == 0


def fill(path: Path, jobs: int = 50) -> list[Job]:
    """Make an index of many pages, with a job and an event for each sequence."""
    made = [a_job() for _ in range(jobs)]
    with Index(path) as index:
        begin(index)
        for sequence, job in enumerate(made, 1):
            add_job(index, job, sequence)
            add_event(index, an_event(job, COMPLETED, data={"filler": "x" * 500}), sequence)
    return made
