"""The kinds of failure of a pull, by what they ask for."""

from __future__ import annotations

import enum


class Kind(enum.Enum):
    """What a failure is, in words that stand in timelines."""

    REFUSED = "the registry refuses"
    MISSING = "the registry hasn't it"
    BUSY = "the registry is busy"
    UNSTORABLE = "this node can't store it"
    DAMAGED = "the content is damaged"
    LACKING = "the node lacks something"
    BETWEEN = "no registry's answer"
    """A proxy, or the storage behind the registry, answered in its place."""
    PASSING = "passing"
    UNKNOWN = "words not known"

    @property
    def attempts(self) -> int | None:
        """How many attempts of a pull may end so before it is given up; None for no limit.

        A pull's own limit (`retries`) counts beside it. What a registry refuses or hasn't is the
        same a moment later; what came damaged may come whole; a proxy may have had a moment. For
        words that nobody knows three alike are taken as proof that a fourth attempt would bring the
        same.
        """
        return _ATTEMPTS[self]


_ATTEMPTS: dict[Kind, int | None] = {
    Kind.REFUSED: 1,
    Kind.MISSING: 1,
    Kind.BUSY: None,
    Kind.UNSTORABLE: 1,
    Kind.DAMAGED: 2,
    Kind.LACKING: 1,
    Kind.BETWEEN: 3,
    Kind.PASSING: None,
    Kind.UNKNOWN: 3,
}
