"""A node as far as it says what it has: what its agent would send of that."""

from collections.abc import Iterable
from typing import Any

from towline.wire.inventory import ImageHeld, Inventory, hash_of

START, LATER = "1" * 16, "2" * 16


def digest(character: str) -> str:
    return "sha256:" + character * 64


def image(
    character: str, *names: str, digests: Iterable[str] | None = None, **more: Any
) -> ImageHeld:
    """An image whose id ends in a character, and its digest too unless others are given."""
    repositories = dict.fromkeys(name.rpartition(":")[0] for name in names)
    known = [f"{each}@{digest(character)}" for each in repositories]
    return ImageHeld(
        f"sha256:{character * 64}", sorted(known if digests is None else digests), [*names], **more
    )


class Node:
    """What a node has, and the messages that say so.

    Args:
        start: which start of its agent it is.
        part: images in one message at most.
    """

    def __init__(self, start: str = START, part: int = 500) -> None:
        self.start = start
        self.part = part
        self.images: dict[str, ImageHeld] = {}

    @property
    def hash(self) -> str:
        return hash_of(self.images.values())

    def whole(self) -> list[Inventory]:
        """Return all that it has, in parts."""
        images = list(self.images.values())
        slices = [images[at : at + self.part] for at in range(0, len(images), self.part)] or [[]]
        return [
            Inventory(self.start, self.hash, "", each, part=number, parts=len(slices))
            for number, each in enumerate(slices)
        ]

    def change(self, *new: ImageHeld, gone: Iterable[str] = ()) -> Inventory:
        """Get images, or have some no more; return the message that says so."""
        base, gone = self.hash, [each for each in gone if each in self.images]
        for each in gone:
            del self.images[each]
        self.images |= {each.id: each for each in new}
        return Inventory(self.start, self.hash, base, [*new], gone)
