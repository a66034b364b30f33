"""What can go wrong between a node and its Docker Engine."""

from __future__ import annotations

from towline.agent.docker.kind import Kind
from towline.errors import ProviderUnreachable, TaskFailed


class Hopeless(TaskFailed):
    """A task failed in a way that trying again would not change.

    Args:
        kind: what it is a case of.
    """

    def __init__(self, error: str, kind: Kind = Kind.LACKING) -> None:
        super().__init__(error)
        self.kind = kind


class Passing(TaskFailed):
    """A task failed in a way that may pass by itself, whatever the words say."""


class EngineUnreachable(ProviderUnreachable):
    """The node's Docker Engine does not answer."""


class EngineRefused(TaskFailed):
    """The engine answered with an error.

    Attributes:
        status: the HTTP status of its answer; 0 for an error in the progress of a pull.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnreadableAnswer(TaskFailed):
    """The engine answered something else than a Docker Engine does."""
