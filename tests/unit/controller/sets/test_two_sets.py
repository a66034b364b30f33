"""Two sets that want different digests under one name on the same nodes."""

import contextlib
from collections.abc import Iterator

import msgspec

from tests.testing.reconciled import Reconciled
from tests.testing.sets import NAME, NOW, a_set, digest
from towline.controller.sets.record import ImageState, SetState

ONE, TWO = digest(1), digest(2)


@contextlib.contextmanager
def contradicting() -> Iterator[Reconciled]:
    """Three nodes, an older set that has pinned one digest, and one that wants what the tag is."""
    world = Reconciled()
    try:
        world.tags = {NAME: ONE}
        for machine in "abc":
            world.join(machine, "")
        old = a_set(name="old", follow="digest", created=NOW - 10.0)
        state = ImageState(NAME, current=TWO, since=NOW - 5.0, checked=NOW + 1.0)
        world.sets.records = {"old": old, "web": a_set()}
        world.sets.states = {"old": SetState(old.id, [state])}
        world.sets.tell()
        world.settle(8, 1.0)
        assert has(world) == {TWO}
        yield world
    finally:
        world.close()


def has(world: Reconciled) -> set[str]:
    """Return the digests that nodes have."""
    return {names[NAME] for names in world.names.values()}


def stands(world: Reconciled, machine: str) -> str:
    """Return where a node stands against the younger set."""
    record, state = world.sets.records["web"], world.sets.states["web"]
    found = world.reconciler.standings.of(record, state)
    (one,) = [each.state for each in found if each.machine == machine]
    return one


def test_what_contradicted_an_older_set_is_brought_once_that_is_removed() -> None:
    with contradicting() as world:
        del world.sets.records["old"]
        world.sets.tell()
        world.settle(12, 1.0)
        assert has(world) == {ONE}


def test_what_waits_for_an_older_set_that_follows_the_tag_too_is_no_conflict() -> None:
    with contradicting() as world:
        assert {stands(world, machine) for machine in "abc"} == {"conflict"}
        old = world.sets.records["old"]
        world.sets.records["old"] = msgspec.structs.replace(old, follow="tag")
        assert {stands(world, machine) for machine in "abc"} == {"missing"}
        # What people have gone back from they don't want for a while.
        state = world.sets.states["old"]
        images = [msgspec.structs.replace(state.images[0], rejected=[ONE])]
        world.sets.states["old"] = msgspec.structs.replace(state, images=images)
        assert {stands(world, machine) for machine in "abc"} == {"conflict"}


def test_and_once_the_older_one_wants_the_same() -> None:
    with contradicting() as world:
        old = world.sets.states["old"]
        images = [msgspec.structs.replace(old.images[0], current="", next="")]
        world.sets.states["old"] = msgspec.structs.replace(old, images=images)
        world.sets.tell()
        world.settle(12, 1.0)
        assert has(world) == {ONE}
