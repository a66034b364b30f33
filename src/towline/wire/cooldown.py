"""Cooldowns: registries that the whole fleet leaves alone after too many requests. Pure.

Nodes come back to a registry one after another, each at a moment of its own that it draws at random
between the end of the cooldown and that of the return. Controllers begin cooldowns by the rule that
stands here; so does a node, for itself alone, while it reaches no controller.
"""

from __future__ import annotations

import msgspec

from towline.wire.fields import Count, Moment, Name, Text

LONGEST_ASKED = 6 * 3600.0
"""Seconds of a cooldown at most that a registry asks for: Docker Hub counts over six hours."""
FIRST = 15.0
"""Seconds of a cooldown of which the registry doesn't say how long; it doubles with each in a
row."""
LONGEST = 900.0
INTERVAL = 0.5
"""Seconds between two nodes that begin after a cooldown, on average; it doubles with each in a row.
A pull is some five requests: ten a second."""
LONGEST_RETURN = 600.0
LONGEST_REASON = 300
"""Characters of a reason."""
APART = 0.001
"""Seconds at least between the beginnings of two cooldowns of a registry, told apart by that."""


class Cooldown(msgspec.Struct, frozen=True):
    """That a registry is to be left alone.

    Attributes:
        registry: `host[:port]`.
        since, until: by the controllers' clock. No two of a registry begin at the same moment.
        over: from when on nodes need not begin one after another any more, likewise.
        row: how many cooldowns in a row this is the last of.
        by: the hostname of the node whose request was refused.
        reason: in the words of its engine.
    """

    registry: Name
    since: Moment
    until: Moment
    over: Moment
    row: Count
    by: Name
    reason: Text


class Refusal(msgspec.Struct, frozen=True):
    """That a registry has refused a request for too many of them.

    Attributes:
        by: the hostname of the node whose request it was.
        reason: in the words of its engine.
        nodes: how many nodes the job is for that it was made for.
        known: when the last cooldown began that the node knew of when it asked; None for none.
        asked: seconds that the registry wants to be left alone; None where it doesn't say.
    """

    registry: str
    by: str
    reason: str
    nodes: int = 1
    known: float | None = None
    asked: float | None = None


def in_force(
    last: Cooldown | None, refusal: Refusal, now: float, *, interval: float = INTERVAL
) -> Cooldown:
    """Return the cooldown that is in force after a refusal: a new one, or the last.

    The last one stays where the refused request was made before the node knew of it. Whoever knows
    of it, and says before it is over how long the registry wants to be left alone, settles how long
    it is.

    Args:
        last: the registry's last cooldown.
        now: seconds since 1970, by the controllers' clock.
        interval: seconds between two nodes that begin after the first in a row, on average.
    """
    if last is None:
        return _of(refusal, now, 1, interval)
    known = refusal.known or 0.0
    if last.since > known and now < last.over:
        return last
    if last.since == known and now < last.until:
        if refusal.asked is None:
            return last
        settled = _of(refusal, last.since, last.row, interval)
        return msgspec.structs.replace(settled, by=last.by, reason=last.reason)
    row = last.row + 1 if now < last.over + LONGEST else 1
    return _of(refusal, max(now, last.since + APART), row, interval)


def _of(refusal: Refusal, since: float, row: int, interval: float) -> Cooldown:
    """Return the cooldown that a refusal begins."""
    # More than that makes none of what follows longer.
    doubled = 2.0 ** min(row - 1, 20)
    seconds = min(LONGEST, FIRST * doubled)
    if refusal.asked is not None:
        seconds = min(LONGEST_ASKED, refusal.asked)
    # However little it asks for: where that has not helped, more.
    until = since + max(seconds, min(LONGEST, doubled))
    over = until + min(LONGEST_RETURN, interval * refusal.nodes * doubled)
    reason = refusal.reason[:LONGEST_REASON]
    return Cooldown(refusal.registry, since, until, over, row, refusal.by, reason)
