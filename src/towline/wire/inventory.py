"""What is on a node, as its agent reports it: the images of its engine. Pure data.

It is state, not history: no message of it is ever in the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

import msgspec

from towline.wire.fields import Count, Moment, Name, StartId

LONGEST_NAME = 512
"""Characters of an image's name with its tag or digest; references of engines are shorter."""
MOST_NAMES = 200
"""Names of an image at most, and digests."""
MOST_IN_PART = 500
"""Images that one message has at most."""
MOST_PARTS = 40
"""Messages of a whole inventory at most: 20,000 images."""

ImageName = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME, pattern=r"^[!-~]*\Z")]
DigestName = Annotated[
    str,
    msgspec.Meta(
        max_length=LONGEST_NAME,
        pattern=r"^[!-?A-~]+@sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})\Z",
    ),
]
"""A repository and a digest in it; of the algorithms that references may have."""


class ImageHeld(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image that is on a node.

    Attributes:
        id: the engine's id of it, `sha256:…`.
        digests: what registries know it by, `DOMAIN/PATH@sha256:…` in full; sorted.
        names: `DOMAIN/PATH:TAG` in full, as `Reference` writes them; sorted.
        platform: `OS/ARCHITECTURE[/VARIANT]`; "" where the engine doesn't say.
        size: bytes, the engine's own figure.
        created: when it was made, in seconds since 1970; None where the engine doesn't say.
        used: how many containers were made of it, running or not.
    """

    id: Name
    digests: Annotated[list[DigestName], msgspec.Meta(max_length=MOST_NAMES)] = []
    names: Annotated[list[ImageName], msgspec.Meta(max_length=MOST_NAMES)] = []
    platform: Name = ""
    size: Count = 0
    created: Moment | None = None
    used: Count = 0


class Inventory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node has, or what of that has changed.

    Attributes:
        start: of the agent that sends it.
        hash: that of the whole, once this message and all others of its parts have been taken.
        base: that of the whole which this is a change of; "" where this is all that there is.
        images: all of them, or those that are new or have changed.
        gone: the ids of those that are no more; of a whole inventory none.
        part, parts: the how manieth message of a whole inventory it is, from 0, and of how many.
    """

    start: StartId
    hash: Name
    base: Name = ""
    images: Annotated[list[ImageHeld], msgspec.Meta(max_length=MOST_IN_PART)] = []
    gone: Annotated[list[Name], msgspec.Meta(max_length=MOST_IN_PART)] = []
    part: Annotated[int, msgspec.Meta(ge=0, lt=MOST_PARTS)] = 0
    parts: Annotated[int, msgspec.Meta(ge=1, le=MOST_PARTS)] = 1


def hash_of(images: Iterable[ImageHeld]) -> str:
    """Return the hash of a whole inventory, in whichever order its images come: 32 hex digits."""
    found = hashlib.blake2b(digest_size=16)
    for image in sorted(images, key=lambda each: each.id):
        found.update(msgspec.json.encode(image))
    return found.hexdigest()
