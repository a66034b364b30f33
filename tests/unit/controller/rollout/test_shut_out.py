"""The ends of tasks on nodes that were revoked or removed."""

from tests.testing.turns import World
from towline.wire.rollout import Waves


def test_tasks_on_nodes_that_never_come_back_are_cancelled_wherever_they_are() -> None:
    world = World("abcd", waves=Waves.of({"max_parallel": "2"}), effect="converge")
    world.go()
    world.leave("a")
    world.nodes.shut_out = dict.fromkeys("abdz", "the node was revoked by ann")
    gone = ("cancelled", "the node was revoked by ann")
    assert world.ask().withhold == {
        "a": (gone[0], f"{gone[1]}: it is not known whether it ran"),
        "b": gone,
        "d": gone,
    }
    world.go()
    assert world.state.unfinished == {"c"}
    assert world.go() == "c"
