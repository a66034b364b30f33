"""What declaring a set would come to, on fleets of any size."""

from tests.testing.sets import NAME, a_set
from tests.unit.controller.inventory.world import World
from towline.controller.sets.declarations import Lacking
from towline.endpoints.set_foreseen import MOST_NAMED, foreseen

OTHER = "docker.io/library/redis:7"


async def test_all_nodes_are_counted_and_of_each_kind_a_bounded_number_is_named() -> None:
    (member,) = World("m1").fleet.members()
    kinds = [([], True), ([], False), ([NAME], True)]
    nodes = [Lacking(member, *kind) for kind in kinds for _ in range(3 * MOST_NAMED)]
    # The image that few lack is not hidden by one that many do.
    nodes += [Lacking(member, [NAME, OTHER], known=True)] * 5
    found = await foreseen(a_set(), "created", nodes)
    assert (found.total, found.lacking) == (len(nodes), 3 * MOST_NAMED + 5)
    assert len(found.nodes) == 3 * MOST_NAMED + 5
    assert sum(OTHER in each.lacks for each in found.nodes) == 5
