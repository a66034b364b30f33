"""Histories in which the model has found something broken."""

from collections.abc import Callable

from tests.unit.model.world import World, draft
from towline.wire.job import ONCE
from towline.wire.rollout import Waves
from towline.wire.target import ALL

Make = Callable[..., World]


def deliver(world: World, *texts: str) -> None:
    for text in texts:
        world.network.deliver(world.network.find(text)[0])
    world.check()


def test_nodes_that_were_taken_for_away_before_they_led_may_lead_again(world: Make) -> None:
    made = world(nodes=2)
    first = made.controllers[0]
    job = made.submit(first, draft(ALL, waves=Waves(canary="1"), leads=True))
    assert job is not None
    first.miss("a")
    first.miss("b")
    assert sorted(made.promises.truth[job.id].turns.waiting) == ["a", "b"]
    made.recover()


def test_a_job_made_in_the_moment_in_which_a_ledger_is_made_is_not_run_again(world: Make) -> None:
    made = world(nodes=2)
    made.submit(made.controllers[0], draft(ALL, effect=ONCE))
    deliver(made, "release to a")
    made.lose_ledger(made.nodes[0])
    for _ in range(4):
        made.pass_time(7.0)
        made.deliver_all()
    made.recover()


def test_what_the_lead_has_found_is_sent_at_once(world: Make) -> None:
    made = world(nodes=2)
    made.submit(made.controllers[0], draft(ALL, leads=True))
    deliver(made, "release to a")
    # No later than the job was made, by whichever clock.
    made.find(made.promises.running[0], "d")
    deliver(made, "report a led")
    assert made.network.find("release to b")
    made.recover()


def test_a_job_that_has_ended_before_its_acknowledgement_comes_stays_ended(world: Make) -> None:
    made = world(nodes=2)
    first, second = made.controllers
    first.prompt = first.journal.prompt = False
    job = made.submit(first, draft(ALL, waves=Waves(max_parallel="1")))
    assert job is not None
    deliver(made, "x stores job")
    second.cancel(job.id)
    made.check()
    assert made.promises.truth[job.id].done
    deliver(made, "answer to x stores job")
    assert not len(first.open)
    assert not made.network.find("release")
    made.recover()
