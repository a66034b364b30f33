"""Pruning engines of each kind: what goes, and that what it says to free is what becomes free."""

from typing import Any

import pytest

from tests.testing.engine_api import EngineApi
from tests.testing.podman import Podman
from tests.testing.registry import PushedImage, Registry, random_layer
from towline.agent.docker.images.node_images import NodeImages
from towline.errors import TaskFailed
from towline.operations.image import parse_image
from towline.operations.image_results import PruneResult


@pytest.fixture
def others(daemon: EngineApi) -> list[str]:
    """The ids of images that other tests have left: they stay."""
    return [found["Id"] for found in daemon.images()]


def pushed(
    daemon: EngineApi, registry: Registry, repository: str, tag: str, *layers: str, size: int = 9000
) -> PushedImage:
    """Let the engine have an image of layers by their names, each of another size."""
    made = [random_layer(f"{repository[-12:]} {each}", size + 1000 * len(each)) for each in layers]
    image = registry.push_image(repository, tag, made)
    daemon.pull(image.reference)
    return image


async def prune(images: NodeImages, others: list[str], **asked: Any) -> PruneResult:
    """Prune, what other tests have left aside; first as a dry run, which says the same."""
    rules = {"keep": 0, "older_than": 0.0, **asked}
    protect = [parse_image(each) for each in (*others, *rules.pop("protect", ()))]
    foreseen = await images.prune(**rules, protect=protect, dry=True)
    again = await images.prune(**rules, protect=protect, dry=True)
    assert foreseen == again
    done = await images.prune(**rules, protect=protect, dry=False)
    assert done == foreseen
    return done


def layers_size(daemon: EngineApi) -> int:
    """Return how many bytes all layers have, by the engine's own figure."""
    return int(daemon.disk_usage().get("LayersSize", 0))


async def test_what_it_frees_is_what_no_image_has_that_stays(
    images: NodeImages, daemon: EngineApi, registry: Registry, repository: str, others: list[str]
) -> None:
    a = pushed(daemon, registry, f"{repository}/a", "1", "base", "middle", "of a")
    b = pushed(daemon, registry, f"{repository}/b", "1", "base", "middle", "of b too")
    c = pushed(daemon, registry, f"{repository}/c", "1", "base", "of c alone")
    for number, protect in enumerate(([b, c], [c], [])):
        before = layers_size(daemon)
        done = await prune(images, others, protect=[each.reference for each in protect])
        assert [row.names for row in done.images] == [[(a, b, c)[number].reference]]
        assert (done.count, done.changed) == (1, True)
        assert done.freed == sum(row.frees for row in done.images)
        if not isinstance(daemon, Podman):
            assert done.freed == before - layers_size(daemon) > 0
        assert done.kept.wanted >= len(protect)
    for number, name in enumerate(("x", "y", "z")):
        pushed(daemon, registry, f"{repository}/{name}", "1", "base", "middle", "m" * number)
    before = layers_size(daemon)
    done = await prune(images, others)
    assert done.count == 3
    if not isinstance(daemon, Podman):
        assert done.freed == before - layers_size(daemon) > 0


async def test_what_containers_use_and_the_newest_and_the_young_stay(
    images: NodeImages, daemon: EngineApi, registry: Registry, repository: str, others: list[str]
) -> None:
    old, used, new = (
        pushed(daemon, registry, repository, str(number), str(number)) for number in range(3)
    )
    for image in (old, used, new):
        # Of what was made at the same moment that is the newer which got its last name later. The
        # classic store says it only of names that were given here, Podman of none.
        daemon.tag(image.reference, registry.reference(repository), f"{image.reference[-1]}-too")
    young = await prune(images, others, older_than=3600.0, keep=3)
    assert (young.count, young.kept.newest, young.freed) == (0, 3, 0)
    with daemon.containers(used.reference, 1):
        if not isinstance(daemon, Podman):
            young = await prune(images, others, older_than=3600.0)
            assert (young.count, young.kept.young, young.freed) == (0, 2, 0)
            done = await prune(images, others, keep=1)
            assert (done.count, done.kept.newest) == (1, 1)
            assert old.reference in done.images[0].names
            assert daemon.image(new.reference) is not None
        done = await prune(images, others)
        assert (done.count, done.kept.used) == (2 if isinstance(daemon, Podman) else 1, 1)
    assert daemon.image(used.reference) is not None


async def test_what_has_lost_its_name_goes_by_the_same_rules(
    images: NodeImages, daemon: EngineApi, registry: Registry, repository: str, others: list[str]
) -> None:
    before = pushed(daemon, registry, repository, "1", "first")
    id = str(daemon.image_id(before.reference))
    daemon.tag(before.reference, registry.reference(f"{repository}/again"), "1")
    pushed(daemon, registry, repository, "1", "second")
    assert (await prune(images, others, protect=[before.reference, id])).count == 0
    done = await prune(images, others, protect=[before.reference])
    assert [row.id for row in done.images] == [id]
    assert daemon.image(id) is None
    assert daemon.image(before.reference) is not None


async def test_usage_is_what_the_engine_has_and_what_pruning_all_would_free(
    images: NodeImages, daemon: EngineApi, registry: Registry, repository: str, others: list[str]
) -> None:
    used = pushed(daemon, registry, f"{repository}/a", "1", "base", "of a")
    pushed(daemon, registry, f"{repository}/b", "1", "base", "of b too")
    with daemon.containers(used.reference, 1):
        found = (await images.usage()).disk
        everything = await images.prune(keep=0, older_than=0.0, protect=[], dry=True)
        assert [share.what for share in found] == ["images", "containers", "build cache"]
        assert (found[0].count, found[0].reclaimable) == (len(daemon.images()), everything.freed)
        assert found[0].used >= 1
        assert found[0].size >= found[0].reclaimable > 0
        if not isinstance(daemon, Podman):
            assert found[0].size == layers_size(daemon)
        assert found[1].count >= 1


async def test_an_image_gets_one_more_name_and_is_shown_with_it(
    images: NodeImages, daemon: EngineApi, registry: Registry, repository: str, other: str
) -> None:
    image = pushed(daemon, registry, repository, "1", "one")
    name = parse_image(f"{other}:prod")
    assert not isinstance(name, str)
    source = parse_image(image.reference)
    first, second = await images.tag(source, name), await images.tag(source, name)
    assert (first.changed, second.changed) == (True, False)
    assert first.id == second.id == daemon.image_id(name.name)
    with daemon.containers(image.reference, 1):
        found = await images.details(name)
    assert {*found.names} == {image.reference, name.name}
    assert (len(found.layers), len(found.containers)) == (1, 1)
    missing = parse_image(f"{other}:none")
    for asked in (images.tag(missing, name), images.details(missing)):
        with pytest.raises(TaskFailed, match=r"^there is no .+:none on this node") as refused:
            await asked
        assert refused.value.code == 404
