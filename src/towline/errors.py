"""The one family of exceptions, each carrying what a person needs to act."""

from __future__ import annotations

from typing import ClassVar, Self

from towline.units import show_size


class TowlineError(Exception):
    """Something failed, and here is what and why.

    Args:
        error: what happened, one sentence.
        details: why, from whoever knows: the engine's or the registry's own words, a job id.
        job_id: the job that the failure belongs to, where there is one.
    """

    code: ClassVar[int] = 500

    def __init__(self, error: str, details: str = "", job_id: str | None = None) -> None:
        super().__init__(f"{error} {details}".strip())
        self.error = error
        self.details = details
        self.job_id = job_id


class InvalidRequest(TowlineError):
    """The request can't be understood or names what isn't there."""

    code = 400


class Unauthorized(TowlineError):
    """There is no token, or none that we signed and that still holds."""

    code = 401


class Forbidden(TowlineError):
    """A good token lacks a permission."""

    code = 403


class NotFound(TowlineError):
    """What was asked for by name or id is not there."""

    code = 404


class MethodNotAllowed(TowlineError):
    """The path exists, the method on it doesn't."""

    code = 405


class Conflict(TowlineError):
    """What was asked for goes against what is there by now."""

    code = 409


class BodyTooLarge(TowlineError):
    """The request's body is over the limit."""

    code = 413


class UnsupportedMediaType(TowlineError):
    """The request's body is not of a type that is read here."""

    code = 415


class NoNodes(TowlineError):
    """No node is registered that could do it."""


class BrokerUnreachable(TowlineError):
    """NATS did not answer in time."""


class TaskFailed(TowlineError):
    """A node's share of a job failed; raised by operations, with the reason in `error`."""


class Hopeless(TaskFailed):
    """A node's share failed in a way that trying again would not change."""


class Passing(TaskFailed):
    """A node's share failed in a way that may pass by itself, whatever the words say."""


class EngineUnreachable(TaskFailed):
    """The node's Docker Engine does not answer."""


class NoRoom(Hopeless):
    """What is to be written doesn't fit on the node's disk.

    Attributes:
        path: a directory on that disk.
        total, free: how large it is, and what of it is free, in bytes.
        kept: bytes that are to stay free.
        coming: bytes that are yet to be written, as far as is known.
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
            f"no room on the disk: {figures}, and {show_size(kept)} are to stay free (min-free)"
        )
        made.path, made.total, made.free, made.kept, made.coming = path, total, free, kept, coming
        return made


class InvalidConfiguration(TowlineError):
    """A flag, an environment variable or a line of the configuration file can't be used."""


class StateInUse(TowlineError):
    """Another process holds the state directory."""
