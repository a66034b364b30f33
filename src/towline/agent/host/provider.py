"""The machine itself, as a provider: every node has it, and it always works."""

from __future__ import annotations

from towline.agent.host import machine
from towline.agent.provider import Context, Task
from towline.errors import TaskFailed
from towline.operations.node import MACHINE


class HostProvider:
    """Brings the machine itself to a node."""

    capability = MACHINE.name
    offered = True
    trouble = ""

    def __init__(self, context: Context) -> None:
        pass

    async def probe(self) -> None:
        """Look again; there is nothing that could have changed."""

    def serve(self, task: Task) -> HostProvider:
        """Return what operations are given: the same for each task."""
        return self

    async def close(self) -> None:
        """Close nothing: there is no connection."""

    def load_average(self) -> tuple[float, float, float]:
        """Return the mean number of runnable tasks over 1, 5 and 15 minutes.

        Raises:
            TaskFailed: it is not known.
        """
        found = machine.load_average()
        if found is None:
            raise TaskFailed("the load average is not known: /proc can't be read")
        return found
