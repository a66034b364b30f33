"""What a machine offers to the body of an operation."""

from __future__ import annotations

import os

from towline.agent.engine import Engine
from towline.errors import TaskFailed
from towline.operation import NODE


class Node:
    """A machine, as operations see it.

    Attributes:
        machine, hostname: the node's machine id and its name for people.
        deadline: seconds since 1970 past which the job need not be begun; None outside a job.
    """

    def __init__(self, machine: str, hostname: str, engine: Engine | None) -> None:
        self.machine = machine
        self.hostname = hostname
        self.deadline: float | None = None
        self._engine = engine

    @property
    def docker(self) -> Engine:
        """The node's Docker Engine.

        Raises:
            TaskFailed: the node has none.
        """
        if self._engine is None:
            raise TaskFailed("this node has no Docker Engine")
        return self._engine

    def load_average(self) -> tuple[float, float, float]:
        """Return the mean number of runnable tasks over 1, 5 and 15 minutes (getloadavg(3))."""
        return os.getloadavg()

    def offers(self, capability: str) -> bool:
        """Whether the node has `capability`, working at this moment or not."""
        return capability == NODE or (capability == "docker" and self._engine is not None)
