"""The rule by which the nodes of a job get their turns."""

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.controller.rollout.rule import Limits, Pause, Turns, decide, limits, stopped, waits_for
from towline.wire.rollout import Waves

SHARES = st.integers(1, 12).map(str) | st.integers(1, 100).map(lambda share: f"{share}%")


def nobody(machine: str) -> None:
    return None


def everybody(machine: str) -> bool:
    return True


def turns_of(total: int) -> Turns:
    turns = Turns()
    for number in range(total):
        turns.plan(f"m{number:02}")
    return turns


def release(turns: Turns, found: Limits, here: Callable[[str], bool] = everybody) -> list[str]:
    """Let the rule decide, and do what it says."""
    decision = decide(turns, found, here=here, refused=nobody)
    for machine in decision.release:
        turns.release(machine, canary=decision.canary)
    for machine, (status, _) in decision.withhold.items():
        turns.end(machine, status)
    return decision.release


@pytest.mark.parametrize(
    ("given_options", "total", "expected"),
    [
        ({"max_parallel": "50"}, 1000, Limits(1000, 50, 0, None)),
        ({"max_parallel": "25%"}, 10, Limits(10, 2, 0, None)),
        ({"max_parallel": "1%"}, 10, Limits(10, 1, 0, None)),
        ({"max_parallel": "100%"}, 7, Limits(7, 7, 0, None)),
        ({"canary": "2"}, 10, Limits(10, 10, 2, None)),
        ({"canary": "20"}, 10, Limits(10, 10, 10, None)),
        ({"canary": "5%"}, 10, Limits(10, 10, 1, None)),
        ({"max_parallel": "1", "max_failures": "0"}, 10, Limits(10, 1, 0, 0)),
        ({"max_parallel": "1", "max_failures": "19%"}, 10, Limits(10, 1, 0, 1)),
        ({"canary": "1", "max_failures": "0%"}, 10, Limits(10, 10, 1, 0)),
    ],
)
def test_numbers_and_percentages_come_to_numbers_of_nodes(
    given_options: dict[str, str], total: int, expected: Limits
) -> None:
    waves = Waves.of(given_options)
    assert waves is not None
    assert limits(waves, total) == expected


@pytest.mark.parametrize(
    ("given_options", "named"),
    [
        ({"max_parallel": "0"}, "1 or more"),
        ({"max_parallel": "0%"}, "1% to 100%"),
        ({"max_parallel": "101%"}, "'101%'"),
        ({"canary": "0"}, "'canary'"),
        ({"canary": "-1"}, "'-1'"),
        ({"canary": ""}, "''"),
        ({"canary": "two"}, "'two'"),
        ({"canary": "1.5"}, "'1.5'"),
        ({"canary": "٣"}, "'canary'"),
        ({"max_parallel": "1", "max_failures": "101%"}, "0% to 100%"),
        ({"max_parallel": "1000000000000"}, "'max_parallel'"),
        ({"max_failures": "2"}, "give 'max_parallel' or 'canary' too"),
    ],
)
def test_what_can_be_no_option_is_refused_by_its_name(
    given_options: dict[str, str], named: str
) -> None:
    with pytest.raises(ValueError, match=r"max_|canary") as refused:
        Waves.of(given_options)
    assert named in str(refused.value)


def test_no_option_means_no_waves() -> None:
    assert Waves.of({}) is None


def test_waves_are_read_back_from_their_json() -> None:
    waves = Waves.of({"canary": " 2 ", "max_failures": "10%"})
    assert waves == Waves(canary="2", max_failures="10%")
    assert msgspec.json.decode(msgspec.json.encode(waves), type=Waves) == waves


def test_so_many_are_released_at_a_time_in_the_order_of_the_plan() -> None:
    turns, found = turns_of(5), Limits(5, 2, 0, None)
    assert release(turns, found) == ["m00", "m01"]
    assert release(turns, found) == []
    turns.begin("m00")
    turns.end("m01", "ok")
    assert release(turns, found) == ["m02"]
    turns.end("m00", "ok")
    turns.end("m02", "failed")
    assert release(turns, found) == ["m03", "m04"]


def test_a_canary_goes_first_and_alone() -> None:
    turns, found = turns_of(6), Limits(6, 6, 2, None)
    assert release(turns, found) == ["m00", "m01"]
    turns.end("m00", "ok")
    assert release(turns, found) == []
    assert waits_for(turns, found) == ("canary", "waits for the canary")
    turns.end("m01", "ok")
    assert waits_for(turns, found) == ("max_parallel", "waits: 6 at a time")
    assert release(turns, found) == ["m02", "m03", "m04", "m05"]


def test_a_canary_is_not_larger_than_what_may_run_at_a_time() -> None:
    turns, found = turns_of(6), Limits(6, 1, 2, None)
    assert release(turns, found) == ["m00"]
    turns.end("m00", "ok")
    assert decide(turns, found, here=everybody, refused=nobody).canary
    assert release(turns, found) == ["m01"]
    turns.end("m01", "ok")
    assert not decide(turns, found, here=everybody, refused=nobody).canary


def test_a_canary_that_skips_has_proven_nothing() -> None:
    turns, found = turns_of(3), Limits(3, 3, 1, None)
    release(turns, found)
    turns.end("m00", "skipped")
    assert release(turns, found) == ["m01"]
    turns.end("m01", "ok")
    assert release(turns, found) == ["m02"]


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_a_failed_canary_stops_the_rest_where_nothing_else_is_said(status: str) -> None:
    turns, found = turns_of(4), Limits(4, 4, 2, None)
    release(turns, found)
    turns.end("m01", status)
    decision = decide(turns, found, here=everybody, refused=nobody)
    reason = "cancelled: 1 of 2 canary nodes failed"
    assert decision.withhold == dict.fromkeys(("m02", "m03"), ("cancelled", reason))
    assert decision.release == []


def test_with_max_failures_a_failed_canary_is_a_failure_like_others() -> None:
    turns, found = turns_of(4), Limits(4, 4, 1, 1)
    release(turns, found)
    turns.end("m00", "failed")
    assert release(turns, found) == ["m01", "m02", "m03"]


def test_what_fails_after_the_canary_stops_nothing_by_itself() -> None:
    turns, found = turns_of(4), Limits(4, 1, 1, None)
    release(turns, found)
    turns.end("m00", "ok")
    release(turns, found)
    turns.end("m01", "failed")
    assert release(turns, found) == ["m02"]


def test_past_max_failures_the_rest_is_cancelled_with_the_reason() -> None:
    turns, found = turns_of(10), Limits(10, 3, 0, 2)
    release(turns, found)
    turns.end("m00", "failed")
    turns.end("m01", "skipped")
    turns.end("m02", "expired")
    release(turns, found)
    assert stopped(turns, found) is None
    turns.end("m03", "failed")
    decision = decide(turns, found, here=everybody, refused=nobody)
    reason = "cancelled: 3 of 10 nodes failed, more than max_failures=2"
    assert decision.withhold == {f"m{n:02}": ("cancelled", reason) for n in range(6, 10)}
    assert set(turns.under_way) == {"m04", "m05"}


def test_nodes_that_fail_without_a_turn_are_no_failures() -> None:
    turns, found = turns_of(3), Limits(3, 1, 0, 0)
    turns.end("m00", "failed")
    assert release(turns, found) == ["m01"]


def test_a_node_that_is_away_takes_no_place_and_has_its_turn_when_it_returns() -> None:
    turns, found, away = turns_of(4), Limits(4, 2, 0, None), {"m00"}
    assert release(turns, found, lambda m: m not in away) == ["m01", "m02"]
    turns.end("m01", "ok")
    away.clear()
    assert release(turns, found, lambda m: m not in away) == ["m00"]


def test_a_node_that_goes_away_keeps_its_place_only_once_it_has_begun() -> None:
    turns, found, away = turns_of(4), Limits(4, 2, 0, None), {"m00", "m01"}
    release(turns, found)
    turns.begin("m00")
    assert release(turns, found, lambda m: m not in away) == ["m02"]


def test_a_canary_that_goes_away_before_it_has_begun_is_replaced() -> None:
    turns, found, away = turns_of(4), Limits(4, 4, 1, None), {"m00"}
    release(turns, found)
    assert release(turns, found, lambda m: m not in away) == ["m01"]
    assert release(turns, found, lambda m: m not in away) == []


def test_a_node_that_is_refused_at_its_turn_takes_no_place() -> None:
    turns, found = turns_of(4), Limits(4, 1, 0, None)
    why = ("skipped", "drained")
    decision = decide(
        turns, found, here=everybody, refused=lambda m: why if m in ("m00", "m02") else None
    )
    assert decision.withhold == {"m00": why}
    assert decision.release == ["m01"]


def test_a_pause_holds_all_back_but_not_a_stop() -> None:
    turns, found = turns_of(4), Limits(4, 1, 0, 0)
    turns.paused = Pause("ann", 1.0)
    assert release(turns, found) == []
    turns.paused = None
    assert release(turns, found) == ["m00"]
    turns.paused = Pause("ann", 2.0)
    turns.end("m00", "failed")
    assert len(decide(turns, found, here=everybody, refused=nobody).withhold) == 3


def test_a_cancelled_job_releases_nobody_more() -> None:
    turns, found = turns_of(4), Limits(4, 1, 0, None)
    release(turns, found)
    decision = decide(
        turns, found, here=everybody, refused=nobody, over=("cancelled", "cancelled by ann")
    )
    assert list(decision.withhold) == ["m01", "m02", "m03"]
    assert set(decision.withhold.values()) == {("cancelled", "cancelled by ann")}
    assert decision.release == []


@settings(deadline=None)
@given(
    total=st.integers(1, 12),
    options=st.fixed_dictionaries(
        {},
        optional={"max_parallel": SHARES, "canary": SHARES, "max_failures": SHARES},
    ).filter(lambda found: found and found.keys() != {"max_failures"}),
    chance=st.randoms(use_true_random=False),
)
def test_in_any_course_of_events_each_node_has_one_turn_and_no_limit_is_passed(
    total: int, options: dict[str, str], chance: random.Random
) -> None:
    waves = Waves.of(options)
    assert waves is not None
    found, turns = limits(waves, total), turns_of(total)
    machines = list(turns.waiting)
    away: set[str] = set()
    released: list[str] = []
    ended: dict[str, str] = {}
    flagged: list[str] = []
    begun: set[str] = set()

    def step(*, kind: bool) -> None:
        """Let the rule decide, then one thing come to pass; in the end only what is kind."""
        decision = decide(
            turns,
            found,
            here=lambda machine: machine not in away,
            refused=lambda machine: None,
        )
        assert not away & set(decision.release)
        assert not (decision.release and (turns.paused or stopped(turns, found)))
        taken = [m for m in released if m not in ended and (m in begun or m not in away)]
        if decision.release:
            assert len(taken) + len(decision.release) <= found.parallel
            tried = sum(ended.get(m) in ("ok", "failed", "expired") for m in flagged)
            if decision.canary:
                going = sum(m in flagged for m in taken)
                assert tried + going + len(decision.release) <= found.canary
            else:
                assert tried >= found.canary
        for machine in decision.release:
            assert machine not in released
            assert machine not in ended
            turns.release(machine, canary=decision.canary)
            released.append(machine)
            if decision.canary:
                flagged.append(machine)
        for machine, (status, _) in decision.withhold.items():
            assert machine not in released
            turns.end(machine, status)
            ended[machine] = status
        under_way = [m for m in released if m not in ended]
        choices = ["end"] if kind else ["end", "end", "begin", "leave", "return", "pause"]
        what = chance.choice(choices)
        if what == "end" and under_way:
            machine = chance.choice(under_way)
            ended[machine] = chance.choice(["ok", "ok", "failed", "skipped", "expired"])
            turns.end(machine, ended[machine])
        elif what == "begin" and under_way:
            begun.add(chance.choice(under_way))
            for machine in begun:
                turns.begin(machine)
        elif what == "leave":
            away.add(chance.choice(machines))
        elif what == "return" and away:
            away.discard(chance.choice(sorted(away)))
        elif what == "pause":
            turns.paused = None if turns.paused else Pause("ann", 1.0)

    for _ in range(chance.randrange(3 * total)):
        step(kind=False)
    away.clear()
    turns.paused = None
    for _ in range(3 * total + 3):
        step(kind=True)
    assert set(ended) == set(machines)
    assert not turns.waiting
    assert not turns.under_way
    assert len(released) == len(set(released))
    failed = [m for m in released if ended[m] in ("failed", "expired")]
    assert turns.failed == len(failed)
    cancelled = [m for m in machines if ended[m] == "cancelled"]
    assert not cancelled or stopped(turns, found) is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["plan", "release", "canary", "begin", "end"]), st.integers(0, 3)
        ),
        max_size=12,
        unique=True,
    ),
    st.randoms(use_true_random=False),
)
def test_turns_are_the_same_in_whatever_order_they_arrive(
    steps: list[tuple[str, int]], chance: random.Random
) -> None:
    # A node is released once: as one of the canary, or not.
    canaries = {number for what, number in steps if what == "canary"}
    steps = [each for each in steps if each[0] != "release" or each[1] not in canaries]

    def fold(order: list[tuple[str, int]]) -> dict[str, object]:
        turns = Turns()
        for what, number in order:
            machine = f"m{number}"
            if what == "plan":
                turns.plan(machine)
            elif what == "begin":
                turns.begin(machine)
            elif what == "end":
                turns.end(machine, ("ok", "failed", "skipped", "expired")[number])
            else:
                turns.release(machine, canary=what == "canary")
        return {
            "waiting": set(turns.waiting),
            "under way": turns.under_way,
            "canaries": turns.canaries,
            "failed": turns.failed,
            "total": turns.total,
        }

    shuffled = list(steps)
    chance.shuffle(shuffled)
    assert fold(shuffled) == fold(steps)
