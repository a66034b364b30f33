"""What clients make of several answers: a job's results, and how far it is."""

from __future__ import annotations

import math
import time
from typing import Generic, TypeVar

import msgspec

from towline.endpoints.results import Result
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


class Until:
    """How long something may still take.

    Args:
        timeout: seconds from now on; None for ever.
    """

    def __init__(self, timeout: float | None) -> None:
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> float:
        """Seconds that are left; 0 where none is."""
        return max(0.0, self._deadline - time.monotonic())
