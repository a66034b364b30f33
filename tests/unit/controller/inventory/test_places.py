"""Who has an image."""

from typing import Any, cast

import pytest

from tests.unit.controller.inventory.node import digest, image
from tests.unit.controller.inventory.world import NOW, World
from towline.controller.inventory.places import Places
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.endpoints.images import ImageNodes, _after
from towline.wire.node import Registration
from towline.wire.reference import Reference
from towline.wire.target import ALL

WEB, SHOP = "docker.io/library/nginx", "registry.example/shop"
OLD, NEW = image("a", f"{WEB}:1.27"), image("b", f"{WEB}:1.27", used=3)


class SetsDouble:
    """Sets that want one digest each."""

    def __init__(self, wanted: dict[str, tuple[str, str, str]]) -> None:
        self.wanted = wanted

    def all(self) -> list[SetRecord]:
        return [
            SetRecord(name, name, 1, target, [], NOW, "ann", NOW, "ann")
            for name, (target, _, _) in self.wanted.items()
        ]

    def state(self, name: str) -> SetState:
        _, image, digest = self.wanted[name]
        return SetState(name, [ImageState(image, current=digest)])


@pytest.fixture
def world() -> World:
    world = World("away", "m1", "m2", "m3", "m4")
    world.have("m1", OLD)
    world.have("m2", NEW)
    world.have("m3", NEW)
    world.have("m4", image("c", f"{SHOP}:1"))
    return world


def page(
    world: World,
    reference: str,
    *machines: str,
    limit: int = 100,
    cursor: str = "",
    state: Any = None,
    sets: dict[str, tuple[str, str, str]] | None = None,
) -> ImageNodes:
    places = Places(world.inventories, world.fleet, cast(Any, SetsDouble(sets or {})))
    asked = frozenset(machines) or world.fleet.meant_by(ALL)
    after = _after(cursor) if cursor else None
    image = Reference.parse(reference)
    about = world.inventories.about(asked)
    return places.page(image, asked, about, state=state, limit=limit, after=after)


def states(found: ImageNodes) -> str:
    return " ".join(f"{each.hostname}:{each.state}" for each in found.nodes)


def test_nodes_are_compared_with_what_most_of_them_have(world: World) -> None:
    found = page(world, "nginx:1.27")
    assert (found.reference, found.digest) == (f"{WEB}:1.27", digest("b"))
    assert (found.compared, found.image_id) == ("most", None)
    assert states(found) == "away:unknown m1:other m2:has m3:has m4:none"
    assert found.counts == {"has": 2, "other": 1, "none": 1, "unknown": 1}
    _, other, has, _, none = found.nodes
    assert (other.digest, other.used, has.digest, has.used) == (digest("a"), 0, digest("b"), 3)
    assert (none.digest, none.image_id, none.here) == (None, None, True)
    assert not found.nodes[0].here


def test_a_digest_of_the_reference_is_what_nodes_are_compared_with(world: World) -> None:
    found = page(world, f"nginx:1.27@{digest('a')}")
    assert (found.digest, found.compared) == (digest("a"), "reference")
    assert found.counts == {"has": 1, "other": 2, "none": 1, "unknown": 1}
    found = page(world, f"nginx@{digest('9')}")
    assert found.counts == {"has": 0, "other": 3, "none": 1, "unknown": 1}
    assert found.nodes[1].digest == digest("a")


def test_what_a_set_wants_of_nodes_that_are_asked_about_comes_before_what_most_have(
    world: World,
) -> None:
    sets = {
        "others": ("m4", f"{WEB}:1.27", digest("9")),
        "web": ("m1;m2", f"{WEB}:1.27", digest("a")),
    }
    found = page(world, "nginx:1.27", "m1", "m2", "m3", sets=sets)
    assert (found.digest, found.compared) == (digest("a"), "set")
    assert found.counts == {"has": 1, "other": 2, "none": 0, "unknown": 0}
    assert page(world, "nginx:1.27", "m3", sets=sets).compared == "most"
    found = page(world, "nginx:1.27", "m4", sets=sets)
    assert (found.digest, found.counts["none"]) == (digest("9"), 1)


def test_an_image_that_no_registry_knows_is_compared_by_its_id(world: World) -> None:
    world.have("m1", image("d", "docker.io/library/mine:1", digests=[]))
    found = page(world, "mine:1")
    assert (found.digest, found.image_id, found.compared) == (None, digest("d"), "most")
    assert found.nodes[1].image_id == digest("d")


def test_nobody_has_what_nobody_has(world: World) -> None:
    found = page(world, "nothing")
    assert (found.digest, found.image_id, found.compared) == (None, None, None)
    assert found.counts == {"has": 0, "other": 0, "none": 4, "unknown": 1}


def test_only_nodes_of_a_state_are_shown_and_all_are_counted(world: World) -> None:
    found = page(world, "nginx:1.27", state="other")
    assert states(found) == "m1:other"
    assert found.counts["has"] == 2


def test_pages_have_each_node_once_also_where_hostnames_are_alike(world: World) -> None:
    for machine in ("z1", "a1"):
        world.fleet.register(Registration(machine, "m2", "0.2.0", NOW))
    shown, cursor = [], ""
    while True:
        found = page(world, "nginx:1.27", limit=2, cursor=cursor)
        shown += [each.machine_id for each in found.nodes]
        if found.next_cursor is None:
            break
        cursor = found.next_cursor
    assert shown == ["away", "m1", "a1", "m2", "z1", "m3", "m4"]
    found = page(world, "nginx:1.27", limit=1, state="has")
    assert states(page(world, "nginx:1.27", state="has", cursor=str(found.next_cursor))) == "m3:has"


class OfAnother:
    """An image that one node alone has, and of which nobody may be asked whether others do."""

    def stands_for(self, name: str) -> tuple[str, ...]:
        return (digest("a"),)

    @property
    def nodes(self) -> int:
        raise AssertionError("it was looked at for each node")


def test_no_node_is_looked_for_among_what_another_says_to_have_by_the_name(world: World) -> None:
    places = Places(world.inventories, world.fleet, cast(Any, SetsDouble({})))
    rows: list[Any] = [*world.inventories.rows.by_name[f"{WEB}:1.27"]]
    rows += [OfAnother() for _ in range(9)]
    members = world.fleet.members()
    found = places._nodes(Reference.parse("nginx:1.27"), members, rows, digest("b"))
    assert [each.state for each in found] == ["unknown", "other", "has", "has", "none"]
