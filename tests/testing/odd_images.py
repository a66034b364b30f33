"""Images that some engines can't store, put into a registry byte by byte."""

import gzip
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from tests.testing.registry import (
    CONFIG,
    HOST_ARCHITECTURE,
    LAYER,
    MANIFEST,
    Registry,
    archive_of,
    descriptor_of,
    digest_of,
    json_of,
    random_layer,
)

SIZE = 256 << 10
"""Bytes of the one layer that most of them have."""

PLUGIN = "application/vnd.docker.plugin.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Blob:
    """A layer as the registry has it.

    Attributes:
        diff_id: the digest that the image's configuration gives for its archive.
    """

    content: bytes
    diff_id: str
    media: str = LAYER


def random_archive(seed: str, size: int = SIZE) -> bytes:
    """Return the archive of one incompressible file."""
    return archive_of(random_layer(seed, size))


def gzipped(archive: bytes) -> Blob:
    """Return a layer as it should be."""
    return Blob(gzip.compress(archive, 1, mtime=0), digest_of(archive))


def zstd(archive: bytes) -> Blob:
    """Return a layer in a frame of Zstandard whose blocks aren't compressed (RFC 8878, 3.1.1)."""
    most = 128 << 10
    frame = bytearray(b"\x28\xb5\x2f\xfd\xe0" + len(archive).to_bytes(8, "little"))
    for begin in range(0, len(archive), most):
        block = archive[begin : begin + most]
        last = begin + most >= len(archive)
        frame += (len(block) << 3 | last).to_bytes(3, "little") + block
    return Blob(bytes(frame), digest_of(archive), f"{OCI_LAYER}+zstd")


def entry(name: str, **attributes: int | str | bytes) -> bytes:
    """Return the archive of one entry with such attributes of `tarfile.TarInfo`."""
    made = tarfile.TarInfo(name)
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(made)
    return buffer.getvalue()


@dataclass(frozen=True)
class OddImage:
    """An image as the registry has it.

    Attributes:
        name: `repository:tag`.
        size: bytes of all its blobs.
    """

    name: str
    size: int


def push(
    registry: Registry,
    repository: str,
    layers: Sequence[Blob],
    *,
    system: str = "linux",
    config_media: str = CONFIG,
    media: str = MANIFEST,
    tag: str = "1.0",
) -> OddImage:
    """Put an image into the registry."""
    configuration = json_of(
        {
            "architecture": HOST_ARCHITECTURE,
            "os": system,
            "created": "2024-01-01T00:00:00Z",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created_by": "towline tests"} for _ in layers],
        }
    )
    blobs = [configuration, *(layer.content for layer in layers)]
    for blob in blobs:
        registry.push_blob(repository, blob)
    manifest = json_of(
        {
            "schemaVersion": 2,
            "mediaType": media,
            "config": descriptor_of(config_media, configuration),
            "layers": [descriptor_of(layer.media, layer.content) for layer in layers],
        }
    )
    registry.push_manifest(repository, tag, media, manifest)
    return OddImage(f"{repository}:{tag}", sum(len(blob) for blob in blobs))
