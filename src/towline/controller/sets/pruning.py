"""Which older digests of a set go, and from which nodes. Pure.

Only what the set itself has brought goes, where nothing is made of it, and where it has no name any
more: a name is somebody's, or a set's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from towline.controller.sets.record import ImageState, SetRecord
from towline.controller.sets.standing import pulled
from towline.wire.inventory import ImageHeld


def surplus(record: SetRecord, image: ImageState, wanted: Collection[str]) -> list[str]:
    """Return the digests of an image that are older than those that a set keeps.

    Args:
        wanted: `DOMAIN/PATH@sha256:…` of all that any set wants.
    """
    if record.keep is None or image.next:
        return []
    return [
        digest
        for digest in image.before[record.keep :]
        if digest != image.current and f"{pulled(image).repository}@{digest}" not in wanted
    ]


def is_unused(held: Mapping[str, ImageHeld] | None, image: ImageState, digest: str) -> bool:
    """Return whether a node has a digest of an image's repository that nothing there needs."""
    name = f"{pulled(image).repository}@{digest}"
    found = [each for each in (held or {}).values() if name in each.digests]
    return bool(found) and all(not each.used and not each.names for each in found)
