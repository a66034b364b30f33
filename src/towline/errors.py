"""The one family of exceptions: each carries what a person needs to act on it."""

from __future__ import annotations

from typing import ClassVar


class TowlineError(Exception):
    """The base of all errors that Towline raises on purpose.

    Args:
        error: what failed and why, in one sentence.
        details: more, in the words of whoever knows (the broker, an engine, a registry), or how to
            mend it.
        job_id: the job that the failure belongs to, where there is one.

    Attributes:
        code: the HTTP status with which the API answers it.
    """

    code: ClassVar[int] = 500

    def __init__(self, error: str, details: str = "", job_id: str | None = None) -> None:
        super().__init__(f"{error} {details}".strip())
        self.error = error
        self.details = details
        self.job_id = job_id


class InvalidRequest(TowlineError):
    """The request can't be understood, or it names a node or a label that nobody has."""

    code = 400


class Unauthorized(TowlineError):
    """The request carries no token, or one that is malformed, expired or not signed by us."""

    code = 401


class Forbidden(TowlineError):
    """The token is good, but lacks a permission."""

    code = 403


class NotFound(TowlineError):
    """There is nothing of the name or id that was asked for."""

    code = 404


class MethodNotAllowed(TowlineError):
    """The path exists, but not with this method."""

    code = 405


class Conflict(TowlineError):
    """The request contradicts the present state of what it is about."""

    code = 409


class BodyTooLarge(TowlineError):
    """The request's body is larger than the limit."""

    code = 413


class UnsupportedMediaType(TowlineError):
    """The request's body is of a type that is not read here."""

    code = 415


class NoNodes(TowlineError):
    """No node is registered that could run the operation."""


class BrokerUnreachable(TowlineError):
    """The broker did not answer in time."""


class TaskFailed(TowlineError):
    """A task failed. Operations raise it, with the reason in `error`."""


class ProviderUnreachable(TaskFailed):
    """What the task is done with on the node does not answer: a container engine, for one."""


class InvalidConfiguration(TowlineError):
    """A flag, an environment variable or a line of a configuration file can't be used."""


class StateInUse(TowlineError):
    """Another process has locked the state directory."""
