"""Images that can't be stored: what each engine says of them, and how much of them it costs.

What is hopeless costs one image at most, a damaged one two: bytes are counted at the registry.
"""

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.testing import odd_images as odd
from tests.testing.engine_api import EngineApi
from tests.testing.odd_images import Blob, OddImage, entry, gzipped, push, random_archive, zstd
from tests.testing.proxy import Answer, FaultyProxy
from tests.testing.registry import Registry, digest_of, random_layer
from tests.testing.trial import pull

CLASSIC, CONTAINERD, PODMAN = "classic", "containerd", "podman"
NEITHER_DIGEST = f"sha256:{'5' * 64}"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

UNPACK = "A layer that this engine can't unpack"
DAMAGED = "A layer that is no whole archive"
WRONG = "Put together wrongly"
NO_IMAGE = "No container image"


def zstandard(registry: Registry, name: str) -> OddImage:
    layer = zstd(random_archive(name))
    return push(registry, name, [layer], media=odd.OCI_MANIFEST, config_media=odd.OCI_CONFIG)


def zstandard_by_another_name(registry: Registry, name: str) -> OddImage:
    layer = zstd(random_archive(name))
    media = "application/vnd.docker.image.rootfs.diff.tar.zstd"
    return push(registry, name, [Blob(layer.content, layer.diff_id, media)])


def many_layers(registry: Registry, name: str) -> OddImage:
    return push(registry, name, [gzipped(random_archive(f"{name}-{n}", 2048)) for n in range(128)])


def wrong_diff_ids(registry: Registry, name: str) -> OddImage:
    layer = gzipped(random_archive(name))
    return push(registry, name, [Blob(layer.content, NEITHER_DIGEST)])


def a_plugin(registry: Registry, name: str) -> OddImage:
    return push(registry, name, [gzipped(random_archive(name))], config_media=odd.PLUGIN)


def a_chart(registry: Registry, name: str) -> OddImage:
    media = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    layer = Blob(gzipped(random_archive(name)).content, NEITHER_DIGEST, media)
    config = "application/vnd.cncf.helm.config.v1+json"
    return push(registry, name, [layer], media=odd.OCI_MANIFEST, config_media=config)


def windows(registry: Registry, name: str) -> OddImage:
    return push(registry, name, [gzipped(random_archive(name))], system="windows")


def a_truncated_gzip(registry: Registry, name: str) -> OddImage:
    layer = gzipped(random_archive(name))
    return push(registry, name, [Blob(layer.content[: odd.SIZE // 2], layer.diff_id)])


def a_truncated_archive(registry: Registry, name: str) -> OddImage:
    return push(registry, name, [gzipped(random_archive(name)[: odd.SIZE // 2])])


def a_wrong_checksum(registry: Registry, name: str) -> OddImage:
    archive = random_archive(name)
    content = bytearray(gzip.compress(archive, 1, mtime=0))
    content[len(content) // 2] ^= 0xFF
    return push(registry, name, [Blob(bytes(content), digest_of(archive))])


def noise(registry: Registry, name: str) -> OddImage:
    return push(registry, name, [gzipped(os.urandom(odd.SIZE))])


def a_link_to_nowhere(registry: Registry, name: str) -> OddImage:
    return push(registry, name, [gzipped(entry("data", type=b"1", linkname="nowhere"))])


def changed_at_the_registry(registry: Registry, name: str) -> OddImage:
    image = registry.push_image(name, "1.0", [random_layer(name, odd.SIZE)])
    size = registry.blob_path(image.layer_digests[0]).stat().st_size
    registry.corrupt_blob(image.layer_digests[0])
    return OddImage(f"{name}:1.0", size + registry.blob_path(image.config_digest).stat().st_size)


def another_platform(registry: Registry, name: str) -> OddImage:
    image = registry.push_image(name, "other", architecture="s390x")
    registry.push_index(name, "1.0", [image])
    return OddImage(f"{name}:1.0", 0)


@dataclass(frozen=True)
class Case:
    """An image that some engines can't store.

    Attributes:
        rows: by engine, the row of the table that its words are in. An engine that isn't named has
            no part in it: it takes such an image, or isn't asked.
        attempts: how many it takes until the pull is given up.
        costs: how many times the image is fetched, at most.
    """

    made: Callable[[Registry, str], OddImage]
    rows: dict[str, str]
    attempts: int = 1
    costs: int = 1
    attempts_at: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.made.__name__


def everywhere(row: str) -> dict[str, str]:
    return dict.fromkeys((CLASSIC, CONTAINERD, PODMAN), row)


CASES = [
    Case(zstandard, {CLASSIC: UNPACK}),
    Case(zstandard_by_another_name, everywhere(UNPACK)),
    Case(many_layers, {CLASSIC: "Too many layers"}),
    Case(wrong_diff_ids, {CLASSIC: WRONG, CONTAINERD: WRONG}),
    # Of the plugin Engine 29 fetches but the configuration: three of these are less than one image.
    Case(
        a_plugin,
        {CLASSIC: "A plugin, and no image", CONTAINERD: "A plugin, or a prune under the pull"},
        attempts_at={CONTAINERD: 3},
    ),
    Case(a_chart, everywhere(NO_IMAGE)),
    Case(windows, {CLASSIC: "For another operating system"}),
    Case(a_truncated_gzip, everywhere(DAMAGED), attempts=2, costs=2),
    Case(a_truncated_archive, everywhere(DAMAGED), attempts=2, costs=2),
    Case(a_wrong_checksum, everywhere(DAMAGED), attempts=2, costs=2),
    Case(noise, {CLASSIC: UNPACK}),
    Case(noise, {CONTAINERD: DAMAGED, PODMAN: DAMAGED}, attempts=2, costs=2),
    Case(a_link_to_nowhere, everywhere(DAMAGED), attempts=2, costs=2),
    Case(changed_at_the_registry, everywhere("Not what its digest says"), attempts=2, costs=2),
    Case(another_platform, everywhere("Not for this platform"), costs=0),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_an_image_that_can_not_be_stored_costs_no_more_than_it_must(
    case: Case, which: str, daemon: EngineApi, registry: Registry, between: FaultyProxy
) -> None:
    if which not in case.rows:
        pytest.skip("this engine takes such an image, or says the same as another one")
    image = case.made(registry, f"odd/{case}-{which}".replace("_", "-"))
    between.requests.clear()
    trial = await pull(daemon, f"{between.host}/{image.name}")
    attempts = case.attempts_at.get(which, case.attempts)
    assert trial.told == [case.rows[which]] * attempts, trial.error
    # Whole images: on a busy machine an engine asks again for the rest of what was broken off.
    assert between.served // max(image.size, 1) <= case.costs, between.requests


async def test_an_image_of_the_oldest_form_costs_nothing_where_it_is_not_read(
    which: str, daemon: EngineApi, registry: Registry, between: FaultyProxy
) -> None:
    if which != CONTAINERD:
        pytest.skip("this engine reads schema 1 yet")
    image = push(registry, "odd/schema-1", [gzipped(random_archive("schema 1"))])
    manifest = {"schemaVersion": 1, "name": "odd/schema-1", "tag": "1.0", "fsLayers": []}
    between.fault = Answer(
        match="/manifests/", status=200, body=json.dumps(manifest).encode(), content_type=SCHEMA_1
    )
    trial = await pull(daemon, f"{between.host}/{image.name}")
    assert trial.told == ["An image of an old form"]
    assert between.served == 0
