"""What a controller that is started anew knows of nodes."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.testing.doubles import until
from tests.unit.controller.inventory.node import Node, image
from tests.unit.controller.inventory.world import NOW, World
from towline.controller.inventory import kept
from towline.controller.inventory.inventories import GRACE
from towline.wire.node import NodeState

A, B = image("a", "docker.io/library/a:1", used=1), image("b", "docker.io/library/b:1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def knows(world: World, machine: str) -> set[str] | None:
    found = world.inventories.of(machine)
    return None if found is None else {each[-1] for each in found}


async def ended(world: World) -> None:
    """Have a controller keep what it knows, and end."""
    await world.inventories.keep()
    world.index._database.close()


async def begun(file: Path, *machines: str, now: float = 2000.0) -> World:
    """A controller that has read what was kept."""
    world = World(*machines, file=file, now=now)
    await world.inventories._read()
    return world


async def test_what_was_known_is_known_again_and_nobody_is_asked(file: Path) -> None:
    world = World("m1", "m2", file=file)
    world.have("m1", A, B)
    world.have("m2", A)
    await ended(world)
    world = await begun(file, "m1", "m2")
    assert (knows(world, "m1"), knows(world, "m2")) == ({"a", "b"}, {"a"})
    assert world.inventories.of("m1") == {A.id: A, B.id: B}
    assert len(world.inventories.rows) == 2
    assert world.inventories.settled("m2"), "it is away, and this is what it had"
    node = Node()
    node.change(A, B)
    world.beat(node.hash, machine="m1")
    world.beat("0" * 32, machine="m2")
    assert world.inventories.settled("m1")
    assert not world.inventories.settled("m2")
    assert await world.asked(GRACE) == ["m2"]


async def test_what_changed_is_kept_and_what_is_gone_is_not(file: Path) -> None:
    world = World("m1", "m2", file=file)
    world.have("m1", A, B)
    world.have("m2", A)
    await world.inventories.keep()
    world.have("m1", B)
    world.fleet.decide("m2", NodeState(removed=NOW + 1, shut_by="ann"))
    await ended(world)
    world = await begun(file, "m1", "m2")
    assert (knows(world, "m1"), knows(world, "m2")) == ({"b"}, None)


async def test_a_node_that_was_removed_meanwhile_is_forgotten(file: Path) -> None:
    world = World("m1", "m2", file=file)
    world.have("m1", A)
    world.have("m2", B)
    await ended(world)
    world = await begun(file, "m1")
    world.fleet_known.set()
    task = asyncio.create_task(world.inventories._doubt())
    await until(lambda: knows(world, "m2") is None)
    task.cancel()
    assert knows(world, "m1") == {"a"}
    assert len(world.inventories.rows) == 1


async def test_of_a_node_that_others_heard_while_this_controller_did_not_run_nothing_is_known(
    file: Path,
) -> None:
    world = World("m1", "m2", file=file, now=1000.0)
    for machine in ("m1", "m2"):
        world.have(machine, A)
    await ended(world)
    world = await begun(file, "m1", "m2", now=2000.0)
    world.fleet.heard("m1", NOW + 1500.0)
    world.fleet.heard("m2", NOW + 1001.0)
    await world.inventories.keep()  # it listens again: that says nothing of what was missed
    world.inventories._moved({"m1", "m2"})
    assert (knows(world, "m1"), knows(world, "m2")) == (None, {"a"})


async def test_what_came_while_the_kept_was_read_counts(file: Path) -> None:
    world = World("m1", file=file)
    world.have("m1", A)
    await ended(world)
    world = World("m1", file=file)
    world.have("m1", B)
    await world.inventories._read()
    assert knows(world, "m1") == {"b"}


async def test_what_a_node_said_to_have_while_the_kept_was_read_is_what_it_has_to_be(
    file: Path,
) -> None:
    world = World("m1", file=file)
    world.have("m1", A)
    await ended(world)
    world = World("m1", file=file)
    world.beat("0" * 32)
    await world.inventories._read()
    assert not world.inventories.settled("m1")
    assert await world.asked(GRACE) == ["m1"]


async def test_images_that_nobody_has_any_more_do_not_stay(file: Path) -> None:
    world = World("m1", file=file)
    many = [image("a", f"example.org/{number}:1") for number in range(kept.UNUSED + 3)]
    for each in many:
        world.have("m1", each)
        await world.inventories.keep()
    (count,) = world.index.query("SELECT count(*) FROM held").fetchone()
    assert count < kept.UNUSED
    await ended(world)
    assert (await begun(file, "m1")).inventories.of("m1") == {many[-1].id: many[-1]}


async def test_what_changes_while_it_is_kept_is_known_again_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World("m1", "m2", file=file)
    for number in range(9):
        world.have("m1", image("a", f"example.org/{number}:1"))
        await world.inventories.keep()
    monkeypatch.setattr(kept, "AT_ONCE", 1)
    monkeypatch.setattr(kept, "UNUSED", 0)
    before = {"m1": image("c", "example.org/c:1"), "m2": image("d", "example.org/d:1")}
    for machine, each in before.items():
        world.have(machine, each)
    keeping = asyncio.create_task(world.inventories.keep())
    await asyncio.sleep(0)  # one of the two is kept
    for machine in before:
        world.have(machine, A)
    await keeping
    world.index._database.close()  # and the controller is killed
    world = await begun(file, "m1", "m2")
    assert sorted(len(world.inventories.of(each) or ()) for each in before) == [1, 1]


async def test_what_could_not_be_kept_is_kept_later(file: Path) -> None:
    world = World("m1", file=file)
    world.have("m1", A)
    world.index._database.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError):
        await world.inventories.keep()
    world.index._database.execute("PRAGMA query_only = OFF")
    await ended(world)
    assert knows(await begun(file, "m1"), "m1") == {"a"}
