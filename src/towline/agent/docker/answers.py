"""What a Docker Engine answers, as far as it is used here. Pure data; the rest is left unread."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from towline.wire.platform import Platform

Digest = Annotated[str, Meta(pattern="^[a-z0-9]+:[0-9a-f]{32,}$")]
Seconds = Annotated[int, Meta(ge=0, le=253402300799)]
"""Seconds since 1970, until the last year that can be written (9999)."""


class Version(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /version`."""

    api_version: Annotated[str, Meta(pattern=r"^\d+\.\d+$")]
    version: str
    os: str = ""
    arch: str = ""

    @property
    def platform(self) -> Platform | None:
        """What it pulls images for unless asked otherwise; None where it doesn't say.

        Of 32-bit ARM it doesn't: there the variant decides, and that isn't among its answers.
        """
        if not self.os or self.arch in ("", "arm"):
            return None
        return Platform.of(self.os, self.arch)


class Containerd(msgspec.Struct, frozen=True, rename="pascal"):
    """The containerd of an engine.

    Attributes:
        address: the path of its socket.
    """

    address: str = ""


class Info(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /info`.

    Attributes:
        driver_status: pairs of a name and a value, about what stores images.
    """

    docker_root_dir: str = ""
    driver_status: list[list[str]] | None = None
    containerd: Containerd | None = None

    @property
    def driver(self) -> dict[str, str]:
        """What is said about what stores images, by name."""
        return {pair[0]: pair[1] for pair in self.driver_status or () if len(pair) == 2}


class ManifestPlatform(msgspec.Struct, frozen=True):
    """What a manifest's image is for."""

    os: str = ""
    architecture: str = ""
    variant: str = ""


class ImageData(msgspec.Struct, frozen=True, rename="pascal"):
    """What is said of a manifest that is an image's."""

    platform: ManifestPlatform = ManifestPlatform()


class Manifest(msgspec.Struct, frozen=True, rename="pascal"):
    """A manifest of an image, as engines since 28.0 with the containerd image store list them.

    Attributes:
        id: its digest.
        available: whether all that it names is there.
        image_data: None where it is no image's: an attestation's, for one.
    """

    id: str = msgspec.field(default="", name="ID")
    available: bool = False
    image_data: ImageData | None = None

    @property
    def platform(self) -> Platform | None:
        """What its image is for; None where it is no image's."""
        if self.image_data is None:
            return None
        found = self.image_data.platform
        return Platform.of(found.os, found.architecture, found.variant)


class Image(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /images/{name}/json`.

    Attributes:
        id: the engine's id, `sha256:…`.
        size: bytes, the engine's own figure.
        repo_tags, repo_digests: its names, `repository:tag` and `repository@digest`.
        manifests: what images of it there are, for whichever platform, and what of them is there;
            None where the engine doesn't say.
    """

    id: str
    size: int
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    os: str = ""
    architecture: str = ""
    variant: str = ""
    manifests: list[Manifest] | None = None

    @property
    def tags(self) -> list[str]:
        """Its names with a tag, and those by its digest that engines show among these."""
        return self.repo_tags or []

    @property
    def platform(self) -> Platform:
        """What it is for; of several images the one that the engine prefers."""
        return Platform.of(self.os, self.architecture, self.variant)

    @property
    def content(self) -> tuple[str, Platform, frozenset[str]]:
        """What of it is there: an engine's id may be that of images for all platforms together."""
        there = frozenset(each.id for each in self.manifests or () if each.available)
        return self.id, self.platform, there


class ListedImage(msgspec.Struct, frozen=True, rename="pascal"):
    """One of `GET /images/json`.

    Attributes:
        id: the engine's id, `sha256:…`; some leave out what the hex digits are of.
        repo_tags, repo_digests: as of an `Image`; of what has lost its name some engines say
            `<none>:<none>`.
        size: bytes, the engine's own figure.
        created: seconds since 1970.
        manifests: as of an `Image`, from API version 1.47 on.
        shared_size: bytes of it that other images have as well; -1 where that wasn't asked for, and
            from engines that don't reckon it.
    """

    id: str
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    size: int | None = None
    created: float | None = None
    manifests: list[Manifest] | None = None
    shared_size: int = -1


class Descriptor(msgspec.Struct, frozen=True):
    """What a tag is at its registry."""

    digest: Digest


class Distribution(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /distribution/{name}/json`."""

    descriptor: Descriptor


class Container(msgspec.Struct, frozen=True, rename="pascal"):
    """One of `GET /containers/json`.

    Attributes:
        names: each with a slash before it.
        created: seconds since 1970.
    """

    id: str
    image: str
    state: str
    created: Seconds
    names: list[str] | None = None


class ImageUser(msgspec.Struct, frozen=True, rename={"image": "ImageID"}):
    """One of `GET /containers/json`, as far as it uses an image.

    Attributes:
        image: the id of the image that it was made of.
    """

    image: str


class Happening(msgspec.Struct, frozen=True, rename="pascal"):
    """One of `GET /events`.

    Attributes:
        type: what it is about: `image`, `container`; "" where the engine doesn't say.
        action: what happened to it: `pull`, `create`.
    """

    type: str = ""
    action: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """The body of an answer with an HTTP status of 400 and above."""

    message: str
