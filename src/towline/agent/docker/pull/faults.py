"""What failed pulls mean: which to try again, and which not.

Engines say it in words only, their registry's and their own, and those differ: Engine 20.10 speaks
with the library of the distribution project, an engine with the containerd image store with
containerd's. What is looked for here is what both have said: see the tests of this module.
"""

from __future__ import annotations

import enum
import re

import msgspec

from towline.agent.docker.errors import EngineRefused, EngineUnreachable, Hopeless, Passing
from towline.errors import TaskFailed
from towline.wire.reference import Reference


class Kind(enum.Enum):
    """What a fault asks for."""

    TRANSIENT = "transient"
    """To try again in a while: connections, overloaded servers, an engine that restarts."""
    CORRUPT = "corrupt"
    """To try again once: what arrived was not what its digest says. Twice, the registry has it
    wrong."""
    TOO_MANY_REQUESTS = "resting"
    """To leave the registry alone for a while."""
    PERMANENT = "permanent"
    """Not to try again: it would fail in the same way."""


class Fault(msgspec.Struct, frozen=True):
    """Why an attempt failed.

    Attributes:
        reason: in the words of whoever knows: the engine's, or the registry's through it.
        retry_after: seconds that a registry asks to be left alone for, where its words say so.
    """

    kind: Kind
    reason: str
    retry_after: float | None = None


_TOO_MANY_REQUESTS = ("toomanyrequests", "too many requests", "rate limit", "rate exceeded")
_CORRUPT = (
    "unexpected commit digest",
    "filesystem layer verification failed",
    "image verification failed for digest",
    "manifest verification failed for digest",
)
_PERMANENT = (
    # It is not there.
    "not found",
    "manifest unknown",
    "name unknown",
    "unknown blob",
    "does not exist",
    # It may not be had.
    "denied",
    "forbidden",
    "unauthorized",
    "no basic auth credentials",
    "incorrect username or password",
    "authentication required",
    "insufficient_scope",
    # It is not for this machine.
    "no matching manifest",
    "no match for platform",
    "image operating system",
    "cannot be used on this platform",
    # There is no room for it.
    "no space left on device",
    "disk quota exceeded",
    "read-only file system",
    # It is no image, or one that this engine can't read.
    "invalid reference format",
    "unsupported manifest",
    "unsupported media type",
    "mediatype in manifest should be",
    # Somebody has to set the engine or the registry right.
    "x509:",
    "server gave http response to https client",
)
# Before what is permanent: "lookup … no such host" is the name server's trouble, "no such file or
# directory" what an engine says whose storage was cleared under a pull.
_TRANSIENT = ("no such host", "server misbehaving", "no such file or directory", "i/o timeout")

_STATUS = re.compile(
    r"unexpected status.*: (\d{3})\b|unexpected http status: (\d{3})\b"
    r"|parsing http (\d{3}) response"
)
_PASSING = frozenset({408, 421, 425})
"""Statuses of a client's errors that pass: request time-out, misdirected, too early."""
_RETRY_AFTER = re.compile(r"retry-after: *(\d+(?:\.\d+)?)(µs|us|ms|s|m|h)?(?![\w.])")
_UNITS = {"µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NAMES = re.compile(r'"[^"]*"|https?://\S*?(?=:? |$)|sha256:[0-9a-f]+|[0-9a-f]{64}')


def classify(error: TaskFailed, reference: Reference) -> Fault:
    """Return what a failure means; words that nobody knows are transient.

    Args:
        reference: what was pulled: names in the words that could be mistaken are passed over.
    """
    reason = error.error
    if isinstance(error, Hopeless):
        return Fault(Kind.PERMANENT, reason)
    if isinstance(error, EngineUnreachable | Passing):
        return Fault(Kind.TRANSIENT, reason)
    words = _without_names(reason, reference).lower()
    status = _status(words)
    if status == 429 or any(part in words for part in _TOO_MANY_REQUESTS):
        return Fault(Kind.TOO_MANY_REQUESTS, reason, _retry_after(words))
    return Fault(_kind(error, words, status), reason)


def _kind(error: TaskFailed, words: str, status: int | None) -> Kind:
    if any(part in words for part in _CORRUPT):
        return Kind.CORRUPT
    if any(part in words for part in _TRANSIENT):
        return Kind.TRANSIENT
    if any(part in words for part in _PERMANENT):
        return Kind.PERMANENT
    if status is None and isinstance(error, EngineRefused):
        status = error.status
    if status is not None and 400 <= status < 500 and status not in _PASSING:
        return Kind.PERMANENT
    return Kind.TRANSIENT


def _without_names(words: str, reference: Reference) -> str:
    """Leave out what is quoted, URLs, digests and the image: a name says nothing of a fault."""
    tag = f":{reference.tag}" if reference.tag else ""
    names = [f"{reference.repository}{tag}", reference.repository, f"{reference.path}{tag}"]
    names += [reference.familiar.partition("@")[0]] if tag else []
    names += [reference.path] if "/" in reference.path else []
    words = _NAMES.sub("", words)
    for name in names:
        words = words.replace(name, "")
    return words


def _status(words: str) -> int | None:
    """Return the HTTP status with which the registry answered, where the words have it."""
    found = _STATUS.search(words)
    return int(next(group for group in found.groups() if group)) if found else None


def _retry_after(words: str) -> float | None:
    """Return the seconds after which a registry wants to be asked again.

    Engines drop the header `Retry-After`; some registries (GitHub's) say it in words as well.
    """
    found = _RETRY_AFTER.search(words)
    return float(found[1]) * _UNITS[found[2] or "s"] if found else None
