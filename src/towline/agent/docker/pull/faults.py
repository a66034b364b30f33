"""What failed pulls mean: which to try again, and which not.

Engines say it in words only, their registry's and their own, and those differ from engine to
engine: see the table, `words.toml`. Before a word is looked for it is asked whose words they are:
what an engine's store says is never taken for the registry's.
"""

from __future__ import annotations

import re

import msgspec

from towline.agent.docker.errors import (
    EngineRefused,
    EngineUnreachable,
    Hopeless,
    Passing,
    UnreadableAnswer,
)
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.words import TABLE, Row, Speaker
from towline.errors import TaskFailed
from towline.wire.reference import Reference


class Fault(msgspec.Struct, frozen=True):
    """Why an attempt failed.

    Attributes:
        reason: in the words of whoever knows: the engine's, or the registry's through it.
        retry_after: seconds that a registry asks to be left alone for, where its words say so.
        attempts: how many attempts that end alike are given up after; None for no limit.
        alike: what those that end alike have in common.
        row: where the words stand in the table; None for those that don't.
    """

    kind: Kind
    reason: str
    retry_after: float | None = None
    attempts: int | None = None
    alike: str = ""
    row: Row | None = None

    @property
    def told(self) -> str:
        """The reason, and what somebody can do about it, where the table knows."""
        mend = self.row.mend if self.row is not None else ""
        return f"{self.reason} ({mend})" if mend and mend not in self.reason else self.reason


_STORE = re.compile(
    r"failed to (?:register layer|extract layer|prepare extraction snapshot|unpack image|send write"
    r"|get reader from content store)|failed commit on ref|apply layer|processing tar file"
    r"|applylayer|adding layer with blob|storing blob to file|mount callback failed"
    r"|\blease\b.* does not exist|parent snapshot|content digest"
    r"|\b(?:mkdir|open|write|rename|(?:sym)?link|l?chown|chmod|l?stat|remove|unlink|mount) \S*/"
)
"""Words of an engine's store."""
_REGISTRY = re.compile(r"error from registry: ")
"""Words of a registry, by an engine that says so."""
_OF_REGISTRY = re.compile(r"https?://[^/\s]+/v2/\S+/(?:manifests|blobs)/|https?://[^/\s]+/v2/$")
"""Addresses at which a registry, or its mirror, is asked."""
_RETRY_AFTER = re.compile(r"retry-after: *(\d+(?:\.\d+)?)(µs|us|ms|s|m|h)?(?![\w.])")
_UNITS = {"µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST = 2000
"""Characters that are searched for what the table knows: a registry may send a page of them, and
looking for two words with anything between them takes a time that grows with its square."""
_QUOTED = re.compile(r'"[^"]*"')
_URL = re.compile(r"https?://\S*?(?=:? |$)")
_DIGEST = re.compile(r"sha256:[0-9a-f]+|[0-9a-f]{64}")
_CHANGING = re.compile(r"0x[0-9a-f]+|\b(?=[a-f]*\d)[0-9a-f]{6,}\b|\d+")
"""What is another each time: addresses, ids, ports, sizes."""


def classify(error: TaskFailed, reference: Reference | None = None) -> Fault:
    """Return what a failure means.

    Args:
        reference: what was pulled, if anything: names in the words that could be mistaken are
            passed over.
    """
    reason = error.error
    if isinstance(error, Hopeless):
        return Fault(error.kind, reason, attempts=1)
    if isinstance(error, Passing):
        return Fault(Kind.PASSING, reason)
    words = _shortened(_without_names(reason, reference).lower())
    row = _find(words)
    if isinstance(error, EngineUnreachable) and (row is None or row.kind is not Kind.LACKING):
        return Fault(Kind.PASSING, reason)
    if row is not None:
        retry_after = _retry_after(words) if row.kind is Kind.BUSY else None
        attempts = row.attempts or row.kind.attempts
        return Fault(row.kind, reason, retry_after, attempts, row.kind.name, row)
    if _REGISTRY.search(words) and isinstance(error, EngineRefused) and error.status in (401, 403):
        return Fault(Kind.REFUSED, reason, attempts=1)
    if not isinstance(error, EngineRefused | UnreadableAnswer):
        # Towline's own words: of a pull that stands still, say.
        return Fault(Kind.PASSING, reason)
    return Fault(Kind.UNKNOWN, reason, None, Kind.UNKNOWN.attempts, _CHANGING.sub("", words))


def _find(words: str) -> Row | None:
    """Return the row of the words, by whose words they are and what they say."""
    apart = set()
    if _REGISTRY.search(words):
        apart.add(Speaker.STORE)
    elif _STORE.search(words):
        apart.add(Speaker.REGISTRY)
    return next((row for row in TABLE if row.speaker not in apart and row.matches(words)), None)


def _without_names(words: str, reference: Reference | None) -> str:
    """Leave out what is quoted, digests and the image: a name says nothing of a fault.

    Of an address is left whether it is one at which registries are asked.
    """
    words = _QUOTED.sub("", words)
    words = _URL.sub(
        lambda found: "<registry>" if _OF_REGISTRY.match(found[0]) else "<elsewhere>", words
    )
    words = _DIGEST.sub("", words)
    for name in _names(reference) if reference is not None else ():
        words = words.replace(name, "")
    return words


def _shortened(words: str) -> str:
    """Leave out the middle of what is long: what it is about stands first, the cause last."""
    return words if len(words) <= LONGEST else f"{words[: LONGEST // 2]} … {words[-LONGEST // 2 :]}"


def _names(reference: Reference) -> list[str]:
    """Return what an image may be called in words, the longest first."""
    tag = f":{reference.tag}" if reference.tag else ""
    names = [f"{reference.repository}{tag}", reference.repository, f"{reference.path}{tag}"]
    names += [reference.familiar.partition("@")[0]] if tag else []
    names += [reference.path] if "/" in reference.path else []
    return names


def _retry_after(words: str) -> float | None:
    """Return the seconds after which a registry wants to be asked again.

    Engines drop the header `Retry-After`; some registries (GitHub's) say it in words as well.
    """
    found = _RETRY_AFTER.search(words)
    return float(found[1]) * _UNITS[found[2] or "s"] if found else None
