"""The node, as the bodies of operations see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self, TypeVar, cast

from towline.agent.provider import Provider, Task
from towline.errors import TaskFailed
from towline.operation import Capability
from towline.wire.event import Step
from towline.wire.job import Job
from towline.wire.progress import TaskProgress

C = TypeVar("C")


class Node:
    """A node; see `towline.operation.Node`.

    Attributes:
        machine, hostname: its machine id and its name for people.

    Args:
        providers: what bring its capabilities.
        task: the one that it serves, if it does.
    """

    def __init__(
        self,
        machine: str,
        hostname: str,
        providers: Iterable[Provider] = (),
        task: Task | None = None,
    ) -> None:
        self.machine = machine
        self.hostname = hostname
        self._providers = {provider.capability: provider for provider in providers}
        self._task = task

    def serving(self, task: Task) -> Self:
        """Return the same node for one task."""
        return type(self)(self.machine, self.hostname, self._providers.values(), task)

    @property
    def job(self) -> Job | None:
        """What this is done for; None outside a job."""
        return None if self._task is None else self._task.job

    def provider(self, capability: Capability[C]) -> C:
        """Return what brings a capability, for the task that the node serves.

        Raises:
            TaskFailed: the node does not have it.
        """
        provider = self._providers.get(capability.name)
        if provider is None or self._task is None:
            raise TaskFailed(f"this node has no {capability.name}")
        return cast(C, provider.serve(self._task))

    def step(self, step: Step) -> None:
        """Record a step of the task, for the job's timeline; it goes through the ledger."""
        if self._task is not None:
            self._task.step(step)

    def progress(self, progress: TaskProgress) -> None:
        """Send how many bytes are done, for those who watch; it goes past the ledger."""
        if self._task is not None:
            self._task.progress(progress)
