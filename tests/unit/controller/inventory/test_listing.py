"""Which images there are, as lists have them."""

from typing import Any

import msgspec
import pytest

from tests.unit.controller.inventory.node import digest, image
from tests.unit.controller.inventory.world import World
from towline.controller.inventory.listing import Listing
from towline.endpoints.images import ImagePage, _after

WEB, SHOP = "docker.io/library/nginx", "registry.example/shop"
OLD = image("a", f"{WEB}:1.27", size=100, platform="linux/amd64", created=1_600_000_000.0)
NEW = image("b", f"{WEB}:1.27", f"{WEB}:latest", size=200, used=1)
OTHER_ENGINE = msgspec.structs.replace(NEW, id="sha256:" + "f" * 64, size=250, used=0)
SHOPS = image("c", f"{SHOP}:1")
LOCAL = image("d", "docker.io/library/mine:1", digests=[])
NAMELESS = image("e", digests=[f"{SHOP}@{digest('e')}"])


@pytest.fixture
def world() -> World:
    world = World("m1", "m2", "m3", "away")
    world.have("m1", OLD, SHOPS, LOCAL)
    world.have("m2", NEW, SHOPS, NAMELESS)
    world.have("m3", OTHER_ENGINE, SHOPS)
    return world


async def page(
    world: World, *machines: str, limit: int = 100, cursor: str = "", **more: Any
) -> Any:
    listing = Listing(world.inventories)
    asked = frozenset(machines)
    about = world.inventories.about(asked) if machines else world.inventories.about_all()
    after = _after(cursor) if cursor else None
    return await listing.page(listing.wanted(**more), about, limit=limit, after=after)


def keys(found: ImagePage) -> str:
    """The last characters of what the images of a page are known by."""
    return "".join(str(each.digest or each.image_id)[-1] for each in found.images)


async def test_an_image_is_one_row_however_many_nodes_have_it(world: World) -> None:
    found = await page(world)
    assert keys(found) == "dabce"
    assert (found.total, found.unknown, found.next_cursor) == (5, 1, None)
    mine, old, new, shop, nameless = found.images
    assert (mine.digest, mine.image_id) == (None, LOCAL.id)
    assert (old.nodes, old.used_on, old.platforms) == (1, 0, ["linux/amd64"])
    assert old.created == "2020-09-13T12:26:40.000Z"
    assert new.names == [f"{WEB}:1.27", f"{WEB}:latest"]
    assert (new.nodes, new.used_on, new.size, new.sizes) == (2, 1, 250, [200, 250])
    assert (shop.nodes, shop.digest, shop.image_id) == (3, digest("c"), None)
    assert nameless.names == []


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({"reference": "nginx"}, "ab"),
        ({"reference": "nginx:latest"}, "b"),
        ({"reference": "nginx:1.27"}, "ab"),
        ({"reference": f"nginx@{digest('a')}"}, "a"),
        ({"reference": f"nginx:latest@{digest('a')}"}, ""),
        ({"reference": "registry.example/shop"}, "ce"),
        ({"reference": "nothing"}, ""),
        ({"digest": digest("b")}, "b"),
        ({"digest": LOCAL.id}, "d"),
        ({"digest": digest("a"), "reference": "registry.example/shop"}, ""),
        ({"machine": "m2"}, "bce"),
        ({"machine": "away"}, ""),
        ({"unused": True}, "dace"),
        ({"unused": True, "machine": "m3"}, "c"),
        ({"drift": True}, "ab"),
        ({"drift": True, "unused": True}, "a"),
    ],
)
async def test_filters_leave_out_images(world: World, filters: dict[str, Any], shown: str) -> None:
    found = await page(world, **filters)
    assert keys(found) == shown
    assert found.total == len(shown)


async def test_filters_change_nothing_about_what_they_leave(world: World) -> None:
    (shop,) = (await page(world, machine="m1", reference="registry.example/shop:1")).images
    assert shop.nodes == 3
    (one,) = (await page(world, "m1", reference="registry.example/shop:1")).images
    assert one.nodes == 1


async def test_of_a_node_that_is_unknown_it_is_said(world: World) -> None:
    assert (await page(world, machine="away")).unknown == 1
    assert (await page(world, machine="m1")).unknown == 0


async def test_nodes_that_are_not_asked_about_are_in_no_row(world: World) -> None:
    found = await page(world, "m2", "m3")
    assert keys(found) == "bce"
    assert [each.nodes for each in found.images] == [2, 2, 1]
    assert keys(await page(world, "m2", "m3", drift=True)) == ""


async def test_the_names_that_drift_are_those_by_which_nodes_know_different_images() -> None:
    world = World("m1", "m2", "m3")
    both = image("a", f"{WEB}:1", digests=[f"{WEB}@{digest('a')}", f"{WEB}@{digest('b')}"])
    world.have("m1", both)
    world.have("m2", image("a", f"{WEB}:1", f"{SHOP}:1"))
    assert (await page(world, drift=True)).total == 0, "both have digest a by that name"
    world.have("m3", image("b", f"{WEB}:1"))
    found = await page(world, drift=True)
    assert {name for each in found.images for name in each.names} == {f"{WEB}:1"}
    assert keys(found) == "ab"


async def test_a_name_of_another_repository_stands_for_what_the_image_is_known_by() -> None:
    world = World("m1", "m2")
    world.have(
        "m1", image("a", f"{WEB}:1", "docker.io/library/mine:1", digests=[f"{WEB}@{digest('a')}"])
    )
    world.have("m2", image("a", f"{WEB}:1", "docker.io/library/mine:1"))
    (found,) = (await page(world)).images
    assert found.names == ["docker.io/library/mine:1", f"{WEB}:1"]
    assert (await page(world, drift=True)).total == 0


async def test_pages_have_each_image_once(world: World) -> None:
    shown, cursor = "", ""
    while True:
        found = await page(world, limit=2, cursor=cursor)
        shown += keys(found)
        assert found.total == 5
        if found.next_cursor is None:
            break
        cursor = found.next_cursor
    assert shown == "dabce"
