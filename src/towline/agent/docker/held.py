"""What an engine's lists come to: the images that a node has, and what of them has changed.

Pure: whatever engines list, of whatever shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from towline.agent.docker.answers import ListedImage
from towline.wire.fields import EARLIEST, LARGEST, LATEST
from towline.wire.inventory import (
    LONGEST_NAME,
    MOST_IN_PART,
    MOST_NAMES,
    MOST_PARTS,
    ImageHeld,
    Inventory,
)
from towline.wire.platform import Platform
from towline.wire.reference import InvalidReference, Reference

LARGEST_PART = 256 * 1024
"""Bytes of the images of one message: fewer than `MOST_IN_PART` where they have long names."""

_HEX = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[!-~]{1,255}\Z")


def full_id(text: str) -> str:
    """Return an image's id in full, `sha256:…`; some engines leave out what its digits are of."""
    return f"sha256:{text}" if _HEX.match(text) else text


def held(
    listed: Iterable[ListedImage],
    used: Mapping[str, int],
    platforms: Mapping[str, Platform],
    preferred: Platform | None,
    *,
    sent: bool = True,
) -> dict[str, ImageHeld]:
    """Return the images that are there, by id, in its order; what can't be said of one is left out.

    Args:
        used: how many containers were made of each, by id.
        platforms: what those are for that the list doesn't say it of, by id.
        preferred: the engine's own platform, which an image is said to be for where it has several.
        sent: whether controllers are to be told: then what messages have no room for is left out,
            names of an image with very many, and images beyond very many.
    """
    most = MOST_NAMES if sent else None
    users: dict[str, int] = {}
    for name, count in used.items():
        users[full_id(name)] = users.get(full_id(name), 0) + count
    found: dict[str, ImageHeld] = {}
    for each in listed:
        id = full_id(each.id)
        if not _NAME.match(id) or not is_there(each):
            continue
        names, digests = references((*(each.repo_tags or ()), *(each.repo_digests or ())))
        before = found.get(id)
        if before is not None:
            # One engine lists an image once for each of its names.
            names |= set(before.names)
            digests |= set(before.digests)
        if any(digest.endswith(f"@{id}") for digest in digests):
            # Of an image with names in several repositories Engine 29 lists the digest in one of
            # them, now this one and now that; it is known by it in all.
            known = {f"{Reference.parse(name).repository}@{id}" for name in names}
            digests |= {each for each in known if len(each) <= LONGEST_NAME}
        platform = platform_of(each, preferred) or platforms.get(id)
        found[id] = ImageHeld(
            id,
            sorted(digests)[:most],
            sorted(names)[:most],
            _written(platform),
            min(max(each.size or 0, 0), LARGEST),
            each.created if EARLIEST <= (each.created or 0.0) <= LATEST else None,
            users.get(id, 0),
        )
    if not sent:
        return dict(sorted(found.items()))
    return {image.id: image for part in _parts(found.values()) for image in part}


def is_there(image: ListedImage) -> bool:
    """Return whether what an index names is there for any platform: one may be all that is."""
    images = [each for each in image.manifests or () if each.image_data is not None]
    return not images or any(each.available for each in images)


def platform_of(image: ListedImage, preferred: Platform | None) -> Platform | None:
    """Return what an image is for by its list of manifests; None where it has none."""
    found = {each.platform for each in image.manifests or () if each.available}
    platforms = [each for each in found if each is not None]
    if preferred in platforms:
        return preferred
    return min(platforms, key=str, default=None)


def whole(start: str, images: Mapping[str, ImageHeld], hash: str) -> list[Inventory]:
    """Return the messages of a whole inventory."""
    parts = _parts(images.values()) or [[]]
    return [
        Inventory(start, hash, images=part, part=number, parts=len(parts))
        for number, part in enumerate(parts)
    ]


def difference(
    start: str,
    before: Mapping[str, ImageHeld],
    base: str,
    after: Mapping[str, ImageHeld],
    hash: str,
) -> list[Inventory]:
    """Return the messages that make of one inventory another: of what has changed, or the whole.

    Args:
        base, hash: those of the two; `base` is "" where nothing was said before.
    """
    changed = [image for id, image in after.items() if before.get(id) != image]
    gone = [id for id in before if id not in after]
    if not base or len(gone) > MOST_IN_PART or len(_parts(changed)) > 1:
        return whole(start, after, hash)
    return [Inventory(start, hash, base, changed, gone)]


def references(texts: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return names and digests among what an engine calls an image by, in full; what is neither is
    left out."""
    names: set[str] = set()
    digests: set[str] = set()
    for text in texts:
        try:
            reference = Reference.parse(text)
        except InvalidReference:
            # What has lost its name is called "<none>" by some engines.
            continue
        # Engines that keep an image by its digest show that among its names.
        found = names if reference.digest is None else digests
        written = reference.pulled
        if len(written) <= LONGEST_NAME:
            found.add(written)
    return names, digests


def _written(platform: Platform | None) -> str:
    text = "" if platform is None else str(platform)
    return text if _NAME.match(text) else ""


def _parts(images: Iterable[ImageHeld]) -> list[list[ImageHeld]]:
    """Return images as they go into messages, by id; those for which there is no room are left
    out."""
    parts: list[list[ImageHeld]] = []
    room = 0
    for image in sorted(images, key=lambda each: each.id):
        size = len(msgspec.json.encode(image))
        if not parts or size > room or len(parts[-1]) == MOST_IN_PART:
            if len(parts) == MOST_PARTS:
                break
            parts.append([])
            room = LARGEST_PART
        parts[-1].append(image)
        room -= size
    return parts
