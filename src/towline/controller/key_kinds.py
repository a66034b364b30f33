"""The kinds of keys that can be replaced: which there are here, and which nodes hold that up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec

from towline.controller.fleet import Fleet
from towline.controller.joining import Joining
from towline.controller.logins import Logins
from towline.controller.member import Member
from towline.trust.certificates import fingerprints, short_id
from towline.trust.trusted import KINDS, Trusted, differing


class KeyKind(msgspec.Struct, frozen=True):
    """A kind of keys.

    Attributes:
        name: as `towline trust rotate` calls it. Nodes trust those whose name is one of `KINDS`.
        ids: returns what is public of the keys, short; the first is the one that is used.
        obstacle: returns why the next step has to wait beside for nodes; "" where nothing holds it
            up.
    """

    name: str
    ids: Callable[[], Sequence[str]]
    obstacle: Callable[[], str] = lambda: ""


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


def kinds_of_fleet(logins: Logins | None, joining: Joining | None) -> list[KeyKind]:
    """Return the kinds of keys that only a fleet with a trust directory has.

    Args:
        logins, joining: None where this controller has not the keys for that.
    """
    found = []
    if logins is not None:
        found.append(KeyKind("nodes", partial(_of_logins, logins), lambda: logins.obstacle))
    if joining is not None:
        found.append(KeyKind("ca", partial(_of_authorities, joining)))
    return found


def _of_logins(logins: Logins) -> list[str]:
    return list(map(short_id, logins.keys))


def _of_authorities(joining: Joining) -> list[str]:
    return list(map(short_id, fingerprints(joining.authorities)))
