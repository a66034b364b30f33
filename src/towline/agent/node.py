"""What a machine offers to the body of an operation."""

from __future__ import annotations

import copy
import os
from collections.abc import Awaitable, Callable, Hashable
from typing import Self, TypeVar

from towline.agent.engine import Engine
from towline.agent.together import Together
from towline.errors import TaskFailed

T = TypeVar("T")


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
        self._together = Together()

    def until(self, deadline: float) -> Self:
        """Return the same machine for a job with this deadline."""
        node = copy.copy(self)
        node.deadline = deadline
        return node

    @property
    def docker(self) -> Engine:
        """The node's Docker Engine.

        Raises:
            TaskFailed: the node has none.
        """
        if self._engine is None:
            raise TaskFailed("this node has no Docker Engine")
        return self._engine

    async def together(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` once for all tasks that want it at the same time, as `Together.join`.

        Args:
            key: says which work is the same: the operation's name and what it works on.
        """
        return await self._together.join(key, work)

    def load_average(self) -> tuple[float, float, float]:
        """Return the mean number of runnable tasks over 1, 5 and 15 minutes (getloadavg(3))."""
        return os.getloadavg()
