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
    """Return the digests of an image that a set doesn't keep: older ones, and what was given up.

    Args:
        wanted: `DOMAIN/PATH@sha256:…` of all that any set wants.
    """
    if record.keep is None or image.next:
        return []
    kept, older = image.before[: record.keep], image.before[record.keep :]
    return [
        digest
        for digest in dict.fromkeys([*older, *image.given_up])
        if digest not in kept
        and digest != image.current
        and f"{pulled(image).repository}@{digest}" not in wanted
    ]


def is_unused(held: Mapping[str, ImageHeld] | None, image: ImageState, digest: str) -> bool:
    """Return whether a node has a digest of an image's repository that nothing there needs.

    The containerd store says no digest any more of what has lost its name: its id is that.
    """
    name = f"{pulled(image).repository}@{digest}"
    found = [
        each
        for each in (held or {}).values()
        if name in each.digests or (each.id == digest and not each.digests)
    ]
    return bool(found) and all(not each.used and not each.names for each in found)
