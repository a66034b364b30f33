"""The images of the whole fleet: of those that are alike on many nodes there is one."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from towline.wire.inventory import ImageHeld

MARK = 16
"""Bytes of the hash by which an image is kept."""
MEANING = 64
"""Bytes that each digest counts for which each name of an image may stand for, see `Row.weight`:
that many pairs of them are looked at when images are listed."""


class Row:
    """An image as some nodes have it: the very same, and used by as many containers.

    Attributes:
        encoded: the image as it is hashed, and as it is told from others.
        mark: the hash of that.
        nodes: which nodes have it: the bit of each node's number is set.
        digests: what registries know it by, each with the repositories in which it is known.
        keys: by what it is listed: its digests, or else its id.
        weight: what it costs to know it, in bytes.
    """

    # There is nothing here for each pair of a digest and a name: a node says of how many.
    __slots__ = ("_known_in", "digests", "encoded", "image", "keys", "mark", "nodes", "weight")

    def __init__(self, image: ImageHeld, encoded: bytes) -> None:
        self.image = image
        self.encoded = encoded
        self.mark = blake2b(encoded, digest_size=MARK).digest()
        self.nodes = 0
        self.digests: dict[str, list[str]] = {}
        self._known_in: dict[str, dict[str, None]] = {}
        """The digests that are known in each repository."""
        for text in image.digests:
            repository, _, digest = text.partition("@")
            self.digests.setdefault(digest, []).append(repository)
            self._known_in.setdefault(repository, {})[digest] = None
        self.keys = tuple(self.digests) or (image.id,)
        self.weight = len(encoded) + MEANING * len(self.keys) * len(image.names)

    def names_of(self, key: str) -> list[str]:
        """Return those of its names that stand for one of its keys."""
        names = self.image.names
        if len(self.keys) == 1:
            return names
        known = ((name, self._known_in.get(repository_of(name))) for name in names)
        return [name for name, digests in known if digests is None or key in digests]

    def stands_for(self, name: str) -> tuple[str, ...]:
        """Return what one of its names stands for: digests, or the id where it has none.

        The digests are those in the name's repository, where it has any there: an image that was
        given another repository's name has those of the one that it came from.
        """
        return tuple(self._known_in.get(repository_of(name), self.keys))


class Alike:
    """All that is listed under one digest, or under one id.

    Attributes:
        key: the digest, or the id.
        rows: what is known of it on any nodes.
    """

    __slots__ = ("_names", "key", "rows")

    def __init__(self, key: str) -> None:
        self.key = key
        self.rows: dict[Row, None] = {}
        self._names: list[str] | None = None

    def add(self, row: Row) -> None:
        """Take it that nodes have it in another way, too."""
        self.rows[row] = None
        self._names = None

    def remove(self, row: Row) -> None:
        """Take it that no node has it in that way any more."""
        del self.rows[row]
        self._names = None

    @property
    def names(self) -> list[str]:
        """All names by which any node knows it, sorted."""
        if self._names is None:
            self._names = sorted({name for row in self.rows for name in row.names_of(self.key)})
        return self._names


class Rows:
    """All images that any node has, each once, and by what they are found.

    Attributes:
        version: rises whenever one comes or goes.
        by_key: by digest, or by id where there is none.
        by_name: by a name in full.
        by_repository: by the repository of a name or a digest.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, Row] = {}
        self.version = 0
        self.by_key: dict[str, Alike] = {}
        self.by_name: dict[str, dict[Row, None]] = {}
        self.by_repository: dict[str, dict[Row, None]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def of(self, image: ImageHeld) -> Row:
        """Return the one that is equal to an image; one that no node holds yet isn't kept."""
        encoded = msgspec.json.encode(image)
        return self._rows.get(encoded) or Row(image, encoded)

    def hold(self, row: Row, bit: int) -> Row:
        """Take it that a node has an image; return the one that is kept.

        Args:
            bit: the bit of the node's number alone.
        """
        kept = self._rows.setdefault(row.encoded, row)
        if not kept.nodes:
            self._place(kept)
        kept.nodes |= bit
        return kept

    def release(self, row: Row, bit: int) -> None:
        """Take it that a node doesn't have an image any more."""
        row.nodes &= ~bit
        if not row.nodes:
            self._displace(row)

    def _place(self, row: Row) -> None:
        self.version += 1
        for key in row.keys:
            if key not in self.by_key:
                self.by_key[key] = Alike(key)
            self.by_key[key].add(row)
        for index, name in self._found_by(row):
            index.setdefault(name, {})[row] = None

    def _displace(self, row: Row) -> None:
        self.version += 1
        del self._rows[row.encoded]
        for key in row.keys:
            alike = self.by_key[key]
            alike.remove(row)
            if not alike.rows:
                del self.by_key[key]
        for index, name in self._found_by(row):
            found = index[name]
            del found[row]
            if not found:
                del index[name]

    def _found_by(self, row: Row) -> Iterator[tuple[dict[str, dict[Row, None]], str]]:
        """Yield the names and repositories that an image is found by, each once."""
        for name in dict.fromkeys(row.image.names):
            yield self.by_name, name
        known = (repository for found in row.digests.values() for repository in found)
        for repository in dict.fromkeys([*map(repository_of, row.image.names), *known]):
            yield self.by_repository, repository


def repository_of(name: str) -> str:
    """Return the repository of a name in full, `DOMAIN/PATH:TAG`."""
    before, colon, tag = name.rpartition(":")
    return before if colon and "/" not in tag else name
