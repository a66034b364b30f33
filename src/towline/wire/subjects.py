"""The subjects on which controllers and nodes send and receive, and the buckets that they share."""

from __future__ import annotations

from towline.wire.event import (
    CANCELLING,
    CLAIMED,
    NOBODY,
    RESULT_STATUS,
    STEP,
    TURNS,
    Event,
)
from towline.wire.target import Label

HEARTBEATS = "heartbeats"
NODES = "nodes"
STATES = "states"


def state_subject(machine: str) -> str:
    """Return the plain subject on which an agent learns that its state may have changed."""
    return f"state.{machine}"


ENDED = "ended"
"""Ends the subject of the event that ends a task, whatever its kind."""
TURN = "turn"
"""Ends the subject that takes all decisions about the turns of a job's nodes, one after another."""


def node_subject(machine: str) -> str:
    """Return the subject of jobs for one machine."""
    return f"job.node.{machine}"


def label_subject(label: Label) -> str:
    """Return the subject of jobs for all nodes that carry `label`."""
    return f"job.label.{label.key}.{label.value}"


def any_subject(capability: str) -> str:
    """Return the subject of jobs for any one node with `capability`."""
    return f"job.any.{capability}"


def wave_subject(job_id: str) -> str:
    """Return the subject of a job with waves: no agent follows it."""
    return f"job.wave.{job_id}"


ALL_SUBJECT = "job.all"


def _slot(event: Event) -> str:
    """Return what there is one of: a task ends once, however it ends; it may have many steps."""
    if event.kind == STEP:
        return f"{STEP}-{int(event.time * 1_000_000)}"
    if event.kind in TURNS:
        return TURN
    return ENDED if event.kind in RESULT_STATUS else event.kind


def event_subject(event: Event) -> str:
    """Return the subject that carries `event`."""
    return f"event.{event.machine}.{event.job}.{_slot(event)}"


def event_id(event: Event) -> str:
    """Return what makes a second delivery of `event` no second event."""
    return f"{event.job}.{event.machine}.{_slot(event)}"


def claim_subject(job_id: str) -> str:
    """Return the subject that takes the one claim of a job for any node."""
    return f"event.{NOBODY}.{job_id}.{CLAIMED}"


def turns_subject(job_id: str) -> str:
    """Return the subject of the decisions about the turns of a job's nodes."""
    return f"event.{NOBODY}.{job_id}.{TURN}"


def cancelling_subject(job_id: str) -> str:
    """Return the subject of the event that says that a job is to be stopped."""
    return f"event.{NOBODY}.{job_id}.{CANCELLING}"


def progress_subject(machine: str, job: str) -> str:
    """Return the subject of a node's progress with its share of a job; `*` for every node's."""
    return f"progress.{machine}.{job}"


def asking_subject(job: str) -> str:
    """Return the subject on which controllers ask nodes for their progress with a job."""
    return f"asking.{job}"


QUESTIONS = "credentials.*"
"""The subjects of all nodes' questions."""


def question_subject(machine: str) -> str:
    """Return the subject on which a node asks controllers for credentials."""
    return f"credentials.{machine}"
