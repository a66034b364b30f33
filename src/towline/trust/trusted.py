"""What a node trusts, and the short hash by which nodes and controllers compare it.

A node says the hash in its registration, controllers say theirs in the answer to that and whenever
they ask all nodes for a heartbeat: so a node notices that it is behind, and controllers know who
is. The hash has a part for each kind of key. So of each kind it can be said who is behind, though
a node whose login is a password has no issuer, and one on its broker's machine no CA.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from towline.trust.certificates import pem_blocks

CA, JOBS, NODES = "ca", "jobs", "nodes"
KINDS = (CA, JOBS, NODES)
"""The kinds of keys that nodes trust, in the order of the parts of the hash."""
DIGEST_BYTES = 8
"""Of each part: it tells what is there apart, and nobody believes anything for it."""


class Trusted(msgspec.Struct, frozen=True):
    """What a node trusts, or ought to.

    Attributes:
        ca: the certificates that sign the brokers', as PEM; "" where brokers encrypt nothing, or
            by what the system trusts.
        jobs: the public keys by which it verifies what controllers send, as hex.
        issuer: the public key that has signed its login; "" for a login that none has.
    """

    ca: str = ""
    jobs: frozenset[str] = frozenset()
    issuer: str = ""

    @property
    def hash(self) -> str:
        """The hash; the order of keys and certificates doesn't count, and no blanks around them."""
        ca = "".join(sorted(pem_blocks(self.ca) or [self.ca.strip()]))
        parts = (ca, " ".join(sorted(self.jobs)), self.issuer)
        return ".".join(map(_digest, parts))


def job_keys(public: Iterable[bytes]) -> frozenset[str]:
    """Return the public keys of controllers as `Trusted` has them."""
    return frozenset(key.hex() for key in public)


def differing(said: str, expected: str) -> list[str]:
    """Return of which kinds a node trusts something else than it ought to.

    Args:
        said: the hash that the node says; of one that says none it is all.
        expected: the controllers'.
    """
    parts, wanted = said.split("."), expected.split(".")
    if len(parts) != len(KINDS):
        return [*KINDS]
    found = zip(KINDS, parts, wanted, strict=True)
    return [kind for kind, part, other in found if part != other]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
