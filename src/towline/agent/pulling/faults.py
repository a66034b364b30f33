"""What failed pulls mean: which to try again, and which not."""

from __future__ import annotations

import enum

import msgspec

from towline.agent.engine import EngineRefused
from towline.errors import EngineUnreachable, Hopeless, TaskFailed


class Kind(enum.Enum):
    """What a fault asks for."""

    TRANSIENT = "transient"
    """To try again in a while: connections, overloaded servers, an engine that restarts."""
    CORRUPT = "corrupt"
    """To try again once: what arrived was not what its digest says. Twice, the registry has it
    wrong."""
    RESTING = "resting"
    """To leave the registry alone for a while: it has had too many requests."""
    PERMANENT = "permanent"
    """Not to try again: it would fail in the same way."""


class Fault(msgspec.Struct, frozen=True):
    """Why an attempt failed.

    Attributes:
        reason: in the words of whoever knows: the engine's, or the registry's through it.
        retry_after: seconds that a resting registry asks for, where its words tell.
    """

    kind: Kind
    reason: str
    retry_after: float | None = None


_PERMANENT = (
    "not found",
    "manifest unknown",
    "name unknown",
    "no such image",
    "does not exist",
    "denied",
    "forbidden",
    "unauthorized",
    "no basic auth credentials",
    "no matching manifest",
    "no match for platform",
    "no space left on device",
)
_CORRUPT = ("unexpected commit digest", "filesystem layer verification failed", "digest mismatch")
_RESTING = ("toomanyrequests", "too many requests", "429")


def classify(error: TaskFailed) -> Fault:
    """Return what a failure of the engine's means; words that nobody knows are transient."""
    reason = error.error
    words = reason.lower()
    if isinstance(error, Hopeless):
        return Fault(Kind.PERMANENT, reason)
    if isinstance(error, EngineUnreachable):
        return Fault(Kind.TRANSIENT, reason)
    if any(part in words for part in _RESTING):
        return Fault(Kind.RESTING, reason)
    if any(part in words for part in _CORRUPT):
        return Fault(Kind.CORRUPT, reason)
    refused = isinstance(error, EngineRefused) and 400 <= error.status < 500
    if refused or any(part in words for part in _PERMANENT):
        return Fault(Kind.PERMANENT, reason)
    return Fault(Kind.TRANSIENT, reason)
