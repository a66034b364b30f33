"""A node as operations see it, and what it may be able to do."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from towline.wire.event import Step
from towline.wire.job import Job
from towline.wire.progress import TaskProgress

C = TypeVar("C")

NODE = "node"
"""The capability that every node has."""


class Capability(Generic[C]):
    """What a node may be able to do, and what an operation that requires it is given.

    The module of the operations says what that is, as a protocol; a provider of the agent's brings
    it.

    Args:
        name: for example `docker`.

    Example:
        DOCKER = Capability[Docker]("docker")
    """

    def __init__(self, name: str) -> None:
        self.name = name


class Node(Protocol):
    """A node, as the body of an operation sees it."""

    @property
    def machine(self) -> str:
        """The machine id."""

    @property
    def hostname(self) -> str:
        """The name for people."""

    @property
    def job(self) -> Job | None:
        """What this is done for; None outside a job."""

    def provider(self, capability: Capability[C]) -> C:
        """Return what brings a capability.

        Raises:
            TaskFailed: the node does not have it.
        """

    def step(self, step: Step) -> None:
        """Record a step of the task, for the job's timeline."""

    def progress(self, progress: TaskProgress) -> None:
        """Send how many bytes are done, for those who watch; at most two a second are sent."""
