"""The rule by which the tasks of a job get their turns."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testing.jobs import a_decision, an_event
from tests.testing.turns import NOW, World
from towline.controller.rollout.rule import (
    GONE_AFTER,
    LEAD_WITHIN,
    MOST_LEADS,
    SEEN_AFTER,
    Decision,
    due,
    limits,
    stopped,
    waits_for,
)
from towline.controller.rollout.turns import Pause
from towline.wire.event import (
    CANCELLING,
    LED,
    RELEASED,
    STARTED,
    WITHHELD,
    NamedNode,
)
from towline.wire.rollout import Waves

SHARES = st.integers(1, 12).map(str) | st.integers(1, 100).map(lambda share: f"{share}%")


def waves(machines: str, **given_options: str) -> World:
    return World(machines, waves=Waves.of(given_options), effect="converge")


# All at once


def test_without_waves_all_have_their_turn_at_once_and_those_away_too() -> None:
    world = World("abc")
    world.nodes.away = {"b"}
    assert world.ask().everyone
    assert world.go() == "abc"
    assert not world.ask()


def test_a_turn_that_needs_no_leave_is_never_taken_back() -> None:
    world = World("ab")
    world.go()
    world.nodes.away = set("ab")
    assert not world.ask()


def test_of_a_job_with_a_decision_that_is_not_known_nothing_is_decided() -> None:
    world = World("ab")
    world.state.apply(a_decision(world.job, "moved"))
    assert not world.ask()
    assert not world.ask(world.job.expires + 1)


# Any node


def test_a_job_for_any_node_is_given_to_the_one_that_is_picked() -> None:
    world = World(target="_any")
    assert not world.ask()
    world.nodes.picked = "b"
    assert world.go() == "b"
    assert not world.ask()


def test_a_job_for_any_node_is_given_to_another_one_before_leave_alone() -> None:
    world = World(target="_any")
    world.nodes.picked = "a"
    world.go()
    world.nodes.away = {"a"}
    world.nodes.picked = "b"
    assert world.go() == ""
    assert world.go() == "b"
    world.leave("b")
    world.nodes.away = {"b"}
    assert not world.ask()


def test_a_job_for_any_node_that_none_took_in_time_has_expired() -> None:
    world = World(target="_any")
    world.go(world.job.expires + 1)
    assert world.statuses == {"_": "expired"}
    assert world.state.done


# Waves


def test_so_many_are_released_at_a_time_in_the_order_of_the_plan() -> None:
    world = waves("abcde", max_parallel="2")
    assert world.go() == "ab"
    assert world.go() == ""
    world.leave("a")
    world.end("b")
    assert world.go() == "c"
    world.end("a")
    world.end("c", "failed")
    assert world.go() == "de"


def test_a_canary_goes_first_and_alone() -> None:
    world = waves("abcdef", canary="2")
    assert world.go() == "ab"
    world.end("a")
    assert world.go() == ""
    assert waits_for(world.state) == ("canary", "waits for the canary")
    world.end("b")
    assert waits_for(world.state) == ("max_parallel", "waits: 6 at a time")
    assert world.go() == "cdef"


def test_a_canary_is_not_larger_than_what_may_run_at_a_time() -> None:
    world = waves("abcdef", max_parallel="1", canary="2")
    assert world.go() == "a"
    world.end("a")
    assert world.ask().canary
    assert world.go() == "b"
    world.end("b")
    assert not world.ask().canary


def test_a_canary_that_skips_has_proven_nothing() -> None:
    world = waves("abc", canary="1")
    world.go()
    world.end("a", "skipped")
    assert world.go() == "b"
    world.end("b")
    assert world.go() == "c"


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_a_failed_canary_stops_the_rest_where_nothing_else_is_said(status: str) -> None:
    world = waves("abcd", canary="2")
    world.go()
    world.end("b", status)
    reason = "cancelled: 1 of 2 canary nodes failed"
    assert world.ask() == Decision(withhold=dict.fromkeys("cd", ("cancelled", reason)))


def test_with_max_failures_a_failed_canary_is_a_failure_like_others() -> None:
    world = waves("abcd", canary="1", max_failures="1")
    world.go()
    world.end("a", "failed")
    assert world.go() == "bcd"


def test_what_fails_after_the_canary_stops_nothing_by_itself() -> None:
    world = waves("abcd", max_parallel="1", canary="1")
    world.go()
    world.end("a")
    world.go()
    world.end("b", "failed")
    assert world.go() == "c"


def test_past_max_failures_the_rest_is_cancelled_with_the_reason() -> None:
    world = waves("abcdefghij", max_parallel="3", max_failures="2")
    world.go()
    for machine, status in (("a", "failed"), ("b", "skipped"), ("c", "expired")):
        world.end(machine, status)
    assert world.go() == "def"
    world.end("d", "failed")
    reason = "cancelled: 3 of 10 nodes failed, more than max_failures=2"
    assert world.ask().withhold == dict.fromkeys("ghij", ("cancelled", reason))
    world.go()
    assert set(world.state.turns.under_way) == {"e", "f"}


def test_nodes_that_fail_without_a_turn_are_no_failures() -> None:
    world = waves("abc", max_parallel="1", max_failures="0")
    nodes = [NamedNode("a", "host-a", "not reachable", "failed")]
    world.state.apply(a_decision(world.job, WITHHELD, nodes=nodes))
    assert world.go() == "b"


def test_a_node_that_is_away_takes_no_place_and_has_its_turn_when_it_returns() -> None:
    world = waves("abcd", max_parallel="2")
    world.nodes.away = {"a"}
    assert world.go() == "bc"
    world.end("b")
    world.nodes.away.clear()
    assert world.go() == "a"


def test_a_node_that_goes_away_keeps_its_place_only_with_leave() -> None:
    world = waves("abcd", max_parallel="2")
    world.go()
    world.leave("a")
    world.nodes.away = {"a", "b"}
    assert world.ask() == Decision(take_back=["b"])
    world.go()
    assert world.go() == "c"
    world.end("c")
    world.nodes.away = {"a"}
    # It stands last now: it has lost its place.
    assert world.go() == "d"
    world.end("a")
    assert world.go() == "b"


def test_a_canary_that_goes_away_before_it_has_leave_is_replaced() -> None:
    world = waves("abcd", canary="1")
    world.go()
    world.nodes.away = {"a"}
    world.go()
    assert world.go() == "b"
    assert world.go() == ""


def test_a_node_that_is_refused_at_its_turn_takes_no_place() -> None:
    world = waves("abcd", max_parallel="1")
    world.nodes.drained = {"a", "c"}
    assert world.ask() == Decision(withhold={"a": ("skipped", "drained")})
    world.go()
    assert world.go() == "b"


def test_a_pause_holds_all_back_but_not_a_stop() -> None:
    world = waves("abcd", max_parallel="1", max_failures="0")
    world.state.turns.paused = Pause("ann", 1.0)
    assert waits_for(world.state)[0] == "paused"
    assert world.go() == ""
    world.state.turns.paused = None
    assert world.go() == "a"
    world.state.turns.paused = Pause("ann", 2.0)
    world.end("a", "failed")
    assert set(world.ask().withhold) == set("bcd")


def test_a_cancelled_job_releases_nobody_more() -> None:
    world = waves("abcd", max_parallel="1")
    world.go()
    world.leave("a")
    world.state.apply(a_decision(world.job, CANCELLING, data={"caller": "ann"}))
    assert world.statuses == {"a": "running"} | dict.fromkeys("bcd", "cancelled")
    assert not world.ask()


# The lead


def led(world: World, machine: str) -> None:
    data = {"value": "x", "hostname": f"host-{machine}"}
    world.state.apply(a_decision(world.job, LED, data=data))


def test_the_lead_goes_first_and_what_it_found_gives_all_others_their_turn() -> None:
    world = World("abc", leads=True)
    assert world.ask() == Decision(release=["a"], leads=True)
    assert world.go() == "a"
    assert waits_for(world.state) == (None, "waits for the node that goes first")
    assert not world.ask(NOW + LEAD_WITHIN - 0.1)
    led(world, "a")
    assert set(world.state.turns.under_way) == set("abc")
    assert not world.ask()


@pytest.mark.parametrize("why", ["slow", "away", "ended"])
def test_a_lead_that_finds_nothing_is_followed_by_another_one(why: str) -> None:
    world = World("abcde", leads=True)
    world.go()
    if why == "away":
        world.nodes.away = {"a"}
    elif why == "ended":
        world.end("a", "failed")
    now = NOW + LEAD_WITHIN if why == "slow" else NOW
    assert world.ask(now) == Decision(release=["b"], leads=True)


def test_after_so_many_leads_all_have_their_turn() -> None:
    world = World("abcdef", leads=True)
    for number in range(MOST_LEADS):
        assert len(world.go(NOW + number * LEAD_WITHIN)) == 1
    assert waits_for(world.state)[0] == "max_parallel"
    assert world.go(NOW + MOST_LEADS * LEAD_WITHIN) == "def"


def test_who_has_led_and_was_taken_back_does_not_lead_again() -> None:
    world = World("ab", leads=True, waves=Waves(max_parallel="1"), effect="converge")
    world.go()
    world.nodes.away = {"a"}
    world.go()
    world.nodes.away = set()
    assert world.ask() == Decision(release=["b"], leads=True)


# Ends by decision


def test_what_waits_when_the_job_expires_has_expired() -> None:
    world = waves("abc", max_parallel="1")
    world.go()
    world.leave("a")
    assert not world.ask(world.job.expires)
    assert set(world.ask(world.job.expires + 0.1).withhold) == {"b", "c"}


def test_a_task_that_its_node_lists_has_not_expired() -> None:
    world = World("a")
    world.go()
    world.nodes.held = {"a"}
    assert not world.ask(world.job.expires + 60)


def test_a_task_has_not_expired_before_its_node_has_said_that_it_has_it_not() -> None:
    world = World("a")
    world.go()
    for beaten in (0.0, world.job.expires, world.job.expires + SEEN_AFTER):
        world.nodes.beaten = beaten
        assert not world.ask(world.job.expires + 60)
    world.nodes.beaten = world.job.expires + SEEN_AFTER + 0.1
    assert world.ask(world.job.expires + 60).withhold == {
        "a": ("expired", f"not begun before {world.state.expiry}")
    }


def test_a_task_whose_node_is_away_has_expired_and_nobody_says_that_it_was_not_begun() -> None:
    world = World("a")
    world.go()
    world.nodes.away = world.nodes.held = {"a"}
    (status, why) = world.ask(world.job.expires + 1).withhold["a"]
    assert status == "expired"
    assert why == f"not known to have begun before {world.state.expiry}: the node is away"


def test_a_task_without_the_leave_that_it_needs_has_expired_wherever_it_is() -> None:
    world = waves("a", max_parallel="1")
    world.go()
    world.nodes.held = {"a"}
    assert world.ask(world.job.expires + 1).withhold["a"][0] == "expired"


@pytest.mark.parametrize("leave", [False, True])
def test_a_task_that_may_have_begun_has_failed_when_its_node_stays_away(
    leave: bool,
) -> None:
    world = waves("a", max_parallel="1") if leave else World("a")
    world.go()
    if leave:
        world.leave("a")
    else:
        world.state.apply(an_event(world.job, STARTED, "a"))
    late = world.job.expires + GONE_AFTER + 1
    world.nodes.held = {"a"}
    assert not world.ask(late)
    world.nodes.held = set()
    assert world.ask(late).withhold == {
        "a": ("failed", "the node knows it no more: it is not known whether it ran")
    }
    world.nodes.away = {"a"}
    assert not world.ask(late - 2)
    assert world.ask(late).withhold == {
        "a": ("failed", "the node is gone: it is not known whether it ran")
    }


def test_a_turn_that_is_over_before_the_job_has_expired_by_itself() -> None:
    world = waves("ab", max_parallel="1")
    until = NOW + 20
    world.state.apply(a_decision(world.job, RELEASED, "a", until=until))
    assert not world.ask(until)
    (status, why) = world.ask(until + 0.1).withhold["a"]
    assert status == "expired"
    assert why.startswith("not begun before its turn was over at 2023-")


# What is sent


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda world: None, True),
        (lambda world: world.nodes.away.add("a"), False),
        (lambda world: world.nodes.held.add("a"), False),
        (lambda world: world.end("a"), False),
        (lambda world: world.state.apply(an_event(world.job, STARTED, "a")), True),
    ],
)
def test_a_task_is_sent_to_a_node_that_is_here_and_has_it_not(
    prepare: Callable[[World], None],
    expected: bool,
) -> None:
    world = World("a")
    assert not due(world.state, world.nodes, "a", NOW)
    world.go()
    prepare(world)
    assert due(world.state, world.nodes, "a", NOW) is expected


def test_a_task_is_not_sent_past_its_time_unless_it_has_leave() -> None:
    world = waves("ab", max_parallel="2")
    world.state.apply(a_decision(world.job, RELEASED, "a", until=NOW + 5))
    world.state.apply(a_decision(world.job, RELEASED, "b"))
    world.leave("b")
    late = world.job.expires + 1
    assert [due(world.state, world.nodes, "a", NOW + more) for more in (5, 6)] == [True, False]
    assert due(world.state, world.nodes, "b", late)


def test_a_cancellation_is_sent_until_the_end_though_the_node_has_the_task() -> None:
    world = World("a")
    world.go()
    world.nodes.held = {"a"}
    world.state.apply(a_decision(world.job, CANCELLING))
    assert due(world.state, world.nodes, "a", world.job.expires + 99)
    world.end("a")
    assert not due(world.state, world.nodes, "a", NOW)


# All of it


@settings(deadline=None)
@given(
    total=st.integers(1, 12),
    options=st.fixed_dictionaries(
        {},
        optional={"max_parallel": SHARES, "canary": SHARES, "max_failures": SHARES},
    ).filter(lambda found: found and found.keys() != {"max_failures"}),
    leads=st.booleans(),
    chance=st.randoms(use_true_random=False),
)
def test_in_any_course_of_events_no_limit_is_passed_and_every_node_ends(
    total: int,
    options: dict[str, str],
    leads: bool,
    chance: random.Random,
) -> None:
    machines = "abcdefghijkl"[:total]
    world = World(machines, waves=Waves.of(options), effect="converge", leads=leads)
    found, turns = limits(world.job.waves, total), world.state.turns

    def step(now: float, *, kind: bool) -> None:
        """Let the rule decide, then one thing come to pass; in the end only what is kind."""
        decided = world.ask(now)
        if decided.release:
            assert not world.nodes.away & set(decided.release)
            assert not turns.paused
            assert not stopped(turns, found)
            assert set(decided.release) <= set(turns.waiting)
            assert len(turns.under_way) + len(decided.release) <= found.parallel
            going = sum(machine in turns.canaries for machine in turns.under_way)
            if decided.canary:
                assert turns.tried + going + len(decided.release) <= found.canary
            else:
                assert turns.tried >= found.canary
        assert all(not turns.under_way[machine].leave for machine in decided.take_back)
        world.go(now)
        under_way = list(turns.under_way)
        what = chance.choice(
            ["end"] if kind else ["end", "end", "leave", "away", "return", "pause", "lead"]
        )
        if what == "end" and under_way:
            machine = chance.choice(under_way)
            world.leave(machine)
            if kind and leads and world.state.lead is None:
                led(world, machine)
            world.end(machine, chance.choice(["ok", "ok", "failed", "skipped", "expired"]))
        elif what == "leave" and under_way:
            world.leave(chance.choice(under_way))
        elif what == "away":
            world.nodes.away.add(chance.choice(machines))
        elif what == "return" and world.nodes.away:
            world.nodes.away.discard(chance.choice(sorted(world.nodes.away)))
        elif what == "pause":
            turns.paused = None if turns.paused else Pause("ann", 1.0)
        elif what == "lead" and under_way:
            led(world, chance.choice(under_way))

    for number in range(chance.randrange(3 * total)):
        step(NOW + number, kind=False)
    world.nodes.away.clear()
    turns.paused = None
    for _ in range(4 * total + 3):
        step(NOW + 40, kind=True)
    assert world.state.done
    assert not turns.waiting
    assert not turns.under_way
    cancelled = [machine for machine, status in world.statuses.items() if status == "cancelled"]
    assert not cancelled or stopped(turns, found) is not None
