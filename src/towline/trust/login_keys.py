"""The keys that sign nodes' logins, and the file that they stand in.

Each line of it is a seed. The first one signs; what the others have signed is let in, too. Behind
these stand the public halves of keys that were retired, each with a word before it: so each
controller takes them out of the nodes' account whenever it reads the file, also one that was away
when they were retired.
"""

from __future__ import annotations

from collections.abc import Iterable

from towline.runtime import key_files
from towline.runtime.key_files import KeyLines
from towline.trust import claims


class LoginKeys(KeyLines, frozen=True):
    """What is in the file: seeds, and the public halves of those that are retired."""

    @property
    def first(self) -> str:
        """The seed of the key that signs."""
        return self.keys[0]

    @property
    def public(self) -> tuple[str, ...]:
        """The public halves of the keys that count, that of the first one first."""
        return tuple(map(claims.public_key, self.all))

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
    found = key_files.parse(text)
    if {claims.public_key(seed)[0] for seed in found.all} != {"A"}:
        raise ValueError("a key in it is none of an account")
    if not all(key.startswith("A") and claims.is_public(key) for key in found.retired):
        raise ValueError("what is left of a retired key in it is no public half")
    return LoginKeys(found.keys, found.retired, found.coming)


def rotated(keys: LoginKeys) -> LoginKeys:
    """Return the keys after the next step; raises as `KeyLines.rotated`."""
    return keys.rotated(lambda: claims.make_seed(claims.ACCOUNT))


def retired(keys: LoginKeys) -> LoginKeys:
    """Return the keys without any but the first; raises as `KeyLines.with_first`."""
    return keys.with_first(claims.public_key)


def node_seed(signing: str, machine: str) -> str:
    """Return the seed of the logins that `Trust.node_login` makes for a machine id.

    It follows from the key that signs them, so that they can be taken back by whoever has that,
    though nothing is kept of them.

    Args:
        signing: the seed of that key.
    """
    return claims.derive_seed(signing, f"node {machine}", claims.USER)
