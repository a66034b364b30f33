"""A node that says it has very much costs a controller no more than what it sends."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.unit.controller.inventory.node import START, Node, digest, image
from tests.unit.controller.inventory.world import World
from towline.controller.inventory import fold
from towline.controller.inventory.fold import MOST
from towline.controller.inventory.inventories import ASK_EVERY
from towline.controller.inventory.rows import MARK, MEANING, Row
from towline.wire.decoding import Unreadable
from towline.wire.inventory import MOST_NAMES, ImageHeld, Inventory
from towline.wire.messages import inventory
from towline.wire.reference import Reference

A = image("a", "docker.io/library/a:1")


def full(number: int, repository: str = "a") -> ImageHeld:
    """An image of as many digests and names as a node may say, each name standing for each."""
    digests = [f"a@sha256:{each:064x}" for each in range(MOST_NAMES)]
    return ImageHeld(
        f"sha256:{number:064x}", digests, [f"{repository}:{each}" for each in range(MOST_NAMES)]
    )


@pytest.mark.parametrize("repository", ["a", "other"])
def test_an_image_takes_nothing_for_each_pair_of_a_digest_and_a_name(repository: str) -> None:
    held = full(1, repository)
    encoded = msgspec.json.encode(held)
    tracemalloc.start()
    try:
        row = Row(held, encoded)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert row.weight > MEANING * MOST_NAMES**2
    assert size < 8 * MOST_NAMES**2 / 2, "not so much as half of a pointer for each"


def test_a_name_stands_for_the_digests_of_its_repository_or_else_for_all() -> None:
    one, two, names = digest("1"), digest("2"), ["a:1", "b:1", "c:1", "a:2"]
    held = image("a", *names, digests=[f"a@{one}", f"a@{two}", f"b@{two}"])
    row = Row(held, b"")
    assert row.keys == (one, two)
    assert {name: row.stands_for(name) for name in names} == {
        "a:1": (one, two),
        "b:1": (two,),
        "c:1": (one, two),
        "a:2": (one, two),
    }
    assert row.names_of(one) == ["a:1", "c:1", "a:2"]
    assert row.names_of(two) == names
    assert Row(image("a", "a:1", digests=[]), b"").stands_for("a:1") == (f"sha256:{'a' * 64}",)


@pytest.mark.parametrize(
    "said",
    [
        ImageHeld("a", [f"a@{digest('1')}"] * (MOST_NAMES + 1)),
        ImageHeld("a", [], ["a:1"] * (MOST_NAMES + 1)),
        *(ImageHeld("a", [each]) for each in ("@0", "a@sha256:0", f"@{digest('1')}", "a:1")),
        ImageHeld("a", [f"a@{digest('1')}@{digest('1')}"]),
    ],
    ids=range(7),
)
def test_lists_are_of_some_length_and_digests_are_such(said: ImageHeld) -> None:
    with pytest.raises(Unreadable):
        inventory("inventory.m1", msgspec.json.encode(Inventory(START, "0", images=[said])))


def whole(node: Node) -> list[Inventory]:
    node.part = 3
    return node.whole()


@pytest.mark.parametrize("say", [whole, lambda node: [node.change()]], ids=["whole", "change"])
async def test_a_node_that_has_too_much_is_not_known_and_seldom_asked(
    say: Callable[[Node], list[Inventory]],
) -> None:
    world, node = World(), Node()
    world.beat()
    few, many = MOST // (2 * MEANING * MOST_NAMES**2), MOST // (MEANING * MOST_NAMES**2) + 1
    node.change(*(full(each) for each in range(few)))
    world.say(*node.whole())
    assert world.inventories.settled("m1"), "half of it is not too much"
    with capture_logs() as logs:
        change = node.change(*(full(each) for each in range(few, many)))
        world.say(*([change] if say is not whole else whole(node)))
        world.beat(node.hash)
    assert not world.inventories.settled("m1")
    assert len(world.inventories.rows) == few
    assert [line["hostname"] for line in logs if "more images" in line["event"]] == ["m1"]
    times = 0
    for _ in range(100):
        world.beat(node.hash)
        if await world.asked(ASK_EVERY):
            times += 1
            world.say(*whole(node))
    assert 3 < times < 10
    node.change(gone=[*node.images][few:])
    world.say(*node.whole())
    assert world.inventories.settled("m1")


@pytest.mark.parametrize("bad", ["missing", "unreadable", "too much", "half"])
async def test_what_is_kept_and_may_not_be_hurts_no_start(bad: str, tmp_path: Path) -> None:
    file = tmp_path / "index.sqlite"
    world = World("m1", "m2", file=file)
    world.have("m1", A)
    await world.inventories.keep()
    mark, node = b"x" * MARK, Node()
    bodies: list[tuple[bytes, bytes]] = []
    if bad == "unreadable":
        bodies = [(mark, msgspec.json.encode(ImageHeld("a", ["@0"] * 1000)))]
    elif bad == "too much":
        some = [full(each) for each in range(MOST // (MEANING * MOST_NAMES**2) + 1)]
        bodies = [
            (number.to_bytes(MARK, "big"), msgspec.json.encode(each))
            for number, each in enumerate(some)
        ]
    marks = b"".join(each for each, _ in bodies) or mark[: MARK // 2 if bad == "half" else MARK]
    world.index.write(
        {
            "INSERT INTO held VALUES (?, ?)": bodies,
            "INSERT INTO inventory VALUES (?, ?, ?)": [("m2", "0", marks)],
        }
    )
    world.index._database.close()
    world = World("m1", "m2", file=file, now=2000.0)
    await world.inventories._read()
    assert world.inventories.of("m1") == {A.id: A}
    assert world.inventories.of("m2") is None
    node.change(A)
    world.beat(node.hash, machine="m2")
    world.say(*node.whole(), machine="m2")
    assert world.inventories.settled("m2")


async def test_no_more_images_are_known_of_a_node_than_agents_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fold, "MOST_IMAGES", 3)
    world, node = World(), Node()
    world.beat()
    node.change(*(ImageHeld(f"{number}") for number in range(3)))
    world.say(*node.whole())
    assert world.inventories.settled("m1")
    world.say(node.change(ImageHeld("3")))
    world.beat(node.hash)
    assert not world.inventories.settled("m1")
    world.say(*node.whole())
    assert len(world.inventories.rows) == 3


class Unread(dict[Row, None]):
    """Rows of which nobody may look through all."""

    def __iter__(self) -> Iterator[Row]:
        raise AssertionError("all rows were looked through")


def test_no_node_is_looked_for_among_what_another_says_of_its_image() -> None:
    world = World("m1", "m2", "m3")
    digests = [f"docker.io/library/a@{digest('a')}"]
    many = [ImageHeld(f"sha256:{number:064x}", digests) for number in range(9)]
    world.have("m1", *many)
    world.have("m2", A)
    world.have("m3", image("b", "docker.io/library/b:1"))
    alike = world.inventories.rows.by_key[digest("a")]
    alike.rows = Unread(alike.rows)
    name = Reference.parse("a:1")
    held = {each: world.inventories.holds(each, name, digest("a")) for each in ("m1", "m2", "m3")}
    assert held == {"m1": False, "m2": True, "m3": False}
