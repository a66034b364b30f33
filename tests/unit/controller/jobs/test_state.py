"""A job as its plan and its events make it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.jobs import LONG_AGO, a_decision, a_job, an_event, planned
from towline.controller.jobs.state import JobState
from towline.controller.rollout.turns import Pause
from towline.units import timestamp
from towline.wire.event import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    EXPIRED,
    FAILED,
    LEAVE,
    LED,
    PAUSED,
    RELEASED,
    RESUMED,
    SKIPPED,
    STARTED,
    STEP,
    TAKEN_BACK,
    WITHHELD,
    Event,
    Lead,
    NamedNode,
)
from towline.wire.job import SOON, Job, PlannedNode
from towline.wire.rollout import Waves

ENDS = [COMPLETED, FAILED, SKIPPED, CANCELLED, EXPIRED]
JOB = a_job(machines="ab", operation="docker.pull.execute", parameters={"image": "nginx"})
WAITING = msgspec.structs.replace(JOB, plan=planned("ab", "waits"), waves=Waves(max_parallel="1"))
ANY = msgspec.structs.replace(
    JOB, target="_any,group:web", plan=planned("a"), nodes=1, effect="once"
)
OF_A = {"hostname": "host-a", "machine_id": "a"}


def folded(job: Job, *events: Event) -> JobState:
    state = JobState(job)
    for place, each in enumerate(events, 1):
        state.apply(each, place)
    return state


def of(machine: str, kind: str, at: float = 1.0, **more: Any) -> Event:
    return msgspec.structs.replace(an_event(JOB, kind, machine, **more), time=LONG_AGO + at)


def statuses(state: JobState) -> dict[str, str]:
    return {machine: task.status for machine, task in state.tasks.items()}


def test_a_job_begins_as_its_plan_says() -> None:
    plan = [
        *planned("a"),
        *planned("b", "waits"),
        *planned("c", "canary"),
        *planned("d", "leads"),
        PlannedNode("e", "host-e", "skipped", "drained"),
        PlannedNode("f", "host-f", "failed", "not reachable"),
    ]
    state = JobState(a_job(plan=plan, nodes=4))
    assert set(state.turns.under_way) == {"a", "c", "d"}
    assert list(state.turns.waiting) == ["b"]
    assert state.turns.canaries == {"c": None}
    assert state.turns.leading == {"d": LONG_AGO}
    assert (state.turns.total, state.turns.failed) == (4, 0)
    assert state.unfinished == set("abcd")
    assert state.tasks["e"].results()[0]["reason"] == "drained"
    assert state.tasks["f"].results()[0]["error"] == "not reachable"
    assert state.tasks["f"].ended == LONG_AGO


def test_a_lead_of_a_job_with_a_canary_is_its_canary() -> None:
    state = JobState(a_job(plan=planned("a", "leads"), waves=Waves(canary="1")))
    assert state.turns.canaries == {"a": None}


def test_a_task_goes_from_pending_over_running_to_its_end() -> None:
    state = folded(JOB)
    task = state.tasks["a"]
    assert task.results()[0] == OF_A | {"status": "pending"}
    state.apply(of("a", STARTED, 1))
    assert task.results()[0] == OF_A | {"status": "running"}
    state.apply(of("a", COMPLETED, 2, data={"size": 7}))
    assert task.results()[0] == OF_A | {"status": "ok", "size": 7}
    assert (task.started, task.ended) == (LONG_AGO + 1, LONG_AGO + 2)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (COMPLETED, "ok"),
        (FAILED, "failed"),
        (SKIPPED, "skipped"),
        (CANCELLED, "cancelled"),
        (EXPIRED, "expired"),
    ],
)
def test_each_kind_of_end_has_its_status_and_keeps_the_reason(kind: str, status: str) -> None:
    task = folded(JOB, of("a", kind, error="why")).tasks["a"]
    field = "error" if status == "failed" else "reason"
    assert task.results()[0] == OF_A | {"status": status, field: "why"}


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (None, [{}]),
        ({}, [{}]),
        ({"size": 7}, [{"size": 7}]),
        ([], []),
        ([{"key": "a"}, {"key": "b"}], [{"key": "a"}, {"key": "b"}]),
        (["a", 1], [{}, {}]),
        ("text", [{}]),
        (7, [{}]),
        (False, [{}]),
        ({"hostname": "other", "machine_id": "b", "status": "failed"}, [{}]),
    ],
    ids=repr,
)
def test_what_an_operation_returned_makes_a_result_or_one_for_each_entry(
    data: Any, rows: list[dict[str, Any]]
) -> None:
    task = folded(JOB, of("a", COMPLETED, data=data)).tasks["a"]
    assert task.results() == [OF_A | {"status": "ok"} | row for row in rows]
    assert task.data == data


@pytest.mark.parametrize("kind", [FAILED, SKIPPED, CANCELLED, EXPIRED])
def test_a_node_that_did_not_end_well_has_one_result_whatever_it_says(kind: str) -> None:
    task = folded(JOB, of("a", kind, error="why", data=[])).tasks["a"]
    assert len(task.results()) == 1


def test_an_operation_may_have_a_status_of_its_own() -> None:
    task = folded(JOB, of("a", COMPLETED, data={"status": "in-sync"})).tasks["a"]
    assert task.results("outcome") == [OF_A | {"outcome": "ok", "status": "in-sync"}]
    task = folded(JOB, of("a", FAILED, error="why")).tasks["a"]
    assert task.results("outcome") == [OF_A | {"outcome": "failed", "error": "why"}]


@pytest.mark.parametrize(
    ("data", "changed"),
    [
        (None, None),
        ("text", None),
        ([], None),
        ({"size": 7}, None),
        ({"changed": False}, False),
        ({"changed": True}, True),
        ([{"key": "a"}, {"changed": False}], False),
        ([{"changed": False}, {"changed": True}], True),
    ],
    ids=repr,
)
def test_a_node_has_changed_where_one_of_its_rows_says_so(data: Any, changed: bool | None) -> None:
    assert folded(JOB, of("a", COMPLETED, data=data)).tasks["a"].changed is changed


def test_a_failure_has_the_code_that_its_node_names() -> None:
    state = folded(JOB, of("a", FAILED, error="there is none", code=404), of("b", FAILED))
    assert (state.tasks["a"].code, state.tasks["b"].code) == (404, None)


@pytest.mark.parametrize("data", [None, [], ["caller"], "caller", 7, {"caller": ["ann"]}], ids=repr)
def test_a_decision_is_folded_whatever_its_data_are(data: Any) -> None:
    for kind in (CANCELLING, PAUSED, LED):
        folded(WAITING, a_decision(WAITING, kind, data=data))


@pytest.mark.parametrize("kind", ["heated", "progress", ""])
def test_a_kind_of_report_that_is_not_known_yet_changes_no_status(kind: str) -> None:
    state = folded(JOB, of("a", kind, 5))
    assert state.tasks["a"].status == "pending"
    assert not state.done
    assert not state.foreign


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ("", "submitted"),
        ("a started", "processing"),
        ("a completed", "processing"),
        ("a failed", "processing"),
        ("a completed, b completed", "completed"),
        ("a completed, b skipped", "completed"),
        ("a skipped, b skipped", "completed"),
        ("a completed, b failed", "partial_failure"),
        ("a skipped, b expired", "partial_failure"),
        ("a cancelled, b completed", "partial_failure"),
        ("a failed, b expired", "failed"),
    ],
)
def test_the_status_of_the_whole_follows_from_its_tasks(events: str, status: str) -> None:
    pairs = [each.split() for each in events.split(", ") if each]
    state = folded(JOB, *(of(machine, kind) for machine, kind in pairs))
    assert state.status == status
    assert state.done == (status in ("completed", "failed", "partial_failure"))


def test_a_job_for_any_node_that_none_has_taken_is_not_done() -> None:
    state = JobState(msgspec.structs.replace(ANY, plan=[]))
    assert (state.done, state.status, state.tasks) == (False, "submitted", {})


@given(st.lists(st.sampled_from([STARTED, STEP, "heated", *ENDS]), max_size=4))
def test_a_task_that_has_ended_never_changes(later: list[str]) -> None:
    state = folded(JOB, of("a", STARTED), of("a", COMPLETED, 2, data={"size": 7}))
    before = state.tasks["a"].results()[0], state.tasks["a"].ended, state.turns.failed
    for kind in later:
        state.apply(of("a", kind, 99, data={"late": 1}, error="late"))
    for decided in (WITHHELD, TAKEN_BACK, RELEASED, LEAVE):
        nodes = [NamedNode("a", "host-a", "late", "failed")]
        state.apply(a_decision(JOB, decided, nodes=nodes))
    state.apply(a_decision(JOB, CANCELLING))
    assert (state.tasks["a"].results()[0], state.tasks["a"].ended, state.turns.failed) == before
    assert "a" not in state.turns.under_way
    assert "a" not in state.unfinished


@given(st.permutations([STARTED, STEP, "end"]), st.sampled_from(ENDS))
def test_reports_of_a_task_may_come_in_any_order(order: list[str], end: str) -> None:
    events = {
        STARTED: of("a", STARTED, 1),
        STEP: of("a", STEP, 2, step="queued", waits="max_pulls"),
        "end": of("a", end, 3, started=LONG_AGO + 1),
    }
    state = folded(JOB, *(events[each] for each in order))
    plain = folded(JOB, *events.values())
    for slot in ("status", "started", "ended", "waits", "reason", "error", "data"):
        assert getattr(state.tasks["a"], slot) == getattr(plain.tasks["a"], slot), slot


def test_a_report_of_a_machine_that_has_no_part_in_it_changes_nothing() -> None:
    state = folded(JOB, of("z", STARTED), of("z", FAILED))
    assert statuses(state) == {"a": "pending", "b": "pending"}


@pytest.mark.parametrize("late", [False, True])
def test_a_task_that_waits_on_its_node_says_so_until_it_goes_on(late: bool) -> None:
    words = "queued: 3 pulls run before it"
    queued = of("a", STEP, 2.0, step="queued", waits="max_pulls", error=words)
    state = folded(JOB, of("a", STARTED), queued)
    task = state.tasks["a"]
    assert (task.status, task.waits, task.reason) == ("running", "max_pulls", words)
    state.apply(of("a", STEP, 3.0, step="dequeued", error="its turn after 1.0 s"))
    if late:
        state.apply(queued)
    assert (task.status, task.waits, task.reason) == ("running", None, None)


def test_of_a_queue_nothing_is_left_in_the_end() -> None:
    waiting = {"step": "queued", "waits": "max_pulls", "error": "queued: 3 pulls run before it"}
    state = folded(
        JOB,
        of("a", STEP, 2.0, **waiting),
        of("a", COMPLETED, 3.0, data={}),
        of("a", STEP, 4.0, **waiting),
    )
    assert state.tasks["a"].results()[0] == OF_A | {"status": "ok"}


# Decisions


@pytest.mark.parametrize(
    ("effect", "expires", "until"),
    [
        ("once", 3600.0, SOON),
        ("read", 3600.0, SOON),
        ("once", 5.0, 5.0),
        ("converge", 3600.0, None),
    ],
)
def test_the_first_turns_of_waves_are_over_as_soon_as_later_ones(
    effect: str, expires: float, until: float | None
) -> None:
    first = planned("ab", "turn")
    job = msgspec.structs.replace(
        WAITING, plan=first, created=LONG_AGO, expires=LONG_AGO + expires, effect=effect
    )
    turns = folded(job).turns.under_way
    wanted = None if until is None else LONG_AGO + until
    assert [turn.until for turn in turns.values()] == [wanted, wanted]
    at_once = folded(msgspec.structs.replace(job, waves=None)).turns.under_way
    assert [turn.until for turn in at_once.values()] == [None, None]


def test_nodes_have_their_turn_when_they_are_named_or_when_all_are_meant() -> None:
    state = folded(WAITING, a_decision(JOB, RELEASED, "b", until=LONG_AGO + 30, canary=True))
    assert list(state.turns.waiting) == ["a"]
    assert state.turns.under_way["b"].until == LONG_AGO + 30
    assert state.turns.canaries == {"b": None}
    assert state.turns.timed
    state.apply(a_decision(JOB, RELEASED))
    assert not state.turns.waiting
    assert set(state.turns.under_way) == {"a", "b"}


def test_a_turn_is_taken_back_only_before_leave() -> None:
    state = folded(WAITING, a_decision(JOB, RELEASED, "ab"), a_decision(JOB, LEAVE, "a"))
    assert state.tasks["a"].status == "running"
    assert state.turns.under_way["a"].leave
    state.apply(a_decision(JOB, TAKEN_BACK, "ab"))
    assert set(state.turns.under_way) == {"a"}
    assert list(state.turns.waiting) == ["b"]
    assert statuses(state) == {"a": "running", "b": "pending"}


def test_a_job_for_any_node_goes_to_another_one_when_it_is_taken_back() -> None:
    state = folded(ANY, a_decision(ANY, TAKEN_BACK, "a"))
    assert (state.tasks, state.unfinished, state.done) == ({}, set(), False)
    assert not state.turns.waiting
    state.apply(a_decision(ANY, RELEASED, "b"))
    assert statuses(state) == {"b": "pending"}
    state.apply(of("a", COMPLETED))  # of the first, which did it all the same
    assert statuses(state) == {"b": "pending"}
    state.apply(a_decision(ANY, RELEASED, "c"))  # one that came too late
    assert statuses(state) == {"b": "pending"}
    state.apply(of("b", COMPLETED))
    assert state.status == "completed"


def test_what_is_withheld_has_ended_with_its_status_and_reason() -> None:
    nodes = [
        NamedNode("a", "host-a", "drained", "skipped"),
        NamedNode("b", "host-b", "too many failed", "cancelled"),
    ]
    state = folded(WAITING, a_decision(JOB, WITHHELD, nodes=nodes))
    assert statuses(state) == {"a": "skipped", "b": "cancelled"}
    assert state.tasks["b"].reason == "too many failed"
    assert state.turns.failed == 0
    assert state.done


def test_a_job_for_any_node_that_none_took_ends_in_nobodys_name() -> None:
    nobody = msgspec.structs.replace(ANY, plan=[])
    expired = a_decision(ANY, WITHHELD, nodes=[NamedNode("_", "_any", "too late", "expired")])
    state = folded(nobody, expired)
    assert state.tasks["_"].results()[0] == {
        "hostname": "_any",
        "status": "expired",
        "reason": "too late",
    }
    cancelled = folded(nobody, a_decision(ANY, CANCELLING, data={"caller": "ann"}))
    assert cancelled.tasks["_"].results()[0]["reason"] == "cancelled by ann"
    assert cancelled.done


@pytest.mark.parametrize("leave", [False, True])
def test_cancelled_are_only_those_that_had_no_turn_or_not_the_leave_that_they_need(
    leave: bool,
) -> None:
    events = [a_decision(JOB, RELEASED, "a")]
    events += [a_decision(JOB, LEAVE, "a")] * leave
    state = folded(WAITING, *events, a_decision(JOB, CANCELLING, data={"caller": "ann"}))
    assert state.cancelled == "cancelled by ann"
    assert statuses(state) == {"a": "running" if leave else "cancelled", "b": "cancelled"}
    assert state.tasks["b"].reason == "cancelled by ann"


def test_a_node_that_has_its_turn_and_needs_no_leave_says_itself_that_it_was_cancelled() -> None:
    state = folded(JOB, a_decision(JOB, CANCELLING, data={"caller": "ann"}))
    assert statuses(state) == {"a": "pending", "b": "pending"}
    state.apply(of("a", CANCELLED, error="cancelled by ann"))
    state.apply(of("b", COMPLETED))
    assert statuses(state) == {"a": "cancelled", "b": "ok"}


def test_the_first_lead_counts_and_gives_all_others_their_turn() -> None:
    plan = [*planned("a", "leads"), *planned("bc", "waits")]
    job = msgspec.structs.replace(JOB, plan=plan, leads=True)
    led = [
        a_decision(JOB, LED, data={"value": value, "hostname": "host-a"}) for value in ("x", "y")
    ]
    state = folded(job, *led)
    assert state.lead == Lead("x", "host-a", LONG_AGO + 1)
    assert set(state.turns.under_way) == set("abc")
    waves = folded(msgspec.structs.replace(job, waves=Waves(max_parallel="1")), *led)
    assert list(waves.turns.waiting) == ["b", "c"]


def test_a_pause_is_shown_with_who_asked_for_it_until_it_is_over() -> None:
    state = folded(WAITING, a_decision(JOB, PAUSED, data={"caller": "ann"}))
    assert state.turns.paused == Pause("ann", LONG_AGO + 1)
    state.apply(a_decision(JOB, RESUMED, data={"caller": "bob"}))
    assert state.turns.paused is None


def test_a_decision_of_a_kind_that_is_not_known_is_noticed_for_good() -> None:
    state = folded(WAITING, a_decision(JOB, "moved"), a_decision(JOB, RELEASED, "a"))
    assert state.foreign
    assert state.last == 2


def test_the_last_decision_is_known_by_its_place_and_reports_are_none() -> None:
    state = JobState(WAITING)
    state.apply(a_decision(JOB, PAUSED), 5)
    state.apply(of("a", STARTED), 9)
    assert state.last == 5


def test_of_open_tasks_alone_the_others_are_counted() -> None:
    events = [of("a", STARTED), of("a", FAILED)]
    state = JobState(JOB, open_only=True)
    for each in events:
        state.apply(each)
    assert set(state.tasks) == {"b"}
    assert state.counts == {"failed": 1, "pending": 1}
    assert (state.status, state.done) == ("processing", False)
    state.apply(of("b", COMPLETED))
    assert (state.tasks, state.done, state.status) == ({}, True, "partial_failure")


def test_a_job_was_updated_when_its_newest_event_was_written() -> None:
    assert folded(JOB).updated == LONG_AGO
    assert folded(JOB, of("a", COMPLETED, 9), of("a", STARTED, 3)).updated == LONG_AGO + 9


def test_why_a_task_has_expired_names_the_moment() -> None:
    assert timestamp(JOB.expires) in JobState(JOB).expiry
