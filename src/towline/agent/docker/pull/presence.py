"""What an engine has of an image, and for which platform."""

from __future__ import annotations

import contextlib

from towline.agent.docker.answers import Image
from towline.agent.docker.pull.order import Order
from towline.operations.docker import Pulled
from towline.wire.platform import Platform
from towline.wire.reference import InvalidReference, Reference


def is_for(image: Image, platform: Platform | None) -> bool:
    """Return whether an image that is there is for a platform, as far as is known.

    Args:
        platform: None where the engine doesn't say what its own is: then any will do.
    """
    if platform is None:
        return True
    if image.manifests is None:
        return image.platform == platform
    return any(each.available and each.platform == platform for each in image.manifests)


def is_what_a_pull_brings(image: Image, digest: str, platform: Platform | None) -> bool:
    """Return whether what is there of a digest is for sure what a pull of it would bring.

    Where several images of an index are for one architecture the engine chooses among them, by
    rules of its own: then it isn't sure.
    """
    if platform is None:
        return False
    if image.manifests is None:
        # The classic store and Podman: an id is that of the configuration, and what they have is
        # whole. A containerd store that doesn't list manifests may have a part of it.
        return image.id != digest and image.platform == platform
    alike = [each for each in image.manifests if _alike(each.platform, platform)]
    return len(alike) == 1 and alike[0].available and alike[0].platform == platform


def could_be_for(image: Image, platform: Platform) -> bool:
    """Return whether an image may be what a pull for a platform has brought.

    Variants are the engine's affair: asked for one it may bring another that runs there as well.
    """
    if image.manifests is not None:
        return any(each.available and _alike(each.platform, platform) for each in image.manifests)
    # A containerd store that doesn't list manifests shows one of the images that it has.
    shows_one = any(name.endswith(f"@{image.id}") for name in image.repo_digests or ())
    return shows_one or not image.architecture or _alike(image.platform, platform)


def digests(image: Image, reference: Reference) -> set[str]:
    """Return the digests by which an image of a reference's repository is known."""
    found = set()
    for known in image.repo_digests or ():
        name, _, value = known.partition("@")
        # What has lost its name is called "<none>" by some engines.
        with contextlib.suppress(InvalidReference):
            if Reference.parse(name).repository == reference.repository:
                found.add(value)
    return found


def digest(image: Image, reference: Reference) -> str | None:
    """Return the digest that the registry served for an image; None where there are several.

    Podman has that of the index and that of the manifest, and doesn't say which is which.
    """
    if reference.digest is not None:
        return reference.digest
    found = digests(image, reference)
    return found.pop() if len(found) == 1 else None


def pulled(order: Order, image: Image, *, changed: bool, digest: str | None) -> Pulled:
    """Return what a pull has as its result when this image is there."""
    return Pulled(image.id, image.size, changed, order.reference.tag, digest)


def _alike(one: Platform | None, other: Platform) -> bool:
    return one is not None and (one.os, one.architecture) == (other.os, other.architecture)
