"""The rule that keeps sets true."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testing.jobs import a_decision
from tests.testing.kept import Kept, kept, kinds
from tests.testing.sets import NAME, a_set, digest
from towline.controller.rollout.turns import Pause
from towline.controller.sets import changes, rule
from towline.wire.event import LEAVE
from towline.wire.rollout import Waves

ONE, TWO, THREE = digest(1), digest(2), digest(3)
CANARY = Waves(canary="1", max_failures="0")


def test_what_is_declared_is_rolled_out_in_one_job_and_is_current_then() -> None:
    found = kept()
    assert found.everybody == "1 1 1 1"
    assert len(found.all) == 1
    assert found.keep() == []


def test_a_new_digest_is_rolled_out_by_the_options_and_the_old_one_is_remembered() -> None:
    found = kept(CANARY)
    found.tag = TWO
    found.resolve()
    (action,) = found.keep()
    assert isinstance(action, rule.RollOut)
    state = found.all[found.image.job]
    assert (state.job.waves, set(action.machines)) == (CANARY, set("abcd"))
    found.settle()
    assert found.everybody == "2 2 2 2"
    assert (found.image.current, found.image.before) == (TWO, [ONE])
    assert [each.what for each in found.state.history][-2:] == ["resolved", "rolled_out"]


def test_a_canary_that_fails_stops_it_and_the_rest_stays_as_it_is() -> None:
    found = kept(CANARY)
    found.tag, found.failing = TWO, {"a"}
    found.resolve()
    found.settle()
    assert found.everybody == "1 1 1 1"
    assert found.image.stopped == "1 of 4 nodes failed, more than max_failures=0"
    stopped = found.state.history[-1]
    assert (stopped.what, stopped.digest, stopped.job) == ("stopped", TWO, found.image.job)
    # Whoever has nothing gets what the others have.
    found.have("b", "")
    found.settle()
    assert found.everybody == "1 1 1 1"


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_rollout_that_was_stopped_begins_anew_when_people_say_so(forgotten: bool) -> None:
    found = kept(CANARY)
    found.tag, found.failing = TWO, {"a"}
    found.resolve()
    found.settle()
    first, found.failing = found.image.job, set()
    if forgotten:
        found.state = msgspec.structs.replace(found.state, history=[])
    found.state = found.state.anew(found.now)
    found.settle()
    assert found.everybody == "2 2 2 2"
    assert found.state.history[-1].job != first


def test_and_waits_for_nobody_who_is_still_at_what_was_stopped() -> None:
    found = kept(Waves(max_parallel="2", max_failures="0"))
    found.tag, found.failing = TWO, {"a"}
    found.resolve()
    found.keep()
    found.turn()
    found.work("a")
    found.turn()
    assert kinds(found.keep()) == ["Stop"]
    first = found.image.job
    assert found.all[first].turns.under_way
    assert found.all[first].cancelled is None
    found.state = found.state.anew(found.now)
    found.now += 60.0
    assert kinds(found.keep()) == ["RollOut"]
    assert found.image.job != first


def test_a_job_that_is_cancelled_already_holds_nothing_up() -> None:
    found = kept(Waves(max_parallel="1"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.turn()
    (job,) = found.going
    job.apply(a_decision(job.job, LEAVE, "".join(job.turns.under_way)))
    found.tag = ONE
    found.resolve()
    assert (found.image.current, found.image.next) == (ONE, "")
    assert kinds(found.keep()) == ["Cancel"]
    assert found.going == [job]
    found.have("d", "")
    assert kinds(found.keep()) == ["FillIn"]


def test_a_rollout_that_was_stopped_goes_on_when_the_tag_names_another() -> None:
    found = kept(CANARY)
    found.tag, found.failing = TWO, {"a"}
    found.resolve()
    found.settle()
    found.tag, found.failing = THREE, set()
    found.resolve()
    found.settle()
    assert found.everybody == "3 3 3 3"
    assert found.image.before == [ONE]


def test_without_a_budget_nodes_that_fail_hold_nobody_up_and_are_tried_again() -> None:
    found = kept()
    found.tag, found.failing = TWO, {"a"}
    found.resolve()
    found.settle(5)
    assert (found.everybody, found.image.current) == ("1 2 2 2", TWO)
    found.failing = set()
    found.settle()
    assert found.everybody == "2 2 2 2"


def test_missing_images_are_brought_together_without_waves_and_outside_the_window() -> None:
    found = kept(CANARY)
    found.window = False
    found.have("ab", "")
    found.have("c", TWO)
    (action,) = found.keep()
    assert isinstance(action, rule.FillIn)
    assert (sorted(action.machines), found.going[0].job.waves) == (list("abc"), None)
    found.settle()
    assert found.everybody == "1 1 1 1"


def test_a_new_digest_waits_for_the_window_and_what_was_declared_first_does_not() -> None:
    found = Kept(a_set())
    found.window = False
    found.resolve()
    found.settle()
    assert found.everybody == "1 1 1 1"
    found.tag = TWO
    found.resolve()
    found.settle()
    assert (found.everybody, found.image.next) == ("1 1 1 1", TWO)
    found.window = True
    found.settle()
    assert found.everybody == "2 2 2 2"


def test_a_node_that_joins_during_a_rollout_is_given_the_current_digest_and_then_the_next() -> None:
    found = kept(Waves(max_parallel="1"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.turn()
    found.have("d", "")
    found.nodes["e"] = type(found.nodes["a"])("e")
    assert kinds(found.keep()) == ["FillIn"]
    found.work("e")
    found.turn()
    found.work("e")
    assert found.has("e") == ONE
    found.settle()
    assert found.everybody == "2 2 2 2 2"


def test_a_rollout_waits_a_while_for_nodes_that_lack_what_all_others_have() -> None:
    found = kept(CANARY)
    found.have("d", "")
    found.keep()
    found.tag = TWO
    found.resolve()
    assert found.keep() == []
    late = found.now
    found.now += rule.FILLED_FIRST
    assert kinds(found.decide()) == ["RollOut"]
    found.now = late
    found.settle()
    assert found.everybody == "2 2 2 2"
    assert found.all[found.state.history[-1].job].job.nodes == 4


def test_a_rollout_that_outlives_its_job_goes_on_by_its_options_in_another() -> None:
    found = kept(Waves(canary="1", max_parallel="1", max_failures="0"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.turn()
    found.work("a")
    found.now += 2e6  # the set was paused, say, over all days that a job lasts
    found.turn()
    (first,) = (each for each in found.all.values() if each.job.id == found.image.job)
    assert (first.done, first.counts) == (True, {"ok": 1, "expired": 3})
    (action,) = found.keep()
    assert isinstance(action, rule.RollOut)
    assert (sorted(action.machines), found.image.next) == (list("bcd"), TWO)
    found.failing = {"c"}
    found.settle()
    assert found.everybody == "2 2 1 1"
    assert found.image.stopped == "1 of 3 nodes failed, more than max_failures=0"


def test_a_rollout_whose_job_expired_for_nodes_that_are_away_alone_is_over() -> None:
    found = kept(Waves(canary="1", max_parallel="2"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.nodes["d"].here = False
    for _ in range(3):
        found.turn()
        for machine in "abc":
            found.work(machine)
    found.now += 2e6
    found.turn()
    made = len(found.all)
    found.settle()
    assert (found.image.current, found.everybody, len(found.all)) == (TWO, "2 2 2 1", made)


def test_nodes_that_all_skip_a_rollout_have_it_again_after_a_pause_and_by_its_options() -> None:
    found = kept(CANARY)
    found.tag, found.skipping = TWO, set("abcd")
    found.resolve()
    made = len(found.all)
    for _ in range(20):
        found.keep()
        found.turn()
        for machine in "abcd":
            found.work(machine)
    assert (len(found.all), found.image.next) == (made + 1, TWO)
    found.skipping = set()
    found.settle()
    assert (found.everybody, len(found.all)) == ("2 2 2 2", made + 2)


def test_nothing_is_promoted_that_no_node_has_proven() -> None:
    found = kept(CANARY)
    found.tag = TWO
    found.resolve()
    found.keep()
    for node in found:
        node.here = False
    found.turn()
    assert found.keep() == []
    assert found.image.next == TWO


def test_a_rollback_is_brought_about_by_a_job_and_a_rollout_that_goes_on_is_cancelled() -> None:
    found = kept(Waves(max_parallel="1"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.turn()
    found.work("a")
    back = msgspec.structs.replace(found.image, next="", job="", rejected=[TWO])
    found.state = msgspec.structs.replace(found.state, images=[back])
    assert kinds(found.keep()) == ["Cancel"]
    found.resolve()
    found.settle()
    assert (found.everybody, found.image.next) == ("1 1 1 1", "")
    # It is taken again only when the tag has named another.
    found.tag = THREE
    found.resolve()
    found.tag = TWO
    found.resolve()
    found.settle()
    assert found.everybody == "2 2 2 2"


def test_a_job_that_people_cancel_stops_the_rollout() -> None:
    found = kept(Waves(max_parallel="1"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.turn()
    found.cancel(found.image.job, "ann")
    found.settle()
    assert found.image.stopped == "cancelled by ann"
    assert "2" not in found.everybody[2:]


def test_a_declaration_that_wants_something_else_cancels_what_nobody_wants_any_more() -> None:
    for change in (
        {"target": "group:web"},
        {"options": Waves(max_parallel="2")},
        {"images": [msgspec.structs.replace(a_set().images[0], platform="linux/arm64")]},
    ):
        found = kept(Waves(max_parallel="1"))
        found.tag = TWO
        found.resolve()
        found.keep()
        first = found.image.job
        found.record = msgspec.structs.replace(found.record, generation=2, **change)
        assert kinds(found.keep()) == ["Cancel"]
        assert found.all[first].cancelled == "cancelled by set:web"
        if "images" not in change:
            found.settle()
            assert (found.everybody, found.image.stopped) == ("2 2 2 2", "")


def test_a_declaration_that_leaves_that_alone_leaves_the_job_alone() -> None:
    found = kept(Waves(max_parallel="1"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.record = msgspec.structs.replace(found.record, generation=2, every=60.0, keep=3)
    assert found.keep() == []


def test_a_paused_set_holds_what_waits_and_lets_go_only_what_it_has_held() -> None:
    found = kept(Waves(max_parallel="1"))
    found.tag = TWO
    found.resolve()
    found.keep()
    found.turn()
    running, found.state = found.state, msgspec.structs.replace(found.state, paused=found.now)
    assert kinds(found.decide()) == ["Hold"]
    for by, wanted in (("set:web", ["LetGo"]), ("ann", [])):
        found.state = running
        (job,) = found.going
        job.turns.paused = Pause(by, 0.0)
        assert kinds(found.decide()) == wanted


def test_a_job_that_was_made_but_not_noted_is_noted_and_not_made_again() -> None:
    found = kept(CANARY)
    found.tag = TWO
    found.resolve()
    noted = found.state
    found.keep()
    job, found.state = found.image.job, noted
    assert found.keep() == [rule.Adopt(msgspec.structs.replace(found.image, job=""), job)]
    assert found.image.job == job


def test_a_rollout_waits_for_nodes_that_have_not_said_yet_what_they_have() -> None:
    found = kept(CANARY)
    found.tag = TWO
    found.resolve()
    image = found.image
    facts = rule.Facts(open=["a"], unknown=True)
    seen = rule.Situation({(NAME, ""): facts}, patient=False)
    assert rule.decide(found.record, found.state, seen) == []
    seen = msgspec.structs.replace(seen, patient=True)
    assert rule.decide(found.record, found.state, seen) == [rule.RollOut(image, ["a"])]


def test_a_node_that_lacks_both_digests_is_given_the_current_one_and_not_in_the_rollout() -> None:
    found = kept(CANARY)
    found.tag = TWO
    found.resolve()
    facts = rule.Facts(ready=["a"], open=["a", "b"])
    seen = rule.Situation({(NAME, ""): facts}, now=found.now + rule.FILLED_FIRST)
    assert rule.decide(found.record, found.state, seen) == [
        rule.RollOut(found.image, ["b"]),
        rule.FillIn(found.image, ["a"]),
    ]


def test_older_digests_are_removed_in_the_window_and_while_nothing_is_rolled_out() -> None:
    found = kept()
    facts = {(NAME, ""): rule.Facts(unused={TWO: ["a"], THREE: []})}
    seen = rule.Situation(facts)
    assert rule.decide(found.record, found.state, seen) == [rule.Remove(found.image, TWO, ["a"])]
    seen = msgspec.structs.replace(seen, window=False)
    assert rule.decide(found.record, found.state, seen) == []


def test_what_a_rollback_has_rejected_is_not_resolved_to_until_the_tag_names_another() -> None:
    found = kept()
    rejected = msgspec.structs.replace(found.image, current=ONE, rejected=[TWO])
    found.state = msgspec.structs.replace(found.state, images=[rejected])
    for tag, following, left in ((TWO, "", [TWO]), (ONE, "", []), (TWO, TWO, [])):
        found.tag = tag
        found.resolve()
        assert (found.image.next, found.image.rejected) == (following, left)


def test_a_change_that_comes_too_late_changes_nothing() -> None:
    found = kept(CANARY)
    found.tag = TWO
    found.resolve()
    found.keep()
    late, found.tag = found.image, THREE
    found.resolve()
    before = found.state
    assert changes.rolled_out(found.record, late, found.now)(before) == before
    assert changes.stopped(found.record, late, "late", found.now)(before) == before
    assert changes.started(found.record, late, "job")(before) == before


def test_what_one_job_has_come_to_is_nothing_to_another_of_the_same_digest() -> None:
    found = kept(CANARY)
    found.tag = TWO
    found.resolve()
    found.keep()
    late, before = msgspec.structs.replace(found.image, job="another"), found.state
    assert changes.rolled_out(found.record, late, found.now)(before) == before
    assert changes.stopped(found.record, late, "late", found.now)(before) == before


def test_what_was_before_and_is_current_again_is_not_among_what_was_before() -> None:
    found = kept()
    for tag, before in ((TWO, [ONE]), (THREE, [TWO, ONE]), (ONE, [THREE, TWO])):
        found.tag = tag
        found.resolve()
        found.settle()
        assert (found.image.current, found.image.before) == (tag, before)


def test_what_was_looked_up_for_a_set_that_is_gone_is_none_of_that_of_its_name() -> None:
    found = kept()
    anew = msgspec.structs.replace(found.state, id="another", paused=found.now)
    answer = changes.Answer(NAME, "", THREE)
    assert changes.resolved(found.record, [answer], found.now)(anew) == anew


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["tag", "resolve", "remove", "other", "away", "fail", "keep", "turn", "work", "window"]
        ),
        st.sampled_from("abcd"),
        st.integers(1, 3),
    ),
    max_size=40,
)
WAVES = st.sampled_from(
    [None, CANARY, Waves(max_parallel="1"), Waves(canary="2"), Waves(max_parallel="50%")]
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, WAVES)
def test_in_the_end_all_nodes_have_what_is_wanted_whatever_happened(
    events: list[tuple[str, str, int]], waves: Waves | None
) -> None:
    found = Kept(a_set(waves=waves))
    for what, machine, number in events:
        happens(found, what, machine, number)
    found.failing, found.window = set(), True
    for node in found:
        node.here = True
    found.state = found.state.anew(found.now)
    found.resolve()
    found.settle(200)
    assert (found.image.current, found.image.next, found.image.stopped) == (found.tag, "", "")
    assert {found.has(machine) for machine in found.nodes} == {found.tag}
    assert not found.going
    made = len(found.all)
    found.settle(5)
    assert len(found.all) == made, "jobs without an end"


def happens(found: Kept, what: str, machine: str, number: int) -> None:
    """Have something happen."""
    node = found.nodes[machine]
    if what == "tag":
        found.tag = digest(number)
    elif what == "resolve":
        found.resolve()
    elif what == "remove":
        found.have(machine, "")
    elif what == "other":
        found.have(machine, digest(number))
    elif what == "away":
        node.here = not node.here
    elif what == "fail":
        found.failing ^= {machine}
    elif what == "window":
        found.window = not found.window
    elif what == "keep":
        open_before = {each.job.id for each in found.going}
        found.keep()
        for state in found.going:
            if state.job.id not in open_before:
                # Never is a node given two jobs of the same.
                assert not any(
                    state.unfinished & other.unfinished and state.job.lead == other.job.lead
                    for other in found.going
                    if other is not state and other.cancelled is None
                )
    elif what == "turn":
        found.turn()
    else:
        found.work(machine)
