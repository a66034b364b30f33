"""What can go wrong between a node and its Docker Engine."""

from __future__ import annotations

from typing import Self

from towline.agent.docker.kind import Kind
from towline.errors import ProviderUnreachable, TaskFailed
from towline.units import show_size


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


class NoRoom(Hopeless):
    """What is to be written doesn't fit on the node's disk.

    Attributes:
        path: a directory on that disk.
        total, free: the size of the disk and what is free on it, in bytes.
        kept: how many bytes are to stay free.
        coming: how many bytes are yet to be written, as far as is known.
    """

    path = ""
    total = free = kept = coming = 0

    @classmethod
    def on(cls, path: str, *, total: int, free: int, kept: int, coming: int) -> Self:
        """Return the error for such a disk."""
        figures = f"{show_size(free)} of {show_size(total)} are free in {path}"
        if coming:
            figures = f"{show_size(coming)} are yet to be written, {figures}"
        made = cls(
            f"no room on the disk: {figures}, and {show_size(kept)} are to stay free (min-free)",
            Kind.UNSTORABLE,
        )
        made.path, made.total, made.free, made.kept, made.coming = path, total, free, kept, coming
        return made
