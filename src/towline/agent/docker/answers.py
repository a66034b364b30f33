"""What a Docker Engine answers, as far as it is used here. Pure data; the rest is left unread."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Digest = Annotated[str, Meta(pattern="^[a-z0-9]+:[0-9a-f]{32,}$")]
Seconds = Annotated[int, Meta(ge=0, le=253402300799)]
"""Seconds since 1970, until the last year that can be written (9999)."""


class Version(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /version`."""

    api_version: Annotated[str, Meta(pattern=r"^\d+\.\d+$")]
    version: str


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


class Manifest(msgspec.Struct, frozen=True, rename="pascal"):
    """A manifest of an image, as engines since 28.0 with the containerd image store list them.

    Attributes:
        available: whether all that it names is there.
    """

    available: bool = False


class Image(msgspec.Struct, frozen=True, rename="pascal"):
    """`GET /images/{name}/json`.

    Attributes:
        id: the engine's id, `sha256:…`.
        size: bytes, the engine's own figure.
        repo_tags, repo_digests: its names, `repository:tag` and `repository@digest`.
        manifests: only where they are asked for, and the engine can say.
    """

    id: str
    size: int
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    manifests: list[Manifest] | None = None

    @property
    def tags(self) -> list[str]:
        """Its names with a tag, and those by its digest that engines show among these."""
        return self.repo_tags or []


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


class Refusal(msgspec.Struct, frozen=True):
    """The body of an answer with an HTTP status of 400 and above."""

    message: str
