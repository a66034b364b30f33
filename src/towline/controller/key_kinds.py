"""The kinds of keys that can be replaced: which there are here, and which nodes hold that up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from towline.controller.fleet import Fleet, Member
from towline.trust.trusted import KINDS, Trusted, differing


class KeyKind(msgspec.Struct, frozen=True):
    """A kind of keys.

    Attributes:
        name: as `towline trust rotate` calls it. Nodes trust those whose name is one of `KINDS`.
        ids: returns what is public of the keys, short; the first is the one that is used.
    """

    name: str
    ids: Callable[[], Sequence[str]]


class KeyKinds:
    """The kinds of keys of a controller.

    Args:
        trusted: returns what every node ought to trust.
    """

    def __init__(
        self, kinds: Iterable[KeyKind], fleet: Fleet, trusted: Callable[[], Trusted]
    ) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._fleet = fleet
        self._trusted = trusted

    def __iter__(self) -> Iterator[KeyKind]:
        return iter(self._kinds.values())

    def behind(self, name: str) -> list[Member]:
        """Return the nodes that are here and don't know all keys of a kind, by hostname.

        Of a kind of which nodes know nothing it is none.
        """
        if name not in KINDS:
            return []
        expected = self._trusted().hash
        found = [
            member
            for member in self._fleet.here()
            if name in differing(member.registration.trusts, expected)
        ]
        return sorted(found, key=lambda member: (member.hostname, member.machine))
