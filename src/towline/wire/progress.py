"""How far tasks are: what nodes send while they run, and what the API makes of it.

None of it is kept: what a node sends is whole, so that a later message takes the place of one that
was lost, and how a task ended is the journal's to say."""

from __future__ import annotations

import msgspec

from towline.wire.fields import Count, Name, Text

WAITING = "waiting"
DOWNLOADING = "downloading"
DOWNLOADED = "downloaded"
EXTRACTING = "extracting"
DONE = "done"
PRESENT = "present"
"""Was on the node already; its size is not known."""
PART_STATES = (WAITING, DOWNLOADING, DOWNLOADED, EXTRACTING, DONE, PRESENT)
QUEUED = "queued"
"""A node does so many things of a kind at a time; this one waits for its turn."""
PREPARING = "preparing"
"""Has begun, or is about to, and it is not known yet which parts there are."""
COOLING_DOWN = "resting"
"""Waits until what it needs may be asked again."""
RETRYING = "retrying"
"""An attempt has failed; the next one comes after a pause."""
PHASES = (QUEUED, PREPARING, DOWNLOADING, EXTRACTING, COOLING_DOWN, RETRYING)

_API = {"parts": "layers"}
"""What the API has always called a field."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part of what a task fetches, as far as it is.

    Attributes:
        id: distinguishes it from the others of the task.
        state: one of `PART_STATES`.
        fetched: bytes that have arrived.
        size: bytes that arrive in all; 0 while that is not known.
        extracted: so many of those bytes are unpacked; 0 until all are where that is not known.
    """

    id: Text
    state: Name
    fetched: Count = 0
    size: Count = 0
    extracted: Count = 0


class Figures(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is counted of a task's parts, or of the tasks of a job.

    Attributes:
        fetched, size: bytes that have arrived, and that arrive in all.
        unsized: how many parts there are whose size is not known.
        rate: bytes that arrive a second or, when all have, that are unpacked, lately.
        left: seconds until all has arrived at this rate or, when all has, until it is unpacked;
            None where that is not known. It leaves out parts that are `unsized`.
    """

    fetched: Count = 0
    size: Count = 0
    unsized: Count = 0
    rate: Count = 0
    left: Count | None = None


class TaskProgress(Figures, frozen=True, rename=_API):
    """How far a node is with a task, whole.

    Attributes:
        phase: one of `PHASES`; newer agents may know others.
        note: the same in words, where there is more to say.
        attempt: which attempt this is, from 1.
        parts: what the task fetches.
        extracted: bytes that are unpacked, of all parts.
    """

    phase: Name
    note: Text = ""
    attempt: Count = 1
    parts: list[Part] = []
    extracted: Count = 0


class PartProgress(Part, frozen=True, array_like=False, omit_defaults=True):
    """A part of what a task fetches, as the API shows it."""


class NodeProgress(Figures, frozen=True, rename=_API):
    """A node's share in a job as the API shows it: its status, and while it runs how far it is.

    Attributes:
        status: as in the job's `results`; `error`, `reason` and `waits` likewise.
        parts: `layers` in JSON; only where the job is for few nodes, or one was asked for.
    """

    hostname: str
    machine_id: str
    status: str
    phase: str | None = None
    note: str | None = None
    attempt: int = 1
    extracted: int = 0
    parts: list[PartProgress] = []
    error: str | None = None
    waits: str | None = None
    reason: str | None = None


class Total(Figures, frozen=True):
    """The sum over a job's nodes; the figures are of those that are at it, `left` of the last.

    Attributes:
        nodes: how many of them have which status.
        complete: how much of the job is done, from 0 to 1: each node counts the same, and one
            that fetches by the bytes that have arrived.
        slowest: of those nodes the few that need longest.
        failed: a few of the nodes that failed, the last ones first.
    """

    nodes: dict[str, int]
    complete: float
    slowest: list[NodeProgress] = []
    failed: list[NodeProgress] = []


class JobProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a job is.

    Attributes:
        status: the job's.
        total: the sum; in a stream only where it has changed.
        nodes: each node; in a stream only those that have changed.
    """

    job_id: str
    status: str
    total: Total | None = None
    nodes: list[NodeProgress] = []
