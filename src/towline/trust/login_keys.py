"""The keys that sign nodes' logins, and the file that they stand in.

Each line of it is a seed. The first one signs; what the others have signed is let in, too. Behind
these stand the public halves of keys that were retired, each with a word before it: so each
controller takes them out of the nodes' account whenever it reads the file, also one that was away
when they were retired.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from towline.trust import claims

RETIRED = "retired"
"""What those lines begin with that say that a key counts no longer."""


class LoginKeys(msgspec.Struct, frozen=True):
    """What is in the file.

    Attributes:
        seeds: of the keys that count; the first one signs.
        retired: the public halves of those that don't any more.
    """

    seeds: tuple[str, ...]
    retired: tuple[str, ...] = ()

    @property
    def first(self) -> str:
        """The seed of the key that signs."""
        return self.seeds[0]

    @property
    def public(self) -> tuple[str, ...]:
        """The public halves of the keys that count, that of the first one first."""
        return tuple(map(claims.public_key, self.seeds))

    @property
    def text(self) -> str:
        """What stands in the file."""
        retired = (f"{RETIRED} {key}" for key in self.retired)
        return "".join(f"{line}\n" for line in (*self.seeds, *retired))

    def known(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return whose logins are to be let in, where others know of some keys.

        Args:
            known: the public keys whose logins are let in: another controller may have a newer
                file than this one.
        """
        found = dict.fromkeys((*known, *self.public))
        return tuple(key for key in found if key not in self.retired)


def read(text: str) -> LoginKeys:
    """Return the keys in the text of a file.

    Raises:
        ValueError: it has none, or something else in it.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    seeds = [words[0] for words in lines if len(words) == 1]
    retired = [words[1] for words in lines if len(words) == 2 and words[0] == RETIRED]
    if not seeds:
        raise ValueError("there is no key in it")
    if {claims.public_key(seed)[0] for seed in seeds} != {"A"}:
        raise ValueError("a key in it is none of an account")
    known = all(key.startswith("A") and claims.is_public(key) for key in retired)
    if not known or len(seeds) + len(retired) != len(lines):
        raise ValueError("a line of it is neither a key nor the public half of a retired one")
    return LoginKeys(tuple(dict.fromkeys(seeds)), tuple(dict.fromkeys(retired)))


def rotated(keys: LoginKeys) -> tuple[LoginKeys, bool]:
    """Return the keys after the next step, and whether the newest is the first by now.

    Raises:
        ValueError: more than one key is older.
    """
    if len(keys.seeds) > 2:
        raise ValueError(f"it holds {len(keys.seeds)} keys: retire those behind the first")
    if len(keys.seeds) == 2:
        return msgspec.structs.replace(keys, seeds=keys.seeds[::-1]), True
    made = claims.make_seed(claims.ACCOUNT)
    return msgspec.structs.replace(keys, seeds=(*keys.seeds, made)), False


def retired(keys: LoginKeys) -> LoginKeys:
    """Return the keys without any but the first."""
    first, *others = keys.public
    gone = dict.fromkeys((*keys.retired, *others))
    return LoginKeys(keys.seeds[:1], tuple(key for key in gone if key != first))


def node_seed(signing: str, machine: str) -> str:
    """Return the seed of the logins that `Trust.node_login` makes for a machine id.

    It follows from the key that signs them, so that they can be taken back by whoever has that,
    though nothing is kept of them.

    Args:
        signing: the seed of that key.
    """
    return claims.derive_seed(signing, f"node {machine}", claims.USER)
