"""What operations on the images of a node return."""

from __future__ import annotations

from typing import Annotated

import msgspec

from towline.signature.shown import BYTES, IMAGE, MORE, SUM


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


class ImageDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is known of an image on the node.

    Attributes:
        id: the engine's, `sha256:…`.
        size: bytes, the engine's own figure; what it shares with others is in it.
        names, digests, platform, created: as of a row of `image.list`.
        containers: those that were made of it, running or not, by name.
        layers: the digests of its layers as they are unpacked, the lowest first.
        entrypoint, command, user, working_dir, ports, labels: what containers are made with.
    """

    id: str
    size: Annotated[int, BYTES]
    names: Annotated[list[str], IMAGE] = []
    digests: Annotated[list[str], IMAGE] = []
    platform: str | None = None
    created: str | None = None
    containers: list[str] = []
    layers: list[str] = []
    entrypoint: list[str] = []
    command: list[str] = []
    user: str | None = None
    working_dir: str | None = None
    ports: list[str] = []
    labels: dict[str, str] = {}


class DiskShare(msgspec.Struct, frozen=True):
    """What one kind of thing takes of the disk.

    Attributes:
        what: `images`, with their layers each once; `containers`, what they have written; `build
            cache`.
        count: how many there are.
        used: how many of them are in use: images that have a container, containers that run.
        size: bytes.
        reclaimable: bytes that would become free with those that are not in use.
    """

    what: str
    count: int
    used: int
    size: Annotated[int, BYTES]
    reclaimable: Annotated[int, BYTES]


class Usage(msgspec.Struct, frozen=True):
    """What the engine has on the disk.

    Attributes:
        size, reclaimable: bytes, of all together.
    """

    disk: list[DiskShare]
    size: Annotated[int, BYTES, SUM]
    reclaimable: Annotated[int, BYTES, SUM]
    changed: bool = False


class Tagged(msgspec.Struct, frozen=True):
    """An image that has a name.

    Attributes:
        id: the engine's, of the image.
        changed: whether the name is new, or was another image's.
    """

    id: str
    changed: bool


class Pruned(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image that went, or would.

    Attributes:
        frees: bytes that become free with it, after those before it in the list.
        names, digests, created: as of a row of `image.list`.
    """

    id: str
    frees: Annotated[int, BYTES]
    names: Annotated[list[str], IMAGE] = []
    digests: Annotated[list[str], IMAGE] = []
    created: str | None = None


class Kept(msgspec.Struct, frozen=True):
    """How many images stay, by the first reason that there is.

    Attributes:
        used: there is a container of it, running or not.
        wanted: a set wants it, or `protect` names it.
        newest: it is one of the newest of a repository.
        young: it is younger than `older_than`.
    """

    used: int = 0
    wanted: int = 0
    newest: int = 0
    young: int = 0


class PruneResult(msgspec.Struct, frozen=True):
    """What pruning came to, or would.

    Attributes:
        freed: bytes, of all images that went together, each layer once: at least so much.
        count: how many went.
        images: those, the oldest first; at most 300 are listed.
        kept: how many stay, and why.
        truncated: whether more went than are listed.
    """

    freed: Annotated[int, BYTES, SUM]
    count: int
    images: list[Pruned]
    kept: Kept
    changed: bool
    truncated: Annotated[bool, MORE] = False
