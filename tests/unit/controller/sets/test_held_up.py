"""Who holds a rollout up, and for how long."""

import pytest

from tests.testing.jobs import a_decision, an_event
from tests.testing.kept import kept, kinds
from tests.testing.sets import digest
from towline.controller.sets import rule
from towline.wire.event import LEAVE, PAUSED
from towline.wire.rollout import Waves

ONE, TWO = digest(1), digest(2)
CANARY = Waves(canary="1", max_failures="0")


def test_a_node_that_hangs_in_its_turn_holds_up_the_others_for_a_while_only() -> None:
    found = kept(Waves(max_parallel="2"))
    found.tag = TWO
    found.resolve()
    found.keep()
    for _ in range(3):
        found.turn()
        for machine in "bcd":
            found.work(machine)
    (job,) = found.going
    assert job.unfinished == {"a"}
    found.now = job.ended + rule.LAST_WAITED_FOR - 1
    assert found.keep() == []
    found.now += 1
    assert kinds(found.keep()) == ["Promote"]
    # What it has begun goes on.
    assert (found.image.current, found.keep(), job.cancelled) == (TWO, [], None)
    found.settle()
    assert found.everybody == "2 2 2 2"


def test_nodes_that_wait_for_their_turn_are_waited_for() -> None:
    found = kept(Waves(max_parallel="1"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.turn()
    found.work("a")
    found.turn()
    (job,) = found.going
    found.now = job.ended + 10 * rule.LAST_WAITED_FOR
    assert found.keep() == []


def test_nodes_that_are_away_hold_nobody_up() -> None:
    found = kept(Waves(max_parallel="2"))
    found.nodes["d"].here = False
    found.tag = TWO
    found.resolve()
    found.settle(6)
    assert (found.image.current, found.everybody) == (TWO, "2 2 2 1")
    found.nodes["d"].here = True
    found.settle()
    assert found.everybody == "2 2 2 2"


@pytest.mark.parametrize("paused", [False, True])
def test_a_canary_that_goes_away_in_its_turn_is_followed_by_another_after_a_while(
    paused: bool,
) -> None:
    found = kept(CANARY)
    found.tag = TWO
    found.resolve()
    found.keep()
    found.turn()
    (job,) = found.going
    (canary,) = job.turns.under_way
    job.apply(an_event(job.job, LEAVE, canary))
    found.nodes[canary].here = False
    if paused:
        job.apply(a_decision(job.job, PAUSED, data={"caller": "ann"}))
    found.now = job.turns.under_way[canary].since + rule.LAST_WAITED_FOR - 1
    assert found.keep() == []
    found.now += 1
    # Who holds it has the last word.
    assert kinds(found.keep()) == ([] if paused else ["Cancel"])
    if paused:
        return
    found.settle(8)
    assert (found.image.current, found.has(canary)) == (TWO, ONE)
    assert canary not in [*found.all.values()][-1].turns.canaries
    # When it is back it ends what it had begun, and is given what all others have.
    found.nodes[canary].here = True
    found.settle()
    assert found.everybody == "2 2 2 2"
