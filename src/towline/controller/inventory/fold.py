"""What is known of one node, and how it becomes what the node says: the fold of its messages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, TypeAlias

from towline.controller.inventory.rows import Row, Rows
from towline.wire.inventory import MOST_IN_PART, MOST_PARTS, Inventory

MOST = 16 * 1024 * 1024
"""What may be known of a node, as `Row.weight` counts: all that agents send has 10 MB at most, and
this leaves room for 100,000 pairs of names and digests."""
MOST_IMAGES = MOST_PARTS * MOST_IN_PART
"""Images that may be known of a node, as many as agents send: however little is said of one, a
controller takes a kilobyte for it."""

Outcome: TypeAlias = Literal["taken", "waits", "differs", "too much"]
"""What came of a message: what is known is what it says; other parts of it are waited for; it is a
change of something else than is known, and the node has to be asked; or it is more than `MOST`, or
than `MOST_IMAGES`."""


class Known:
    """What is known of a node.

    Attributes:
        number: its own among the nodes that are known; see `Row.nodes`.
        hash: of what is known, as the node said it; "" where nothing is.
        said: the hash that the node has said last; "" where it has said none.
        rows: what it has, by the engine's id; None where that is unknown.
        parts: those of a whole inventory that have come so far, by their numbers.
        due: when it is to be asked, by the clock that only grows; None for not at all.
        asked: when it was asked last, likewise.
        pause: seconds until it is asked again.
    """

    __slots__ = ("_of", "asked", "due", "hash", "number", "parts", "pause", "rows", "said")

    def __init__(self, number: int) -> None:
        self.number = number
        self.hash = ""
        self.said = ""
        self.rows: dict[str, Row] | None = None
        self.parts: dict[int, list[Row]] | None = None
        self._of: tuple[str, str, int] | None = None
        """Start, hash and number of the inventory of which there are parts."""
        self.due: float | None = None
        self.asked = float("-inf")
        self.pause = 0.0

    @property
    def bit(self) -> int:
        """The bit of its number alone."""
        return 1 << self.number

    @property
    def fits(self) -> bool:
        """Whether what is known is what the node has said last."""
        return self.rows is not None and self.hash == self.said

    def take(self, message: Inventory, table: Rows) -> Outcome:
        """Take a message of the node's; whose start is the one that counts."""
        self.said = message.hash
        if not message.base:
            return self._take_part(message, table)
        if self.rows is None or message.base != self.hash:
            return "differs"
        gone = frozenset(message.gone)
        rows = {key: row for key, row in self.rows.items() if key not in gone}
        rows |= {image.id: table.of(image) for image in message.images}
        if too_much(rows.values()):
            return "too much"
        # An agent's mistake, or a controller's, is noticed here, and doesn't stay for ever.
        if hash_of(rows) != message.hash:
            return "differs"
        self.become(rows, message.hash, table)
        return "taken"

    def _take_part(self, message: Inventory, table: Rows) -> Outcome:
        """Take a whole inventory, or one part of it.

        The hash of one that has a single part isn't looked at: asked again, the node would say the
        same. A newer agent may hash what this controller doesn't know of. Parts may be of two
        inventories that are equal and were divided otherwise.
        """
        of = (message.start, message.hash, message.parts)
        if self.parts is None or self._of != of:
            # What is left of another can't be completed by these, nor by what comes behind them.
            self.parts, self._of = {}, of
        self.parts[message.part] = [table.of(image) for image in message.images]
        if too_much(row for part in self.parts.values() for row in part):
            self.parts = None
            return "too much"
        if len(self.parts) < message.parts:
            return "waits"
        rows = {row.image.id: row for part in self.parts.values() for row in part}
        if message.parts > 1 and hash_of(rows) != message.hash:
            self.parts = None
            return "differs"
        self.become(rows, message.hash, table)
        return "taken"

    def become(self, rows: dict[str, Row], hash: str, table: Rows) -> None:
        """Have this be what is known, of which the node said this hash."""
        before, bit = self.rows or {}, self.bit
        # By what is kept: the id is there once, too, for all nodes.
        kept = {row.image.id: row for row in (table.hold(row, bit) for row in rows.values())}
        for key, row in before.items():
            if kept.get(key) is not row:
                table.release(row, bit)
        self.rows, self.hash = kept, hash
        self.parts = self._of = None

    def forget(self, table: Rows) -> None:
        """Know nothing of the node any more."""
        self.become({}, "", table)
        self.rows = None


def too_much(rows: Iterable[Row]) -> bool:
    """Return whether images are more than may be known of one node."""
    weights = [row.weight for row in rows]
    return len(weights) > MOST_IMAGES or sum(weights) > MOST


def hash_of(rows: dict[str, Row]) -> str:
    """Return the hash of a whole inventory; see `towline.wire.inventory.hash_of`."""
    found = hashlib.blake2b(digest_size=16)
    for key in sorted(rows):
        found.update(rows[key].encoded)
    return found.hexdigest()
