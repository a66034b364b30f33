"""Images that are on nodes: what is there, what it takes of the disk, and what goes."""

from __future__ import annotations

import re
from typing import Annotated, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from towline.operation import Capability, Effect, Node, operation
from towline.operations.docker import DOCKER
from towline.signature import Check
from towline.signature.shown import BYTES, IMAGE, MORE
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


class ImageRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image that is on the node.

    Attributes:
        id: the engine's, `sha256:…`.
        size: bytes, the engine's own figure; what it shares with others is in it.
        used: how many containers were made of it, running or not.
        names: with a tag, in full.
        digests: what registries know it by, `DOMAIN/PATH@sha256:…` in full.
        platform: what it is for, where the engine lists that.
        created: when it was made; absent where that isn't known.
    """

    id: str
    size: Annotated[int, BYTES]
    used: int
    names: Annotated[list[str], IMAGE] = []
    digests: Annotated[list[str], IMAGE] = []
    platform: str | None = None
    created: str | None = None


class ImageRows(msgspec.Struct, frozen=True):
    """The images of a node, the newest first.

    Attributes:
        truncated: whether the node has more than `limit` of them.
    """

    images: list[ImageRow]
    changed: bool = False
    truncated: Annotated[bool, MORE] = False


class Removed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an image that was to be removed.

    Attributes:
        message: what was taken from it, in words.
        changed: whether anything was.
        id: the engine's, of the image that it is about; absent where there was none.
    """

    message: str
    changed: bool
    id: str | None = None


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
