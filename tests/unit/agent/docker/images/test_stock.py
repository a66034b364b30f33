"""What lists of images and containers come to, for operations that decide on it."""

from typing import Any

import pytest

from towline.agent.docker.answers import ListedImage
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.held import held
from towline.agent.docker.images.answers import CreatedBy, InspectedContainer, MadeOfImage
from towline.agent.docker.images.stock import stock_of, take_stock
from towline.wire.inventory import MOST_NAMES
from towline.wire.reference import Reference

ID, OTHER = (f"sha256:{digit * 64}" for digit in "ab")


def test_operations_see_all_names_of_an_image_also_those_that_no_inventory_has() -> None:
    tags = [f"app:{number:03}" for number in range(MOST_NAMES + 1)]
    digests = [f"app{number:03}@{ID}" for number in range(MOST_NAMES + 1)]
    image = ListedImage(ID, tags, digests)
    (sent,) = held([image], {}, {}, None).values()
    assert (len(sent.names), len(sent.digests)) == (MOST_NAMES, MOST_NAMES)
    stock = stock_of([image], [])
    assert stock.find(Reference.parse(tags[-1])) is not None
    (found,) = stock.images
    assert len(found.names) == MOST_NAMES + 1
    assert len(found.digests) > MOST_NAMES


@pytest.mark.parametrize("id", ["", "sha256:"])
def test_what_was_made_of_no_image_uses_none(id: str) -> None:
    # What Podman says of a container of a directory, and of what holds a pod together.
    stock = stock_of([ListedImage(ID, ["app:1"])], [MadeOfImage("c", id), MadeOfImage("d", ID)])
    assert [user.container for user in stock.images[0].users] == ["d"]
    assert stock.unlisted == frozenset()


@pytest.mark.parametrize("by", ["app:1", f"app@{ID}"])
@pytest.mark.parametrize("made_of", [f"sha256:{'c' * 64}", OTHER], ids=["unlisted", "listed"])
def test_a_container_awaits_what_has_the_name_by_now_that_it_was_started_by(
    by: str, made_of: str
) -> None:
    images = [ListedImage(ID, ["app:1"], [f"app@{ID}"]), ListedImage(OTHER, ["b:1"])]
    users = [MadeOfImage("c", made_of, by), MadeOfImage("d", ID, "app:1")]
    found = {image.id: image for image in stock_of(images, users).images}
    assert [user.container for user in found[ID].users] == ["d"]
    assert [user.container for user in found[ID].awaiting] == ["c"]
    assert found[OTHER].awaiting == ()


class Lists(Engine):
    """An engine with a container that was started by a tag that has moved, and one that is gone."""

    def __init__(self) -> None:
        super().__init__("none://")
        self.inspected: list[str] = []

    async def images(self) -> list[ListedImage]:
        return [ListedImage(ID, ["app:1"]), ListedImage(OTHER, [])]

    async def ask(self, type: Any, method: str, path: str, *more: Any, **named: Any) -> Any:
        if path == "containers/json":
            return [
                MadeOfImage("moved", OTHER, OTHER),
                MadeOfImage("gone", OTHER, OTHER),
                MadeOfImage("other", OTHER, "b:1"),
            ]
        self.inspected.append(path.split("/")[1])
        if "gone" in path:
            raise EngineRefused(404, "no such container")
        return InspectedContainer(CreatedBy("app:1"))


async def test_what_a_container_was_started_by_is_asked_once_where_an_id_is_listed() -> None:
    engine, started = Lists(), dict[str, str]()
    for _ in range(2):
        (image,) = [
            each for each in (await take_stock(engine, started=started)).images if each.names
        ]
        assert [user.container for user in image.awaiting] == ["moved"]
    assert sorted(engine.inspected) == ["gone", "gone", "moved"]
    await take_stock(engine)
    assert len(engine.inspected) == 3
