"""How far tasks are: what nodes tell while they run, and what the API makes of it.

None of it is kept: a node's report is whole, so a later one takes the place of one that was lost,
and how a task ended is told by the journal."""

from __future__ import annotations

import msgspec

WAITING = "waiting"
DOWNLOADING = "downloading"
DOWNLOADED = "downloaded"
EXTRACTING = "extracting"
DONE = "done"
PRESENT = "present"
"""Was on the node already; how large it is the engine doesn't say."""
LAYER_STATES = (WAITING, DOWNLOADING, DOWNLOADED, EXTRACTING, DONE, PRESENT)
QUEUED = "queued"
"""A node pulls so many images at a time; this one waits for its turn."""
PREPARING = "preparing"
"""The engine was asked, or is about to be, and has not said which layers there are."""
RESTING = "resting"
"""Waits until the registry may be asked again."""
RETRYING = "retrying"
"""An attempt has failed; the next one comes after a pause."""
PHASES = (QUEUED, PREPARING, DOWNLOADING, EXTRACTING, RESTING, RETRYING)


class Layer(msgspec.Struct, frozen=True, array_like=True):
    """A layer of an image, as far as it is.

    Attributes:
        id: the first twelve digits of its digest, as the engine names it.
        state: one of `LAYER_STATES`.
        fetched: bytes that have arrived.
        size: bytes that arrive in all, compressed; 0 while the engine has not said.
        extracted: of those bytes so many are unpacked; 0 until it is done where the engine tells
            no bytes (the containerd image store).
    """

    id: str
    state: str
    fetched: int = 0
    size: int = 0
    extracted: int = 0


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a node is with a task, whole.

    Attributes:
        phase: one of `PHASES`; newer agents may know others.
        note: the same in words, where there is more to say.
        attempt: which attempt this is, from 1.
        layers: those of the image, in the order in which the engine named them.
        unsized: how many layers there are whose size the engine has not told.
        fetched, size, extracted: bytes, the sums over all layers.
        rate: bytes that arrive a second or, when all have, that are unpacked, lately.
        left: seconds until all has arrived at this rate or, when all has, until it is unpacked;
            None where that can't be told. Of layers that are `unsized` it knows nothing.
    """

    phase: str
    note: str = ""
    attempt: int = 1
    layers: list[Layer] = []
    unsized: int = 0
    fetched: int = 0
    size: int = 0
    extracted: int = 0
    rate: int = 0
    left: int | None = None


class LayerProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """A layer as the API tells of it; see `Layer`."""

    id: str
    state: str
    fetched: int = 0
    size: int = 0
    extracted: int = 0


class NodeProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node's share in a job as the API tells of it: its status, and while it runs its report.

    Attributes:
        status: as in the job's `results`; `error` and `waits` likewise.
        layers: only where few nodes are told of, or one was asked for.
    """

    hostname: str
    machine_id: str
    status: str
    phase: str | None = None
    note: str | None = None
    attempt: int = 1
    fetched: int = 0
    size: int = 0
    unsized: int = 0
    extracted: int = 0
    rate: int = 0
    left: int | None = None
    layers: list[LayerProgress] = []
    error: str | None = None
    waits: str | None = None


class Total(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sum over a job's nodes.

    Attributes:
        nodes: how many of them have which status.
        complete: how much of the job is done, from 0 to 1: each node counts the same, and one
            that pulls by the bytes that have arrived.
        fetched, size, rate: bytes, and bytes a second, of the nodes that are at it.
        unsized: layers there whose size isn't known.
        left: seconds until the last of them has all its bytes; None where one can't tell.
        slowest: of those nodes the few that need longest.
        failed: a few of the nodes that failed, the last ones first.
    """

    nodes: dict[str, int]
    complete: float
    fetched: int = 0
    size: int = 0
    unsized: int = 0
    rate: int = 0
    left: int | None = None
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
