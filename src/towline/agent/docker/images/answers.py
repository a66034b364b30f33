"""What an engine answers about its images as a whole. Pure data; the rest is left unread."""

from __future__ import annotations

import msgspec


class MadeOfImage(msgspec.Struct, frozen=True, rename={"image_id": "ImageID"}):
    """One of `GET /containers/json`, as far as it uses an image.

    Attributes:
        image_id: of the image that it was made of.
        image: what it was made by, as long as that names this image; an id afterwards.
        names: each with a slash before it.
    """

    id: str = msgspec.field(name="Id")
    image_id: str
    image: str = msgspec.field(name="Image", default="")
    names: list[str] | None = msgspec.field(name="Names", default=None)

    @property
    def name(self) -> str:
        """What people call it."""
        return (self.names or [""])[0].removeprefix("/") or self.id[:12]


class CreatedBy(msgspec.Struct, frozen=True, rename="pascal"):
    """What a container was created with.

    Attributes:
        image: the name or id that was written; it stays, whatever that names by now.
    """

    image: str = ""


class InspectedContainer(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /containers/{id}/json`, as far as it says what the container was created with."""

    config: CreatedBy | None = None


class RootFs(msgspec.Struct, frozen=True, rename="pascal"):
    """What an image's file system is made of.

    Attributes:
        layers: the digests of its layers as they are unpacked, the lowest first.
    """

    layers: list[str] | None = None


class Metadata(msgspec.Struct, frozen=True, rename="pascal"):
    """What an engine has noted down about an image.

    Attributes:
        last_tag_time: when it was given a name last, as RFC 3339; of the year 1 for never.
    """

    last_tag_time: str | None = None


class Configuration(msgspec.Struct, frozen=True, rename="pascal"):
    """What containers of an image are made with."""

    user: str = ""
    working_dir: str = ""
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    labels: dict[str, str] | None = None
    exposed_ports: dict[str, object] | None = None


class Inspected(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /images/{name}/json`, as far as it says what an image is made of."""

    id: str
    root_fs: RootFs = msgspec.field(name="RootFS", default_factory=RootFs)
    metadata: Metadata | None = None
    config: Configuration | None = None


class HistoryEntry(msgspec.Struct, frozen=True, rename="pascal"):
    """One of `GET /images/{name}/history`, the newest first.

    Attributes:
        created_by: what made it, as the builder wrote it.
        size: bytes of the layer; 0 where it made none.
    """

    created_by: str = ""
    size: int = 0


class ContainerSize(msgspec.Struct, frozen=True, rename="pascal"):
    """A container in `GET /system/df`.

    Attributes:
        state: `running` and the like.
        size_rw: bytes that it has written itself; absent for none.
    """

    state: str = ""
    size_rw: int = 0


class CacheRecord(msgspec.Struct, frozen=True, rename="pascal"):
    """What a build has left, in `GET /system/df`.

    Attributes:
        in_use: whether a build uses it now.
        shared: whether others have it as well: then it doesn't count.
    """

    size: int = 0
    in_use: bool = False
    shared: bool = False


class DiskUsage(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /system/df`.

    Attributes:
        layers_size: bytes of all layers of images, each once; 0 from engines that don't say it.
    """

    layers_size: int = 0
    containers: list[ContainerSize] | None = None
    build_cache: list[CacheRecord] | None = None
