"""Sets of several images: what is done for one is no matter of the others."""

import contextlib
from collections.abc import Iterator

from tests.testing.reconciled import Reconciled
from tests.testing.sets import NAME, a_set, digest
from towline.wire.rollout import Waves

OTHER = "docker.io/library/nginx:stable"
ONE = digest(1)


@contextlib.contextmanager
def a_fleet(**more: object) -> Iterator[Reconciled]:
    """Three nodes, and a set of two tags that name one digest."""
    world = Reconciled()
    try:
        world.tags = dict.fromkeys((NAME, OTHER), ONE)
        for machine in "abc":
            world.join(machine, "")
        world.sets.records["web"] = a_set(NAME, OTHER, **more)  # type: ignore[arg-type]
        world.sets.tell()
        yield world
    finally:
        world.close()


def test_two_images_of_one_digest_are_rolled_out_at_once_each_by_a_job_of_its_own() -> None:
    with a_fleet(waves=Waves(canary="1")) as world:
        world.settle(8, 1.0)
        assert all(names == {NAME: ONE, OTHER: ONE} for names in world.names.values())
        assert len(world.jobs) == 2


def test_two_images_of_one_digest_that_nodes_lose_are_brought_back_at_once() -> None:
    with a_fleet() as world:
        world.settle(8, 10.0)
        for machine, names in world.names.items():
            names.clear()
            world.say(machine)
        world.settle(3, 1.0)
        assert all(names == {NAME: ONE, OTHER: ONE} for names in world.names.values())


def test_an_image_of_which_no_job_can_be_made_holds_up_no_other() -> None:
    with a_fleet() as world:
        world.refuses = lambda request: (
            "the rules say no" if request.parameters["image"] == NAME else ""
        )
        world.settle(8, 1.0)
        assert all(names == {OTHER: ONE} for names in world.names.values())
        world.refuses = lambda request: ""
        world.settle(8, 10.0)
        assert all(names == {NAME: ONE, OTHER: ONE} for names in world.names.values())
