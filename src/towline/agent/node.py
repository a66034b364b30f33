"""What a machine offers to the body of an operation."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Self

from towline.agent.docker.engine import Engine
from towline.agent.docker.pull.attempts import Hook
from towline.agent.docker.pull.places import MAX_PULLS
from towline.agent.docker.pull.pulls import Pulls
from towline.errors import TaskFailed
from towline.wire.event import Step
from towline.wire.job import Job
from towline.wire.progress import Report

NO_ENGINE = "this node has no Docker Engine"


class Node:
    """A machine, as operations see it.

    Attributes:
        machine, hostname: the node's machine id and its name for people.
        job: what this is done for; None outside a job.

    Args:
        engine: its Docker Engine; None where it has none.
        hooks: what has a say in each attempt of a pull, in this order.
        max_pulls: how many pulls run at a time.
    """

    def __init__(
        self,
        machine: str,
        hostname: str,
        engine: Engine | None,
        hooks: Sequence[Hook] = (),
        max_pulls: int = MAX_PULLS,
    ) -> None:
        self.machine = machine
        self.hostname = hostname
        self.job: Job | None = None
        self._engine = engine
        self._pulls = Pulls(engine, hooks, max_pulls) if engine is not None else None
        self._step: Callable[[Step], None] | None = None
        self._report: Callable[[Report], None] | None = None

    def serving(
        self, job: Job, step: Callable[[Step], None], report: Callable[[Report], None]
    ) -> Self:
        """Return the same machine for one job.

        Args:
            step: records a step of the task; see `step`.
            report: tells how far the task is; see `report`.
        """
        node = copy.copy(self)
        node.job = job
        node._step = step
        node._report = report
        return node

    @property
    def docker(self) -> Engine:
        """The node's Docker Engine.

        Raises:
            TaskFailed: the node has none.
        """
        if self._engine is None:
            raise TaskFailed(NO_ENGINE)
        return self._engine

    @property
    def pulls(self) -> Pulls:
        """What pulls images on that engine; raises as `docker`."""
        if self._pulls is None:
            raise TaskFailed(NO_ENGINE)
        return self._pulls

    def step(self, step: Step) -> None:
        """Record a step of the task, for the job's timeline; it goes through the ledger."""
        if self._step is not None:
            self._step(step)

    def report(self, report: Report) -> None:
        """Tell how far the task is, for those who look on; it goes past the ledger, and isn't kept.

        At most two a second are sent; one that is lost costs nothing, since each is whole.
        """
        if self._report is not None:
            self._report(report)

    def load_average(self) -> tuple[float, float, float]:
        """Return the mean number of runnable tasks over 1, 5 and 15 minutes (getloadavg(3))."""
        return os.getloadavg()
