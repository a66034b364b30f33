"""Sets that contradict each other: they want something else under one name, on one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from towline.controller.member import Member
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.standing import images, pulled
from towline.errors import Conflict
from towline.wire.reference import Reference

MOST_SHOWN = 3
"""Nodes that a contradiction names."""


def refuse_contradiction(
    record: SetRecord,
    others: Sequence[SetRecord],
    state: Callable[[str], SetState],
    members: Callable[[SetRecord], list[Member]],
) -> None:
    """Refuse a set that wants something else than another one under a name, on some node.

    Two that follow one tag don't contradict each other: both go where it goes.

    Args:
        others: the sets that there are, the set itself before among them.
        state: returns how far a set is.
        members: returns the nodes that a set means today.

    Raises:
        Conflict: with the other set, and nodes that both mean.
    """
    ours = {str(pulled(each)): each for each in images(record, state(record.name))}
    meant: set[str] | None = None
    for other in others:
        if other.name == record.name:
            continue
        for theirs in images(other, state(other.name)):
            mine = ours.get(str(pulled(theirs)))
            if mine is None or pulled(mine).digest is not None:
                continue  # what has no tag takes no other's
            wanted = _contradiction(record, mine, other, theirs)
            if not wanted:
                continue
            if meant is None:
                meant = {each.machine for each in members(record)}
            both = [each for each in members(other) if each.machine in meant]
            if both:
                raise _refused(mine, other, wanted, both)


def _contradiction(
    record: SetRecord, mine: ImageState, other: SetRecord, theirs: ImageState
) -> str:
    """Return what another set wants instead under the same name, or ""."""
    if mine.platform != theirs.platform:
        return f"that for {theirs.platform}" if theirs.platform else "each engine's own"
    if record.follow == other.follow == "tag":
        return ""
    digest, others = (each.next or each.current for each in (mine, theirs))
    return others if digest and others and digest != others else ""


def _refused(mine: ImageState, other: SetRecord, wanted: str, both: list[Member]) -> Conflict:
    image = Reference.parse(mine.image).familiar
    named = ", ".join(each.hostname for each in both[:MOST_SHOWN])
    more = len(both) - MOST_SHOWN
    named += f" and {more} more" if more > 0 else ""
    return Conflict(
        f"The set {other.name!r} wants another {image} on {named}: {wanted}.",
        "Under one name a node has one image: take it out of one of the sets, or let their "
        "targets have no node in common",
    )
