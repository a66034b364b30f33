"""Which images of a node may go. Pure: the same rule for what is foreseen and for what is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from towline.operations.image import ImageId
from towline.operations.image_results import Kept
from towline.wire.reference import Reference


class Candidate(msgspec.Struct, frozen=True):
    """An image, as far as it counts for whether it may go.

    Attributes:
        names, digests: `DOMAIN/PATH:TAG` and `DOMAIN/PATH@sha256:…`, in full.
        created: when it was made, in seconds since 1970.
        since: when it was made, or got a name on this node, whichever was later.
        used: whether there is a container of it, running or not, or one that was started by a name
            that it has by now.
    """

    id: str
    names: Collection[str] = ()
    digests: Collection[str] = ()
    created: float = 0.0
    since: float = 0.0
    used: bool = False


class Rules(msgspec.Struct, frozen=True):
    """What stays, beside what containers use.

    Attributes:
        keep: so many of each repository, the newest.
        older_than: seconds: what is younger stays.
        protected: references and ids that stay, and what has them.
    """

    keep: int = 0
    older_than: float = 0.0
    protected: tuple[Reference | ImageId, ...] = ()


def choose(images: Iterable[Candidate], rules: Rules, now: float) -> tuple[list[Candidate], Kept]:
    """Return the images that may go, the oldest first, and how many stay for which reason.

    Args:
        now: seconds since 1970.
    """
    found = sorted(images, key=_age)
    newest = _newest(found, rules.keep)
    going: list[Candidate] = []
    reasons = {"used": 0, "wanted": 0, "newest": 0, "young": 0}
    for image in found:
        if image.used:
            reasons["used"] += 1
        elif any(_means(each, image) for each in rules.protected):
            reasons["wanted"] += 1
        elif image.id in newest:
            reasons["newest"] += 1
        elif now - image.since < rules.older_than:
            reasons["young"] += 1
        else:
            going.append(image)
    return going, Kept(**reasons)


def _age(image: Candidate) -> tuple[float, float, str]:
    return image.created, image.since, image.id


def _newest(images: list[Candidate], keep: int) -> set[str]:
    """Return the ids of the newest images of each repository.

    Args:
        images: the oldest first.
    """
    if keep == 0:
        return set()
    repositories: dict[str, list[str]] = {}
    for image in images:
        for name in {_repository(each) for each in (*image.names, *image.digests)}:
            repositories.setdefault(name, []).append(image.id)
    return {id for ids in repositories.values() for id in ids[-keep:]}


def _means(meant: Reference | ImageId, image: Candidate) -> bool:
    """Return whether a reference, or the beginning of an id or a digest, means an image."""
    if not isinstance(meant, Reference):
        known = (image.id, *(each.partition("@")[2] for each in image.digests))
        return any(each.startswith(meant) for each in known)
    # What has lost its name is known by its digest as its id alone, where engines have it so.
    return meant.pulled in (*image.names, *image.digests) or meant.digest == image.id


def _repository(name: str) -> str:
    """Return the repository of a name in full, which has a tag or a digest."""
    before, at, _ = name.partition("@")
    return before if at else before.rpartition(":")[0]
