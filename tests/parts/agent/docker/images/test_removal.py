"""Removing images and names from engines of each kind: what goes, and what never does."""

from collections.abc import Callable

import pytest

from tests.testing.engine_api import EngineApi
from tests.testing.podman import Podman
from tests.testing.registry import PushedImage, Registry, random_layer
from towline.agent.docker.images.node_images import NodeImages
from towline.errors import TaskFailed
from towline.operations.image import parse_image


@pytest.fixture
def image(daemon: EngineApi, registry: Registry, repository: str) -> PushedImage:
    """An image that the engine has by one tag."""
    pushed = registry.push_image(repository, "1.0", [random_layer(repository)])
    daemon.pull(pushed.reference)
    return pushed


def also(daemon: EngineApi, image: PushedImage, name: str) -> str:
    """Give an image one more name, and return it."""
    repository, _, tag = name.rpartition(":")
    daemon.tag(image.reference, repository, tag)
    return name


@pytest.mark.parametrize(
    "by",
    [
        lambda image, daemon: image.reference,
        lambda image, daemon: daemon.image_id(image.reference),
        lambda image, daemon: daemon.image_id(image.reference)[:19],
    ],
    ids=["tag", "id", "short"],
)
async def test_an_image_that_nobody_uses_goes_and_goes_once(
    images: NodeImages,
    daemon: EngineApi,
    image: PushedImage,
    by: Callable[[PushedImage, EngineApi], str],
) -> None:
    id, meant = daemon.image_id(image.reference), parse_image(by(image, daemon))
    gone = await images.remove(meant, force=False)
    assert (gone.changed, gone.id) == (True, id)
    assert daemon.image(str(id)) is None
    again = await images.remove(meant, force=False)
    assert (again.changed, again.id) == (False, None)


async def test_a_digest_means_all_that_its_repository_has_of_the_image(
    images: NodeImages, daemon: EngineApi, image: PushedImage, other: str
) -> None:
    kept = also(daemon, image, f"{other}:kept")
    digest = parse_image(image.by_digest)
    with pytest.raises(TaskFailed, match=rf"also called {image.reference}: remove it by that name"):
        await images.remove(digest, force=False)
    gone = await images.remove(digest, force=True)
    assert gone.message.endswith(f"is gone, the image stays as {kept}") or kept in gone.message
    assert daemon.image(image.reference) is None
    assert daemon.image(kept) is not None


async def test_an_id_with_several_names_goes_only_with_force(
    images: NodeImages, daemon: EngineApi, image: PushedImage, other: str
) -> None:
    also(daemon, image, f"{other}:one")
    id = parse_image(str(daemon.image_id(image.reference)))
    with pytest.raises(TaskFailed, match=r"is also called .*: remove it by one of these names"):
        await images.remove(id, force=False)
    assert (await images.remove(id, force=True)).changed
    assert daemon.image(str(id)) is None


@pytest.mark.parametrize("force", [False, True])
async def test_no_tag_goes_by_which_a_container_was_started(
    images: NodeImages, daemon: EngineApi, image: PushedImage, other: str, force: bool
) -> None:
    further = also(daemon, image, f"{other}:same")
    with daemon.containers(image.reference, 1):
        for meant in (image.reference, image.by_digest, str(daemon.image_id(image.reference))):
            with pytest.raises(
                TaskFailed, match=r"was started by: remove that container first|also"
            ):
                await images.remove(parse_image(meant), force=force)
        with pytest.raises(
            TaskFailed, match=rf"^{image.reference} is what the container .+ was st"
        ):
            await images.remove(parse_image(image.reference), force=force)
        assert daemon.image(image.reference) is not None
        taken = await images.remove(parse_image(further), force=force)
        assert taken.changed
        assert image.reference in taken.message
        # The last name is the one that it was started by.
        with pytest.raises(TaskFailed, match=r"was started by"):
            await images.remove(parse_image(image.reference), force=force)
    assert (await images.remove(parse_image(image.reference), force=force)).changed


async def test_no_tag_goes_that_has_moved_since_a_container_was_started_by_it(
    images: NodeImages, daemon: EngineApi, registry: Registry, image: PushedImage, other: str
) -> None:
    with daemon.containers(image.reference, 1):
        before = str(daemon.image_id(image.reference))
        also(daemon, image, f"{other}:before")
        registry.push_image(image.repository, "1.0", [random_layer(f"{image.repository} moved")])
        daemon.pull(image.reference)
        also(daemon, image, f"{other}:moved")
        assert daemon.image_id(image.reference) != before
        with pytest.raises(
            TaskFailed, match=rf"^{image.reference} is what the container .+ was st"
        ):
            await images.remove(parse_image(image.reference), force=True)
        meant = daemon.image_id(image.reference)
        foreseen = await images.prune(keep=0, older_than=0.0, protect=[], dry=True)
        assert not {before, meant} & {row.id for row in foreseen.images}
    assert (await images.remove(parse_image(image.reference), force=True)).changed


@pytest.mark.parametrize("force", [False, True])
async def test_an_image_that_a_container_uses_by_its_id_keeps_its_last_name(
    images: NodeImages, daemon: EngineApi, image: PushedImage, force: bool
) -> None:
    id = str(daemon.image_id(image.reference))
    with daemon.containers(id, 1):
        with pytest.raises(TaskFailed, match=r"would go as a whole, and it is used by|was started"):
            await images.remove(parse_image(image.reference), force=force)
        assert daemon.image_id(image.reference) == id


@pytest.mark.parametrize("by", ["id", "digest"])
async def test_what_a_moved_tag_has_left_is_removed_by_its_id_or_by_its_digest(
    images: NodeImages, daemon: EngineApi, registry: Registry, image: PushedImage, by: str
) -> None:
    before = str(daemon.image_id(image.reference))
    registry.push_image(image.repository, "1.0", [random_layer(f"{image.repository} moved")])
    daemon.pull(image.reference)
    assert daemon.image_id(image.reference) != before
    meant = before if by == "id" else image.by_digest
    gone = await images.remove(parse_image(meant), force=False)
    if by == "digest" and isinstance(daemon, Podman):
        assert not gone.changed, "it knows nothing by a digest that has no name"
        return
    # The containerd store may have let it go with its name.
    assert gone.changed is (gone.id is not None)
    assert daemon.image(before) is None
    assert daemon.image(image.reference) is not None


async def test_the_list_has_names_digests_and_the_number_of_containers(
    images: NodeImages, daemon: EngineApi, image: PushedImage, other: str
) -> None:
    further = also(daemon, image, f"{other}:same")
    id = daemon.image_id(image.reference)
    with daemon.containers(image.reference, 2):
        (row,) = [each for each in await images.rows(unused=False) if each.id == id]
        assert (row.used, row.created) == (2, "2024-01-01T00:00:00.000Z")
        assert {image.reference, further} == {*row.names}
        assert image.by_digest in row.digests
        assert id not in {each.id for each in await images.rows(unused=True)}
    assert id in {each.id for each in await images.rows(unused=True)}
