"""Images that are on nodes: what is there, what it takes of the disk, and what goes."""

from __future__ import annotations

import re
from typing import Annotated, Protocol, TypeAlias

from msgspec import Meta

from towline.operation import Capability, Effect, Node, operation
from towline.operations.docker import DOCKER, ImageReference
from towline.operations.image_results import (
    ImageDetails,
    ImageRow,
    ImageRows,
    PruneResult,
    Removed,
    Tagged,
    Usage,
)
from towline.signature import Check, Filled, Flag
from towline.units import parse_duration
from towline.wire.reference import Reference

_WHOLE_ID = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"sha256:[0-9a-f]{12,64}")
"""An id or a digest, whole or as much of it as people are shown. No repository is called so."""

ImageId: TypeAlias = str
"""`sha256:` and 12 to 64 hex digits."""


def parse_image(text: str) -> Reference | ImageId:
    """Read what a person names an image by that is on a node.

        >>> str(parse_image("nginx:1.27"))
        'docker.io/library/nginx:1.27'
        >>> parse_image("sha256:3a93ab12cd34")
        'sha256:3a93ab12cd34'

    Raises:
        InvalidReference: it is neither a reference nor an id.
    """
    if _WHOLE_ID.fullmatch(text):
        return f"sha256:{text}"
    return text if _ID.fullmatch(text) else Reference.parse(text)


def _canonical(image: Reference | ImageId) -> str:
    return image.pulled if isinstance(image, Reference) else image


ImageName = Annotated[
    str,
    Meta(
        min_length=1,
        description="An image that is on the node: a reference ([host[:port]/]path[:tag][@digest]),"
        " or its id or digest, `sha256:` and 12 or more hex digits. In a path `/` is written %2F.",
        examples=["nginx:latest", "sha256:3a93ab12cd34"],
    ),
    Check(parse_image, canonical=_canonical),
]


def _tagged(text: str) -> None:
    if Reference.parse(text).digest is not None:
        raise ValueError(f"{text[:200]!r} has a digest, which is no name to give: write NAME:TAG")


def _protected(texts: list[str]) -> None:
    for text in texts:
        parse_image(text)


KEEP = 3
OLDER_THAN = "1h"
"""What was just pulled may be about to be used; where the engine notes when that was."""
NOTHING: list[str] = []


class Images(Protocol):
    """What the operations here need of a node's Docker Engine."""

    async def rows(self, *, unused: bool) -> list[ImageRow]:
        """Return the images that are there, the newest first.

        Args:
            unused: whether only those of which no container was made.

        Raises:
            TaskFailed: the engine could not be asked.
        """

    async def remove(self, image: Reference | ImageId, *, force: bool) -> Removed:
        """Remove an image, or one of its names, as in `image.remove`.

        Raises:
            TaskFailed: a container uses it, or the engine refused.
        """

    async def details(self, image: Reference | ImageId) -> ImageDetails:
        """Return all that is known of an image.

        Raises:
            TaskFailed: there is none, with status 404; or the engine could not be asked.
        """

    async def usage(self) -> Usage:
        """Return what the engine has on the disk.

        Raises:
            TaskFailed: the engine could not be asked.
        """

    async def tag(self, image: Reference | ImageId, name: Reference) -> Tagged:
        """Give an image one more name.

        Raises:
            TaskFailed: there is none, with status 404; or the engine refused.
        """

    async def prune(
        self,
        *,
        keep: int,
        older_than: float,
        protect: list[Reference | ImageId],
        dry: bool,
    ) -> PruneResult:
        """Remove images that nobody needs; `older_than` in seconds, all else as in `image.prune`.

        Args:
            dry: whether to remove nothing, and return what would go.

        Raises:
            TaskFailed: the engine could not be asked, or did not remove one of them.
        """


class HasImages(Protocol):
    """What brings them: a Docker Engine."""

    @property
    def images(self) -> Images:
        """Its images."""


IMAGES = Capability[HasImages](DOCKER.name)


@operation(
    "image.list.get",
    "GET image",
    permission="docker:read",
    effect=Effect.READ,
    requires=IMAGES,
    command=None,
)
async def list_images(
    node: Node,
    *,
    unused: Annotated[
        bool, Meta(description="Only those of which there is no container, running or not.")
    ] = False,
    limit: Annotated[int, Meta(ge=1, le=500, description="At most so many images.")] = 100,
) -> ImageRows:
    """List the images that are on the target node, as its engine says.

    Example:
        towline image list --live --on web-01
    """
    found = await node.provider(IMAGES).images.rows(unused=unused)
    return ImageRows(found[:limit], truncated=len(found) > limit)


@operation(
    "image.inspect.get",
    "GET image/inspect",
    permission="docker:read",
    effect=Effect.READ,
    requires=IMAGES,
    errors=(404,),
)
async def inspect(node: Node, *, image: ImageName) -> ImageDetails:
    """Show all that is known of an image on the target node.

    Example:
        towline image inspect nginx:1.27 --on web-01
    """
    return await node.provider(IMAGES).images.details(parse_image(image))


@operation(
    "image.usage.get",
    "GET image/usage",
    permission="docker:read",
    effect=Effect.READ,
    requires=IMAGES,
)
async def usage(node: Node) -> Usage:
    """Show what images, containers and build cache take of the disk, and what could be freed.

    Example:
        towline image usage --on group:web
    """
    return await node.provider(IMAGES).images.usage()


@operation(
    "image.tag.execute",
    "POST image/tag",
    permission="docker:write",
    effect=Effect.CONVERGE,
    requires=IMAGES,
    errors=(404,),
)
async def tag(
    node: Node,
    *,
    source: ImageName,
    image: Annotated[ImageReference, Check(_tagged)],
) -> Tagged:
    """Give an image that is on the target node one more name.

    If the name was another image's, it is no more.

    Example:
        towline image tag nginx:1.27 registry.example/web:prod --on group:web
    """
    return await node.provider(IMAGES).images.tag(parse_image(source), Reference.parse(image))


@operation(
    "image.prune.execute",
    "POST image/prune",
    permission="docker:write",
    effect=Effect.ONCE,
    requires=IMAGES,
)
async def prune(
    node: Node,
    *,
    keep: Annotated[
        int, Meta(ge=0, description="How many images of each repository stay, the newest.")
    ] = KEEP,
    older_than: Annotated[
        str,
        Meta(
            description="What was made, or got its last name on the node, later than so long ago "
            "stays. Docker's classic store doesn't note when a pull named an image, and Podman "
            "never: there what was just pulled is as old as it was made.",
            examples=["24h", "30d"],
        ),
        Flag("DURATION"),
        Check(parse_duration),
    ] = OLDER_THAN,
    protect: Annotated[
        list[str],
        Meta(
            description="References, ids or digests of images that stay, beside what sets want.",
            examples=[["nginx:1.27"]],
        ),
        Flag("IMAGE"),
        Check(_protected),
        Filled("wanted"),
    ] = NOTHING,
) -> PruneResult:
    """Remove images that nobody needs from the target node.

    There stays: what containers use, running or not; what a set wants; the newest of each
    repository; what is young. What has lost its name goes by the same rules. A dry run says what
    would go, and what that frees.

    Example:
        towline image prune --keep 2 --older-than 7d --on group:web --dry-run
    """
    return await _prune(node, keep, older_than, protect, dry=False)


@prune.previewed()
async def preview_prune(
    node: Node, *, keep: int, older_than: str, protect: list[str]
) -> PruneResult:
    """Foresee what pruning would remove, and what that frees."""
    return await _prune(node, keep, older_than, protect, dry=True)


async def _prune(
    node: Node, keep: int, older_than: str, protect: list[str], *, dry: bool
) -> PruneResult:
    return await node.provider(IMAGES).images.prune(
        keep=keep,
        older_than=parse_duration(older_than),
        protect=[parse_image(each) for each in protect],
        dry=dry,
    )


@operation(
    "image.remove.execute",
    "DELETE container/docker/image/{image}",
    permission="docker:write",
    effect=Effect.ONCE,
    requires=IMAGES,
)
async def remove(
    node: Node,
    *,
    image: ImageName,
    force: Annotated[
        bool,
        Meta(
            description="Also where the image has further names: all of those that are meant go. "
            "What a container uses, running or not, stays in any case."
        ),
    ] = False,
) -> Removed:
    """Remove an image from the target node, or one of its names.

    A tag is taken from the image; with its last one the image goes. A digest means all that the
    repository has of that image, an id the whole image with all its names: where that takes more
    than one name, only with force. An image that isn't there is no error. No tag goes by which a
    container was started, and no image of which there is one, running or not.

    Example:
        towline image remove nginx:1.26 --on group:web
    """
    return await node.provider(IMAGES).images.remove(parse_image(image), force=force)
