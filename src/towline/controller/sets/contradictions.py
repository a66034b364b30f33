"""Sets that contradict each other: they want something else under one name, on one node. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from towline.controller.member import Member
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.standing import images, pulled
from towline.errors import Conflict
from towline.wire.reference import Reference

MOST_SHOWN = 3
"""Nodes that a contradiction names."""


class Rivalry(msgspec.Struct, frozen=True):
    """Two sets want something under one name that need not be the same.

    Two that follow one tag are no rivals: both go where it goes.

    Attributes:
        mine, theirs: how far the image is of the set that is declared, and of the other.
        nodes: those that both sets mean today.
    """

    mine: ImageState
    other: SetRecord
    theirs: ImageState
    nodes: list[Member]

    def wants(self, found: Mapping[str, str]) -> str:
        """Return what the other set wants instead, in words; "" where that is the same, or unknown.

        Args:
            found: what tags name now, by references in full, as far as it was asked for.
        """
        if self.mine.platform != self.theirs.platform:
            return f"that for {self.theirs.platform}" if self.theirs.platform else "each its own"
        mine = found.get(self.mine.image) or self.mine.next or self.mine.current
        theirs = self.theirs.next or self.theirs.current
        return theirs if mine and theirs and mine != theirs else ""


def rivalries(
    record: SetRecord,
    others: Sequence[SetRecord],
    state: Callable[[str], SetState],
    members: Callable[[SetRecord], list[Member]],
) -> Iterator[Rivalry]:
    """Yield with which other sets one could contradict.

    Args:
        others: the sets that there are, the set itself before among them.
        state: returns how far a set is.
        members: returns the nodes that a set means today.
    """
    ours = {
        str(pulled(each)): each
        for each in images(record, state(record.name))
        if pulled(each).digest is None  # what has no tag takes no other's
    }
    meant: set[str] | None = None
    for other in others:
        if other.name == record.name:
            continue
        for theirs in images(other, state(other.name)):
            mine = ours.get(str(pulled(theirs)))
            if mine is None or (
                mine.platform == theirs.platform and record.follow == other.follow == "tag"
            ):
                continue
            if meant is None:
                meant = {each.machine for each in members(record)}
            nodes = [each for each in members(other) if each.machine in meant]
            if nodes:
                yield Rivalry(mine, other, theirs, nodes)


def refused(rivalry: Rivalry, wanted: str) -> Conflict:
    """Return the error of a set that contradicts another.

    Args:
        wanted: what the other wants instead.
    """
    image = Reference.parse(rivalry.mine.image).familiar
    named = ", ".join(each.hostname for each in rivalry.nodes[:MOST_SHOWN])
    more = len(rivalry.nodes) - MOST_SHOWN
    named += f" and {more} more" if more > 0 else ""
    return Conflict(
        f"The set {rivalry.other.name!r} wants another {image} on {named}: {wanted}.",
        "Under one name a node has one image: take it out of one of the sets, or let their "
        "targets have no node in common",
    )
