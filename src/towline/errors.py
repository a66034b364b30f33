"""The one family of exceptions: each carries what a person needs to act on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

LONGEST_CAUSE = 500
"""Characters of a cause that stand in an error's sentence; the details have all of it."""


def sentence(what: str, cause: object) -> str:
    """Return in one line what failed, and why.

    Args:
        what: what failed, without a full stop.
        cause: in the words of whoever knows; of a long one the beginning.
    """
    words = " ".join(str(cause).split())
    if len(words) > LONGEST_CAUSE:
        words = f"{words[: LONGEST_CAUSE - 1]}…"
    return f"{what}: {words}"


MOST_SUGGESTED = 3
"""Names that are suggested in place of one that there is not; more would be a list."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the question whether another name was meant; "" where none looks like it.

    Args:
        word: a name that there is not.
        known: those that there are.

    Example:
        did_you_mean("docker.pul", ["docker.list", "docker.pull"])  # "Did you mean docker.pull?"
    """
    # Whoever makes no mistake need not wait for it.
    from difflib import get_close_matches

    names = {name.lower(): name for name in known}
    near = [names[name] for name in get_close_matches(word.lower(), names, MOST_SUGGESTED)]
    return f"Did you mean {' or '.join(near)}?" if near else ""


class TowlineError(Exception):
    """The base of all errors that Towline raises on purpose.

    Args:
        error: what failed and why, in one sentence that is enough to act on: many clients show
            nothing else.
        details: more, in the words of whoever knows (the broker, an engine, a registry), or how to
            mend it.
        job_id: the job that the failure belongs to, where there is one.

    Attributes:
        code: the HTTP status with which the API answers it.
        passing: whether the same request may go well a moment later. The answer has `Retry-After`
            then.
    """

    code: int = 500
    passing: bool = False

    def __init__(self, error: str, details: str = "", job_id: str | None = None) -> None:
        super().__init__(error if details in error else f"{error} {details}")
        self.error = error
        self.details = details
        self.job_id = job_id

    @classmethod
    def because(cls, what: str, cause: object, mend: str = "") -> Self:
        """Return an error whose sentence has the cause, and whose details say how to mend it.

        Args:
            what, cause: as `sentence` takes them; of a long cause the details have all.
        """
        error, words = sentence(what, cause), str(cause)
        if error.endswith("…"):
            mend = f"{words}; {mend}" if mend else words
        return cls(error, mend)


class InvalidRequest(TowlineError):
    """The request can't be understood, or it names a node or a label that nobody has."""

    code = 400


class Unauthorized(TowlineError):
    """The request carries no token, or one that is malformed, expired or not signed by us."""

    code = 401


class Forbidden(TowlineError):
    """The token is good, but lacks a permission, or what is asked is allowed to nobody."""

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


class PreconditionFailed(TowlineError):
    """What the request is about is not what the request expects it to be (RFC 9110, 13.1)."""

    code = 412


class BodyTooLarge(TowlineError):
    """The request's body is larger than the limit."""

    code = 413


class UnsupportedMediaType(TowlineError):
    """The request's body is of a type that is not read here."""

    code = 415


class TooManyRequests(TowlineError):
    """The caller has as much under way as one caller may."""

    code = 429
    passing = True


class NoNodes(TowlineError):
    """No node is registered that could run the operation."""


class BrokerError(TowlineError):
    """The broker did not do, or not in time, what it was asked for."""


class BrokerUnreachable(BrokerError):
    """The broker did not answer in time."""

    passing = True


class Stopping(TowlineError):
    """The controller has to end before it could answer; another may do what was asked."""

    code = 503
    passing = True


class TaskFailed(TowlineError):
    """A task failed. Operations raise it, with the reason in `error`.

    Args:
        status: the HTTP status that answers a request for this one node: 404 for a thing that is
            not on it, 403 for one that is not to be touched; None for 500.
    """

    def __init__(
        self,
        error: str,
        details: str = "",
        job_id: str | None = None,
        *,
        status: Literal[403, 404] | None = None,
    ) -> None:
        super().__init__(error, details, job_id)
        if status is not None:
            self.code = status


class ProviderUnreachable(TaskFailed):
    """What the task is done with on the node does not answer: a container engine, for one."""


class InvalidConfiguration(TowlineError):
    """A flag, an environment variable or a line of a configuration file can't be used."""


class StateInUse(TowlineError):
    """Another process has locked the state directory."""


class ApiError(TowlineError):
    """The API answered a client with an error.

    Attributes:
        status: the HTTP status, 0 where there was no answer.
        job_id: the job that failed, where there is one.
    """

    def __init__(
        self, error: str, details: str = "", job_id: str | None = None, *, status: int = 0
    ) -> None:
        super().__init__(error, details, job_id)
        self.status = status


class Unreachable(ApiError):
    """The controller gave no answer, or it could not reach the broker: another try may help.

    Attributes:
        unknown: whether it isn't known what became of the request: it may have been done. A job
            that was asked for with an `idempotency_key` is made once, however often it is asked.
    """

    def __init__(
        self,
        error: str,
        details: str = "",
        job_id: str | None = None,
        *,
        status: int = 0,
        unknown: bool = False,
    ) -> None:
        super().__init__(error, details, job_id, status=status)
        self.unknown = unknown
