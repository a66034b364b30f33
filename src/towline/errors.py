"""The one family of exceptions, each carrying what a person needs to act."""

from __future__ import annotations

from typing import ClassVar


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


class ProviderUnreachable(TaskFailed):
    """What the node does the task with (an engine, a service manager) does not answer."""


class InvalidConfiguration(TowlineError):
    """A flag, an environment variable or a line of the configuration file can't be used."""


class StateInUse(TowlineError):
    """Another process holds the state directory."""
