"""Who has an image, who has another by that name, who has none, and of whom it is unknown."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Set
from typing import Literal

import msgspec

from towline.controller.fleet import Fleet, place_of
from towline.controller.inventory.inventories import About, Inventories
from towline.controller.inventory.listing import nodes_by_key
from towline.controller.inventory.rows import Row
from towline.controller.member import Member
from towline.controller.resolution import candidates
from towline.controller.sets.sets import Sets
from towline.endpoints.fields import target
from towline.endpoints.images import After, ImageNode, ImageNodes, State, cursor_of
from towline.wire.reference import Reference


class _Meant(msgspec.Struct, frozen=True):
    """Which image nodes are compared with: its digest or id, and where that is from."""

    key: str | None
    compared: Literal["reference", "set", "most"] | None


class Places:
    """Answers who has an image, from what is known of nodes.

    Args:
        sets: what they want is what nodes are compared with.
    """

    def __init__(self, inventories: Inventories, fleet: Fleet, sets: Sets) -> None:
        self._inventories = inventories
        self._fleet = fleet
        self._sets = sets

    def page(
        self,
        image: Reference,
        machines: Set[str],
        about: About,
        *,
        state: State | None,
        limit: int,
        after: After | None,
        sets: bool = True,
    ) -> ImageNodes:
        """Return a page of nodes.

        Args:
            machines: the machine ids of the nodes that are asked about.
            about: the same.
            state: only those of which this is so; None for all.
            limit: nodes at most.
            after: the last of the page before.
            sets: whether it may be said what sets want.
        """
        known = about.nodes
        rows, held = self._held(image, known)
        meant = self._meant(image, held, machines if sets else frozenset())
        has = held.get(meant.key or "", 0)
        some = 0
        for each in held.values():
            some |= each
        states = {"has": has, "other": some & ~has, "none": known & ~some}
        counts = {name: each.bit_count() for name, each in states.items()}
        counts["unknown"] = about.unknown
        behind = self._behind(machines, after)
        if state is not None:
            behind = self._of(behind, state, states) if counts[state] else iter(())
        shown = list(itertools.islice(self._nodes(image, behind, rows, meant.key), limit + 1))
        more, shown = len(shown) > limit, shown[:limit]
        known_by_digest = any(meant.key in row.digests for row in rows) or image.digest is not None
        by_digest = known_by_digest or meant.compared == "set"
        return ImageNodes(
            reference=str(image),
            digest=meant.key if by_digest else None,
            image_id=None if by_digest else meant.key,
            compared=meant.compared,
            counts=counts,
            nodes=shown,
            next_cursor=cursor_of(shown[-1].hostname, shown[-1].machine_id) if more else None,
        )

    def _held(self, image: Reference, known: int) -> tuple[list[Row], dict[str, int]]:
        """Return what nodes have by a name, and which nodes have which digest of that, or id.

        Without a tag that is all that is known in the repository.
        """
        table = self._inventories.rows
        if image.tag is not None:
            name = f"{image.repository}:{image.tag}"
            rows = list(table.by_name.get(name, ()))
            return rows, nodes_by_key(name, rows, known)
        rows = [
            row
            for row in table.by_repository.get(image.repository, ())
            if any(image.repository in each for each in row.digests.values())
        ]
        return rows, nodes_by_key(f"{image.repository}:", rows, known)

    def _meant(self, image: Reference, held: dict[str, int], machines: Set[str]) -> _Meant:
        """Return which image nodes are compared with."""
        if image.digest is not None:
            return _Meant(image.digest, "reference")
        wanted = self._wanted(str(image), machines)
        if wanted:
            return _Meant(wanted, "set")
        if not held:
            return _Meant(None, None)
        return _Meant(max(held, key=lambda key: (held[key].bit_count(), key)), "most")

    def _wanted(self, image: str, machines: Set[str]) -> str:
        """Return the digest that a set wants for one of some nodes; "" where none wants any."""
        for record in self._sets.all():
            for each in self._sets.state(record.name).images:
                digest = each.current or each.next
                if each.image != image or not digest:
                    continue
                meant = candidates(self._fleet, target(record.target))
                if machines if meant is None else not meant.isdisjoint(machines):
                    return digest
        return ""

    def _behind(self, machines: Set[str], after: After | None) -> Iterator[Member]:
        """Yield the nodes behind one, in the order of `Fleet.members`, as far as they are needed.

        Args:
            machines: the machine ids of those that are asked about.
        """
        members = self._fleet.some(machines)
        if after is None:
            return members
        place = (after.first, after.then)
        return (member for member in members if place_of(member) > place)

    def _of(
        self, members: Iterable[Member], state: State, states: dict[str, int]
    ) -> Iterator[Member]:
        """Yield those of some nodes of which something is so.

        Args:
            states: which nodes have which state; those that are unknown are in none.
        """
        # To look at one bit of so large a number takes as long as to copy all of it.
        bits = states.get(state, 0).to_bytes(self._inventories.bytes, "little")
        for member in members:
            number = self._inventories.number(member.registration.machine)
            if number is None:
                if state == "unknown":
                    yield member
            elif bits[number >> 3] >> (number & 7) & 1:
                yield member

    def _nodes(
        self, image: Reference, members: Iterable[Member], rows: list[Row], key: str | None
    ) -> Iterator[ImageNode]:
        """Yield what is so of some nodes."""
        name = f"{image.repository}:{image.tag or ''}"
        right = {row for row in rows if key in row.stands_for(name)}
        named = dict.fromkeys(rows)
        for member in members:
            state: State = "unknown"
            row = None
            number = self._inventories.number(member.machine)
            if number is not None:
                # One node may have thousands by that name: no other is looked through them.
                own = self._inventories.rows_of(member.machine)
                if len(named) > len(own):
                    found_there = [row for row in own if row in named]
                else:
                    bit = 1 << number
                    found_there = [row for row in named if row.nodes & bit]
                row = next((row for row in found_there if row in right), None)
                state = "has"
                if row is None:
                    row = next(iter(found_there), None)
                    state = "none" if row is None else "other"
            found = key if row is None or state == "has" else row.stands_for(name)[0]
            yield ImageNode(
                hostname=member.hostname,
                machine_id=member.machine,
                state=state,
                digest=found if row is not None and row.digests else None,
                image_id=found if row is not None and not row.digests else None,
                used=0 if row is None else row.image.used,
                here=member.here,
            )
