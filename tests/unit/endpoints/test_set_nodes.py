"""Pages of a set's nodes: each row once, whatever nodes are called, and no more looked at than it
takes."""

from types import SimpleNamespace
from typing import cast

import pytest

from tests.testing.sets import NAME, a_set
from tests.unit.controller.inventory.world import World
from tests.unit.controller.sets.test_declarations import InMemory
from towline.controller.jobs.open import OpenJobs
from towline.controller.sets import standing
from towline.controller.sets.attempts import Attempts
from towline.controller.sets.summaries import Summaries
from towline.controller.sets.view import Standings
from towline.endpoint import Context
from towline.endpoints import set_views
from towline.wire.node import Registration

OTHER = "docker.io/library/redis:7"
NODES = [("b", "m9"), ("b", "m2"), ("a", "m5"), ("b", "m4"), ("c", "m1")]
"""Hostnames and machine ids, as they were registered."""
RECORD = a_set(NAME, OTHER)


@pytest.fixture
def context() -> Context:
    """A set of two images on nodes of which several have one hostname."""
    world, sets = World("m1"), InMemory(RECORD)
    for hostname, machine in NODES:
        world.fleet.register(Registration(machine, hostname, "0.2.0", 0.0))
    clock = world.fleet.clock
    known = (world.fleet, world.inventories, sets, OpenJobs())
    standings = Standings(*known, Attempts(clock), clock)
    summaries = Summaries(sets, world.fleet, standings)
    images = SimpleNamespace(sets=sets, standings=standings, summaries=summaries)
    controller = SimpleNamespace(images=images, fleet=world.fleet)
    return cast(Context, SimpleNamespace(controller=controller))


async def read(context: Context, most: int, image: str | None = None) -> list[tuple[str, ...]]:
    """Read all rows page by page."""
    found: list[tuple[str, ...]] = []
    after = None
    while page := await set_views.rows(context, RECORD, after, most, state=None, image=image):
        found += [(each.hostname, each.machine, each.image) for each in page]
        after = set_views.place_of(RECORD, page[-1])
    return found


@pytest.mark.parametrize("most", [1, 2, 3, 100])
async def test_each_row_comes_once_also_of_nodes_that_share_a_hostname(
    context: Context, most: int
) -> None:
    wanted = [(*node, image) for node in sorted(NODES) for image in (NAME, OTHER)]
    assert await read(context, most) == wanted
    assert await read(context, most, OTHER) == [each for each in wanted if each[2] == OTHER]
    assert await read(context, most, "docker.io/library/none:1") == []


async def test_a_page_looks_at_no_node_before_it_and_none_behind_it(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    stand = standing.stand

    def counted(*of: object) -> standing.Standing:
        found = stand(*of)  # type: ignore[arg-type]
        looked.append(found.machine)
        return found

    monkeypatch.setattr(standing, "stand", counted)
    await set_views.rows(context, RECORD, ("b", "m4", 0), 2, state=None, image=None)
    assert looked == ["m4", "m4", "m9"]


async def test_how_many_rows_there_are_is_said_of_one_image_or_of_all(context: Context) -> None:
    assert await set_views.states(context, RECORD, None) == {"unknown": 2 * len(NODES)}
    assert await set_views.states(context, RECORD, OTHER) == {"unknown": len(NODES)}
