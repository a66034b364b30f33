"""What the API answers, as clients return it."""

from __future__ import annotations

from typing import Any, Generic, TypedDict, TypeVar

import msgspec

from towline.errors import TowlineError
from towline.wire.event import UNFINISHED
from towline.wire.progress import NodeProgress, Total

T = TypeVar("T", bound=msgspec.Struct)


class Progress(msgspec.Struct, frozen=True):
    """How far a job is, by what its stream has sent so far.

    Attributes:
        status: the job's: submitted, processing, completed, failed or partial_failure.
        total: the sum over all nodes.
        nodes: each node by its machine id. The more nodes there are, the more seldom each of them
            is sent.
        changed: the machine ids of the nodes that were sent since the progress before this one.
    """

    job_id: str
    status: str
    total: Total
    nodes: dict[str, NodeProgress]
    changed: list[str]

    @property
    def done(self) -> bool:
        """Whether every node has ended; some of them may not have been sent yet."""
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
        error: why the node failed; None unless `status` is failed.
        waits: what the node waits for. A pending node that is here waits for its turn:
            max_parallel, canary or paused. A running one waits for other pulls on it, max_pulls,
            or for a registry that has had too many requests, registry.
        machine_id: the node's, which tells two nodes of the same hostname apart. None while no
            node has taken a job for any node.
        reason: why a node is pending, skipped, expired or cancelled, or what a running one waits
            for, in words.
    """

    hostname: str
    status: str
    value: T | None = None
    error: str | None = None
    waits: str | None = None
    machine_id: str | None = None
    reason: str | None = None


class JobSnapshot(msgspec.Struct, Generic[T], frozen=True):
    """A job's results as they were when the controller was last asked for them."""

    id: str
    results: list[Result[T]]

    @property
    def done(self) -> bool:
        """Whether every node has ended."""
        return all(result.status not in UNFINISHED for result in self.results)

    @property
    def succeeded(self) -> bool:
        """Whether every node ended well; a node that skipped the job did not."""
        return all(result.status == "ok" for result in self.results)


class OperationView(TypedDict):
    """Which operation a job is, with its parameters."""

    type: str
    data: dict[str, Any]


class Moment(TypedDict, total=False):
    """An entry of the timeline of a job or a node; times are written as RFC 3339 has them."""

    timestamp: str
    event: str
    hostname: str
    message: str
    reason: str
    error: str


class PauseView(TypedDict):
    """Who paused a job, and since when no more of its nodes get their turn."""

    by: str
    since: str


class ResolvedView(TypedDict):
    """The digest that one of a job's nodes resolved the tag to, and that all its nodes pull."""

    digest: str
    resolver: str
    timestamp: str


class JobView(TypedDict, total=False):
    """A job as `GET /job/{id}` answers; what isn't known is left out.

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
    result: Any
    changed: bool
    error: str
    hostname: str
    responses: dict[str, dict[str, Any]]
    agent_states: dict[str, dict[str, Any]]
    timeline: list[Moment]


class JobPage(TypedDict, total=False):
    """A page of jobs, the newest first.

    `total_items` counts the jobs that the filters leave, `status_counts` counts all. `next_cursor`
    is absent on the last page.
    """

    total_items: int
    status_counts: dict[str, int]
    items: list[JobView]
    next_cursor: str


class Cancelled(TypedDict):
    """How far a job's cancellation is."""

    job_id: str
    status: str
    results: list[dict[str, Any]]


class Steered(TypedDict):
    """A job that was paused or resumed, with a message for people."""

    job_id: str
    status: str
    message: str


class Retried(TypedDict):
    """The new job that does an earlier one again."""

    job_id: str
    status: str
    timestamp: str


class NodeView(TypedDict, total=False):
    """A registered node."""

    machine_id: str
    hostname: str
    status: str
    state: str
    drained_at: str
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
    """Whose credential is kept for a registry; never the secret itself.

    `readable` says whether the controller that answered has the key that decrypts it.
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
        id: its place in the stream. As `after` it makes another stream go on behind it.
        kind: submitted, started, completed …; `end` is the last one of a job.
        data: the event itself.
    """

    id: str
    kind: str
    data: dict[str, Any]

    @property
    def job_id(self) -> str:
        """The job that it belongs to."""
        return str(self.data["job_id"])
