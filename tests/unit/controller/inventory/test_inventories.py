"""What is known of nodes, from what they say and what they are asked."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.controller.inventory.node import LATER, START, Node, digest, image
from tests.unit.controller.inventory.world import NOW, World
from towline.controller.inventory.inventories import ASK_EVERY, GRACE, LONGEST_PAUSE
from towline.wire.inventory import Inventory
from towline.wire.node import NodeState
from towline.wire.reference import Reference

A, B, C = (image(each, f"docker.io/library/{each}:1") for each in "abc")


def test_what_a_node_says_is_known_and_what_it_says_no_more_is_not() -> None:
    world, node = World(), Node()
    world.beat()
    assert world.inventories.of("m1") is None
    assert not world.inventories.settled("m1")
    node.change(A, B)
    world.say(*node.whole())
    assert world.inventories.of("m1") == node.images
    assert world.inventories.settled("m1")
    used = msgspec.structs.replace(A, used=2)
    world.say(node.change(used, C, gone=[B.id]))
    assert world.inventories.of("m1") == {A.id: used, C.id: C}
    assert world.changed == [{"m1"}, {"m1"}]
    world.say(node.change(gone=[A.id, C.id]))
    assert world.inventories.of("m1") == {}
    assert len(world.inventories.rows) == 0


def test_a_whole_inventory_counts_when_all_its_parts_have_come_in_whichever_order() -> None:
    world, node = World(), Node(part=1)
    world.beat()
    node.change(A, B, C)
    first, second, third = node.whole()
    world.say(third, first)
    assert world.inventories.of("m1") is None
    world.say(first, second)
    assert world.inventories.of("m1") == node.images


def test_parts_of_two_inventories_make_none() -> None:
    world, node = World(), Node(part=1)
    world.beat()
    node.change(A, B)
    old = node.whole()
    node.change(C, gone=[B.id])
    world.say(old[0], node.whole()[1])
    assert world.inventories.of("m1") is None
    world.say(*node.whole())
    assert world.inventories.of("m1") == node.images


async def test_parts_of_one_inventory_that_was_divided_twice_are_not_taken_for_all_of_it() -> None:
    world, node = World(), Node()
    world.beat()
    node.change(A, B, C)
    first = Inventory(START, node.hash, images=[A], part=0, parts=2)  # before [B, C]
    second = Inventory(START, node.hash, images=[C], part=1, parts=2)  # behind [A, B]
    world.say(first, second)
    assert world.inventories.of("m1") is None
    assert not world.inventories.settled("m1")
    assert await world.asked(GRACE) == ["m1"]
    world.say(*node.whole())
    assert world.inventories.of("m1") == node.images


async def test_a_node_is_asked_when_it_changed_something_that_is_not_known() -> None:
    world, node = World(), Node()
    world.beat()
    node.change(A)
    world.say(*node.whole())
    node.change(B)  # it is lost
    world.say(node.change(C))
    assert world.inventories.of("m1") == {A.id: A}
    assert not world.inventories.settled("m1")
    assert await world.asked() == ["m1"]
    assert world.inventories.counts() == (1, 0, 1, 1)
    world.say(*node.whole())
    assert world.inventories.of("m1") == node.images
    assert world.inventories.settled("m1")
    assert world.inventories.counts() == (1, 1, 1, 3)
    assert await world.asked(LONGEST_PAUSE) == []


async def test_a_change_that_does_not_make_what_its_node_says_is_asked_about() -> None:
    world, node = World(), Node()
    world.beat()
    world.say(*node.whole())
    change = node.change(A)
    world.say(msgspec.structs.replace(change, images=[B]))
    assert world.inventories.of("m1") == {}
    assert await world.asked() == ["m1"]


async def test_a_node_is_asked_when_its_heartbeat_says_something_else_for_a_while() -> None:
    world, node = World(), Node()
    node.change(A)
    world.beat(node.hash)
    assert await world.asked(GRACE / 2) == []
    assert await world.asked(GRACE / 2) == ["m1"]
    world.say(*node.whole())
    world.beat(node.hash)
    assert world.inventories.settled("m1")
    node.change(B)
    world.beat(node.hash)
    assert world.inventories.of("m1") == {A.id: A}
    assert not world.inventories.settled("m1")
    world.say(*node.whole())  # it came meanwhile
    assert await world.asked(GRACE) == []


async def test_a_node_that_never_says_what_it_has_is_asked_ever_more_seldom() -> None:
    world = World()
    world.beat("f" * 32)
    await world.asked(GRACE)
    times = 0
    for _ in range(3600):
        world.beat("f" * 32)
        times += len(await world.asked(1.0))
    assert 10 < times < 25
    # And not at once whatever it sends in between.
    for number in range(100):
        world.say(*Node().whole(), Inventory(START, f"{number:032}", "f" * 32))
        times += len(await world.asked(ASK_EVERY / 50))
    assert times < 30


def test_only_the_start_that_counts_is_believed() -> None:
    world, node, other = World(), Node(), Node(LATER)
    node.change(A)
    other.change(B)
    world.say(*node.whole())
    assert world.inventories.of("m1") is None, "it is not known to be here"
    world.beat()
    world.say(*node.whole(), *other.whole())
    assert world.inventories.of("m1") == {A.id: A}
    world.beat(other.hash, start=LATER)  # a second agent
    assert world.inventories.settled("m1")
    world.say(*other.whole(), machine="unknown")
    assert world.inventories.of("unknown") is None


async def test_a_node_that_was_shut_out_or_removed_is_unknown() -> None:
    world, node = World(), Node()
    world.beat()
    node.change(A)
    world.say(*node.whole())
    world.fleet.decide("m1", NodeState(revoked=NOW, shut_by="ann"))
    assert world.inventories.of("m1") is None
    world.say(*node.whole())
    world.beat(node.hash)
    assert world.inventories.of("m1") is None
    assert await world.asked(GRACE) == []
    assert len(world.inventories.rows) == 0
    world.fleet.decide("m1", NodeState())
    world.beat(node.hash)
    assert await world.asked(GRACE) == ["m1"]


def test_of_a_node_that_is_away_is_known_what_it_said_last() -> None:
    world, node = World(), Node()
    world.beat()
    node.change(A)
    world.say(*node.whole())
    world.beat(node.hash, leaving=True)
    assert world.inventories.of("m1") == {A.id: A}
    assert world.inventories.settled("m1")


def test_a_node_that_went_with_something_else_than_is_known_is_unknown() -> None:
    world, node = World(), Node()
    world.beat()
    node.change(A)
    world.say(*node.whole())
    node.change(B)
    world.beat(node.hash)
    world.beat(leaving=True)
    assert world.inventories.of("m1") is None
    assert not world.inventories.settled("m1")


def test_of_a_node_that_goes_silent_is_known_what_it_said_since_its_last_heartbeat() -> None:
    world, node = World(), Node()
    node.change(A)
    world.beat(node.hash)
    world.say(*node.whole())
    world.say(node.change(B))
    world.now += 60.0
    world.fleet.find_silent(0.0)
    assert world.inventories.of("m1") == {A.id: A, B.id: B}
    assert world.inventories.settled("m1")


def test_a_node_that_went_before_its_engine_answered_its_new_agent_is_unknown() -> None:
    world, node = World(), Node()
    node.change(A)
    world.beat(node.hash)
    world.say(*node.whole())
    world.beat(start=LATER, after=START)
    assert world.inventories.of("m1") == {A.id: A}
    assert not world.inventories.settled("m1")
    world.beat(start=LATER, leaving=True)
    assert world.inventories.of("m1") is None


@pytest.mark.parametrize("says", ["a heartbeat", "a change"])
async def test_a_node_that_was_asked_in_vain_is_asked_soon_when_it_says_something_new(
    says: str,
) -> None:
    world, node = World(), Node()
    node.change(A)
    world.beat(node.hash)
    for _ in range(6):
        await world.asked(LONGEST_PAUSE)
        world.beat(node.hash)
    assert await world.asked(ASK_EVERY) == []
    change = node.change(B)
    if says == "a change":
        world.say(change)
    else:
        world.beat(node.hash)
    assert await world.asked(ASK_EVERY) == ["m1"]
    assert await world.asked(ASK_EVERY / 2) == [], "and then at the usual pauses"
    assert await world.asked(ASK_EVERY) == ["m1"]


def test_a_node_that_others_heard_later_and_that_is_away_is_unknown() -> None:
    world, node = World("m1", "m2"), Node()
    node.change(A)
    for machine in ("m1", "m2"):
        world.beat(machine=machine)
        world.say(*node.whole(), machine=machine)
    world.fleet.heard("m1", NOW + world.now + 30.0)
    world.now += 60.0
    world.fleet.find_silent(0.0)
    assert world.inventories.of("m1") is None
    assert world.inventories.of("m2") == {A.id: A}


@pytest.mark.parametrize(
    ("reference", "character", "platform", "held"),
    [
        ("nginx:1.27", "a", "", True),
        ("nginx:1.27", "b", "", False),
        ("nginx:1.28", "a", "", False),
        ("other:1.27", "a", "", False),
        (f"nginx@{digest('a')}", "a", "", True),
        (f"other@{digest('a')}", "a", "", False),
        ("nginx:1.27", "a", "linux/amd64", True),
        ("nginx:1.27", "a", "linux/amd64/v1", True),
        ("nginx:1.27", "a", "linux/arm64", False),
    ],
)
def test_a_node_holds_a_digest_in_its_repository_and_under_its_name(
    reference: str, character: str, platform: str, held: bool
) -> None:
    world, node = World("m1", "m2"), Node()
    node.change(image("a", "docker.io/library/nginx:1.27", platform="linux/amd64"), B)
    image_of = Reference.parse(reference)
    asked = (image_of, digest(character), platform)
    assert world.inventories.holds("m1", *asked) is None
    for machine in ("m1", "m2"):
        world.beat(machine=machine)
    world.say(*node.whole())
    world.say(*Node().whole(), machine="m2")
    assert world.inventories.holds("m1", *asked) is held
    assert world.inventories.holds("m2", *asked) is False


def test_images_that_are_alike_are_kept_once() -> None:
    world, node = World("m1", "m2", "m3"), Node()
    node.change(A, B)
    for machine in ("m1", "m2", "m3"):
        world.beat(machine=machine)
        world.say(*node.whole(), machine=machine)
    assert len(world.inventories.rows) == 2
    world.say(node.change(msgspec.structs.replace(A, used=1)), machine="m2")
    assert len(world.inventories.rows) == 3
    world.fleet.decide("m2", NodeState(removed=NOW + 1, shut_by="ann"))
    assert len(world.inventories.rows) == 2


STEPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(range(6)), max_size=3, unique=True),
        st.lists(st.sampled_from(range(6)), max_size=3, unique=True),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=8,
)


@given(steps=STEPS, choose=st.randoms(use_true_random=False))
async def test_whatever_is_lost_twice_or_in_another_order_it_ends_right_once_asked(
    steps: list[tuple[list[int], list[int], int, bool]], choose: Any
) -> None:
    world, node = World(), Node(part=2)
    images = [image(each, f"example.org/{each}:1") for each in "abcdef"]
    world.beat()
    sent = node.whole()
    for new, gone, used, whole in steps:
        changed = [msgspec.structs.replace(images[each], used=used) for each in new]
        sent.append(node.change(*changed, gone=[images[each].id for each in gone]))
        sent += node.whole() if whole else []
    arrives = [each for each in sent for _ in range(choose.choice((0, 1, 1, 2)))]
    choose.shuffle(arrives) if choose.random() < 0.5 else None
    world.say(*arrives)
    for _ in range(3):
        world.beat(node.hash)
        if "m1" in await world.asked(LONGEST_PAUSE):
            world.say(*node.whole())
    assert world.inventories.of("m1") == node.images
    assert world.inventories.settled("m1")
