"""Images, asked for with a permission that is narrowed to some nodes."""

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.unit.controller.inventory.node import image
from tests.unit.controller.inventory.test_places import SetsDouble
from tests.unit.controller.inventory.world import NOW, World
from towline.controller.auth import Caller, narrowed
from towline.controller.fleet import Fleet
from towline.controller.inventory.listing import Listing
from towline.controller.inventory.places import Places
from towline.controller.names import MOST_LIKE
from towline.controller.permissions import Bounds, parse_grant
from towline.endpoints import images
from towline.errors import Forbidden, InvalidRequest
from towline.wire.member import ACCEPTED, REMOVED, REVOKED, MemberRecord, MemberState
from towline.wire.node import NodeState, Registration

SHOP = "registry.example/shop"
READS = images.READS
GRANTS = (
    *(f"{READS}@group:web", f"{READS}@group:web.dev", f"{READS}@zone:eu", f"{READS}@web-1"),
    *(f"{READS}@web-*", f"{READS}@*-1", f"{READS}@m3", f"{READS}@nobody"),
)


def register(fleet: Fleet, machine: str, hostname: str = "", **labels: str) -> None:
    fleet.register(Registration(machine, hostname or machine, "0.2.0", NOW, labels=labels))


def caller(*permissions: str) -> Caller:
    return Caller("ann", [], frozenset(), NOW, narrowed=narrowed(permissions))


async def seen(world: World, asks: Caller, target: str = "_all") -> tuple[int, int, str]:
    """Of how many nodes a list of images tells, those that are unknown, and who is named."""
    inventories = world.inventories
    places = Places(inventories, world.fleet, cast(Any, SetsDouble({})))
    rooms = SimpleNamespace(inventories=inventories, listing=Listing(inventories), places=places)
    context = SimpleNamespace(
        controller=SimpleNamespace(fleet=world.fleet, images=rooms), caller=asks
    )
    listed = await cast(Any, images.list_images).function(context)
    try:
        found = await cast(Any, images.image_nodes).function(
            context, reference=f"{SHOP}:1", target=target
        )
        named = " ".join(each.hostname for each in found.nodes)
        assert sum(found.counts.values()) == len(found.nodes)
    except InvalidRequest:
        named = ""
    return sum(each.nodes for each in listed.images), listed.unknown, named


@pytest.fixture
def world() -> World:
    world = World("m1", "m2", "m3")
    for machine, group in ("m1", "web"), ("m2", "web.dev"), ("m3", "db"):
        register(world.fleet, machine, f"{group.partition('.')[0]}-{machine[1]}", group=group)
        world.have(machine, image("a", f"{SHOP}:1"))
    return world


@pytest.mark.parametrize("permission", [f"{READS}@group:web", f"{READS}@web-*"])
async def test_nobody_is_shown_a_node_that_has_just_ceased_to_be_theirs(
    world: World, permission: str
) -> None:
    asks = caller(permission)
    assert await seen(world, asks) == (2, 0, "web-1 web-2")
    register(world.fleet, "m1", "db-1", group="db")
    assert await seen(world, asks) == (1, 0, "web-2")
    register(world.fleet, "m3", "web-3", group="web")
    assert await seen(world, asks) == (2, 0, "web-2 web-3")
    register(world.fleet, "m2", "web-2", group="db")
    by_name = asks.bounds(READS).patterns(None, {}) == ["web-*"]
    assert await seen(world, asks) == ((2, 0, "web-2 web-3") if by_name else (1, 0, "web-3"))


@pytest.mark.parametrize("permission", [f"{READS}@group:web", f"{READS}@web-*"])
async def test_nodes_that_come_and_go_are_shown_and_gone_at_once(
    world: World, permission: str
) -> None:
    asks = caller(permission, f"{READS}@m3")
    assert await seen(world, asks) == (3, 0, "db-3 web-1 web-2")
    register(world.fleet, "m4", "web-4", group="web")
    assert await seen(world, asks) == (3, 1, "db-3 web-1 web-2 web-4")
    world.have("m4", image("a", f"{SHOP}:1"))
    assert await seen(world, asks) == (4, 0, "db-3 web-1 web-2 web-4")
    world.fleet.decide("m1", NodeState(drained=NOW))  # it keeps what it has
    assert await seen(world, asks) == (4, 0, "db-3 web-1 web-2 web-4")
    world.fleet.decide("m3", NodeState(removed=NOW + 1))
    assert await seen(world, asks) == (3, 0, "web-1 web-2 web-4")
    # A number that is free again is another node's, which is not theirs.
    register(world.fleet, "m5", "db-5", group="db")
    world.have("m5", image("a", f"{SHOP}:1"))
    assert await seen(world, asks) == (3, 0, "web-1 web-2 web-4")


async def test_a_node_that_was_shut_out_is_not_one_of_which_it_is_unknown_what_it_has(
    world: World,
) -> None:
    asks = caller(f"{READS}@group:web")
    world.fleet.decide("m1", NodeState(revoked=NOW))
    assert await seen(world, asks) == (1, 0, "web-2")


async def test_of_a_target_only_what_is_inside_is_shown(world: World) -> None:
    assert (await seen(world, caller(f"{READS}@group:web"), "group:web.dev"))[2] == "web-2"
    assert (await seen(world, caller(f"{READS}@group:web"), "db-3;web-1"))[2] == "web-1"
    assert (await seen(world, caller(f"{READS}@group:web"), "group:db"))[2] == ""


def test_a_permission_finds_the_nodes_that_it_covers_whatever_has_become_of_them() -> None:
    draw, fleet = random.Random(15), Fleet()
    some = [Bounds("ann", READS, [parse_grant(each)]) for each in GRANTS]
    some += [
        Bounds("ann", READS, [parse_grant(each) for each in draw.sample(GRANTS, 2)])
        for _ in range(4)
    ]
    some.append(Bounds("ann", READS, None))
    for step in range(400):
        machine = f"m{draw.randrange(8)}"
        match draw.randrange(6):
            case 0:
                fleet.decide(machine, NodeState(removed=NOW + step))
            case 1:
                fleet.decide(machine, NodeState(revoked=draw.choice([None, NOW])))
            case 2:
                state: MemberState = draw.choice([ACCEPTED, REVOKED, REMOVED])
                labels = {"group": draw.choice(["web", "db"])}
                name = draw.choice(["web-1", "db-9"])
                kept = MemberRecord(machine, "", "", name, state, "", NOW, "", NOW, labels=labels)
                fleet.enrol(kept)
            case _:
                labels = {
                    key: draw.choice(values)
                    for key, values in {
                        "group": ["web", "web.dev", "web.dev.eu", "website", "db"],
                        "zone": ["eu", "us"],
                    }.items()
                    if draw.random() < 0.7
                }
                name = draw.choice(["web-1", "web-2", "db-1", "m3", "website"])
                fleet.register(Registration(machine, name, "0.2.0", NOW + step, labels=labels))
        for bounds in some:
            looked = {each.machine for each in bounds.inside(fleet.members())}
            assert fleet.inside(bounds) == looked
            assert list(fleet.some(looked)) == bounds.inside(fleet.members())


def test_few_patterns_of_names_are_remembered() -> None:
    fleet = Fleet()
    register(fleet, "m1", "web-1")
    for number in range(3 * MOST_LIKE):
        assert fleet.names.like(f"w*{number}") == (frozenset(["m1"]) if number == 1 else set())
    assert len(fleet.names._like) == MOST_LIKE


def test_what_is_narrowed_to_parameters_alone_covers_no_reading() -> None:
    bounds = Bounds("ann", READS, [parse_grant(f"{READS}@image=registry.example/*")])
    with pytest.raises(Forbidden, match="has no parameters"):
        Fleet().inside(bounds)
