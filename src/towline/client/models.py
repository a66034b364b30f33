"""What the API answers, as the client hands it on."""

from __future__ import annotations

from typing import Any, Generic, TypedDict, TypeVar

import msgspec

from towline.errors import TowlineError
from towline.wire.progress import NodeProgress, Total

T = TypeVar("T", bound=msgspec.Struct)

UNFINISHED = ("pending", "running")


class Progress(msgspec.Struct, frozen=True):
    """How far a job is, as far as its stream has told.

    Attributes:
        status: the job's: submitted, processing, completed, failed or partial_failure.
        total: the sum over all nodes.
        nodes: each node by its machine id. Of many nodes each is told of a little more seldom.
        changed: the machine ids of those that were told of since the one before this.
    """

    job_id: str
    status: str
    total: Total
    nodes: dict[str, NodeProgress]
    changed: list[str]

    @property
    def done(self) -> bool:
        """Whether every node has ended; all of them may not have been told of yet."""
        return self.status not in ("submitted", "processing")


class ApiError(TowlineError):
    """The API answered with an error.

    Attributes:
        status: the HTTP status, 0 where there was no answer.
        job_id: the job that failed, where there is one.
    """

    def __init__(self, error: str, details: str, status: int, job_id: str | None = None) -> None:
        super().__init__(error, details, job_id)
        self.status = status


class Result(msgspec.Struct, Generic[T], frozen=True):
    """What became of a job on one node.

    Attributes:
        status: ok, failed, skipped, pending, running, cancelled or expired.
        value: what the operation returned; None unless `status` is ok.
        waits: what a pending node that is here waits for: max_parallel, canary or paused. What a
            running one does: max_pulls, other pulls on it; registry, one that has had too many
            requests.
    """

    hostname: str
    status: str
    value: T | None = None
    error: str | None = None
    waits: str | None = None


class JobState(msgspec.Struct, Generic[T], frozen=True):
    """A job as it stood when it was asked for."""

    id: str
    results: list[Result[T]]

    @property
    def done(self) -> bool:
        """Whether every node has ended."""
        return all(result.status not in UNFINISHED for result in self.results)

    @property
    def succeeded(self) -> bool:
        """Whether every node ended well; a node that skipped the job did not."""
        return bool(self.results) and all(result.status == "ok" for result in self.results)


class OperationView(TypedDict):
    """Which operation a job is, with its parameters."""

    type: str
    data: dict[str, Any]


class Moment(TypedDict, total=False):
    """Something that happened to a job; times by RFC 3339."""

    timestamp: str
    event: str
    hostname: str
    message: str
    error: str


class PauseView(TypedDict):
    """That no more nodes of a job get their turn."""

    by: str
    since: str


class ResolvedView(TypedDict):
    """What a tag was when one of a job's nodes asked the registry: all its nodes pull that."""

    digest: str
    resolver: str
    timestamp: str


class JobView(TypedDict, total=False):
    """A job as `GET /job/{id}` tells of it; what isn't known is left out.

    In a list, jobs for many nodes have `nodes` (how many have which status), but neither
    `results` nor `timeline`.
    """

    id: str
    status: str
    created: str
    updated_at: str
    expires: str
    operation: OperationView
    target: str
    caller: str
    retry_of: str
    waves: dict[str, str]
    paused: PauseView
    resolved: ResolvedView
    nodes: dict[str, int]
    results: list[dict[str, Any]]
    result: dict[str, Any]
    changed: bool
    error: str
    hostname: str
    responses: dict[str, dict[str, Any]]
    agent_states: dict[str, dict[str, Any]]
    timeline: list[Moment]


class JobPage(TypedDict, total=False):
    """A page of jobs, the newest first.

    `total_items` counts those that the filters leave, `status_counts` all. `next_cursor` is
    absent on the last page.
    """

    total_items: int
    status_counts: dict[str, int]
    items: list[JobView]
    next_cursor: str


class Cancelled(TypedDict):
    """What a job's cancellation has come to so far."""

    job_id: str
    status: str
    results: list[dict[str, Any]]


class Steered(TypedDict):
    """A job that was paused or resumed, with what to tell people."""

    job_id: str
    status: str
    message: str


class Retried(TypedDict):
    """The job that does another one again."""

    job_id: str
    status: str
    timestamp: str


class NodeView(TypedDict, total=False):
    """A registered node."""

    machine_id: str
    hostname: str
    status: str
    state: str
    labels: dict[str, str]
    registered_at: str
    started_at: str
    last_heard: str
    architecture: str
    kernel_version: str
    cpu_count: int
    version: str
    os_info: dict[str, str]
    uptime: str
    load_average: dict[str, float]
    memory: dict[str, int]
    capabilities: list[str]
    troubles: dict[str, str]
    running: int
    timeline: list[Moment]


class RegistryView(TypedDict, total=False):
    """What is kept for a registry: never the secret.

    `readable` says whether the controller that answered has the key it is kept with.
    """

    registry: str
    username: str
    type: str
    updated_at: str
    updated_by: str
    readable: bool


class JobEvent(msgspec.Struct, frozen=True):
    """An event of a stream.

    Attributes:
        id: its place in the stream: `after` of a stream that goes on behind it.
        kind: submitted, started, completed …; `end` is the last one of a job.
        data: all that is told of it.
    """

    id: str
    kind: str
    data: dict[str, Any]

    @property
    def job_id(self) -> str:
        """The job that it belongs to."""
        return str(self.data["job_id"])
