import random
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.controller.jobs.state import JobState
from towline.controller.rollout.rule import Pause
from towline.units import timestamp
from towline.wire.event import (
    CANCELLED,
    CLAIMED,
    COMPLETED,
    EXPIRED,
    FAILED,
    PAUSED,
    PLANNED,
    RELEASED,
    RESUMED,
    SKIPPED,
    STARTED,
    STEP,
    WITHHELD,
    Event,
    PlannedNode,
)
from towline.wire.job import Job, first_id, new_id
from towline.wire.rollout import Waves

CREATED = 1_700_000_000.0
ENDS = [COMPLETED, FAILED, SKIPPED, CANCELLED, EXPIRED]
JOB = Job(
    id="018bcfe5-6800-7000-8000-000000000000",
    operation="docker.pull",
    parameters={"image": "nginx"},
    target="_all",
    caller="ci",
    created=CREATED,
    expires=CREATED + 60,
)
IN_WAVES = msgspec.structs.replace(JOB, waves=Waves(max_parallel="1"))


def planned(*machines: str, refused: Sequence[str] = ()) -> Event:
    nodes = [
        PlannedNode(machine, f"host-{machine}", "away" if machine in refused else None)
        for machine in machines
    ]
    return Event(JOB.id, "_", "", PLANNED, CREATED, nodes=nodes)


def event(machine: str, kind: str, at: float = 1.0, **more: Any) -> Event:
    return Event(JOB.id, machine, f"host-{machine}", kind, CREATED + at, **more)


OF_A = {"hostname": "host-a", "machine_id": "a"}


def folded(*events: Event, nodes: list[PlannedNode] | None = None, job: Job = JOB) -> JobState:
    progress = JobState(job, nodes)
    for each in events:
        progress.apply(each)
    return progress


def picture(progress: JobState) -> dict[str, Any]:
    """Everything that a fold knows, whatever order it came in."""
    not_ended = {machine for machine, task in progress.tasks.items() if task.ended is None}
    assert progress.unfinished == not_ended
    return {
        "tasks": {
            machine: {slot: getattr(task, slot) for slot in task.__slots__}
            for machine, task in progress.tasks.items()
        },
        "planned": progress.planned,
        "done": progress.done,
        "status": progress.status,
        "updated": progress.updated,
    }


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """A job's events as nodes write them, in one order that they can be stored in."""
    machines = draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=4))
    refused = [machine for machine in machines if draw(st.booleans()) and draw(st.booleans())]
    events = [planned(*machines, refused=refused)]
    for machine in machines:
        if machine in refused:
            continue
        started = draw(st.booleans())
        if started:
            events.append(event(machine, STARTED, draw(st.floats(1, 5))))
        if draw(st.booleans()):
            kind = draw(st.sampled_from(ENDS))
            data = {"changed": True} if kind == COMPLETED else None
            error = None if kind == COMPLETED else f"{kind} on {machine}"
            events.append(event(machine, kind, draw(st.floats(6, 9)), data=data, error=error))
    return events


@st.composite
def histories_in_waves(draw: st.DrawFn) -> list[Event]:
    """The same of a job whose nodes are released or withheld one after another."""
    history = draw(histories())
    machines = [node.machine for node in history[0].nodes or [] if node.refused is None]
    acted = {each.machine for each in history[1:]}
    for machine in machines:
        nodes = [PlannedNode(machine, f"host-{machine}")]
        if machine in acted or draw(st.booleans()):
            canary, until = draw(st.booleans()), draw(st.sampled_from([None, CREATED + 30]))
            history.append(event("_", RELEASED, 1, nodes=nodes, canary=canary, until=until))
        elif draw(st.booleans()):
            nodes = [PlannedNode(machine, f"host-{machine}", "too many failed", "cancelled")]
            history.append(event("_", WITHHELD, 5, nodes=nodes))
    return history


@given(histories_in_waves(), st.randoms(use_true_random=False))
def test_a_job_in_waves_is_the_same_in_whatever_order_its_events_come(
    history: list[Event], chance: random.Random
) -> None:
    shuffled = history + [each for each in history for _ in range(chance.randrange(3))]
    chance.shuffle(shuffled)
    one, other = folded(*shuffled, job=IN_WAVES), folded(*history, job=IN_WAVES)
    assert picture(one) == picture(other)
    for progress in (one, other):
        progress.expire(CREATED + 31)
    assert picture(one) == picture(other)
    assert one.turns is not None
    assert other.turns is not None
    assert set(one.turns.waiting) == set(other.turns.waiting)
    assert set(one.turns.waiting) | set(one.turns.under_way) == one.unfinished
    for field in ("under_way", "canaries", "failed", "total"):
        assert getattr(one.turns, field) == getattr(other.turns, field)


def test_a_controller_that_knows_no_waves_sees_plain_tasks() -> None:
    older = msgspec.structs.replace(IN_WAVES, waves=None)
    node = [PlannedNode("a", "host-a")]
    progress = folded(planned("a"), event("_", PAUSED), event("_", RELEASED, nodes=node), job=older)
    assert progress.tasks["a"].status == "pending"
    progress.apply(event("a", COMPLETED))
    assert progress.status == "completed"


def test_a_pause_is_shown_with_who_asked_for_it_until_it_is_over() -> None:
    pause = event("_", PAUSED, 3, data={"caller": "ann"})
    progress = folded(planned("a"), pause, job=IN_WAVES)
    assert progress.turns is not None
    assert progress.turns.paused == Pause("ann", CREATED + 3)
    progress.apply(event("_", RESUMED, 4, data={"caller": "bob"}))
    assert progress.turns.paused is None


@st.composite
def histories_of_any(draw: st.DrawFn) -> list[Event]:
    """The same of a job that the first node to claim it runs."""
    history = [event("a", CLAIMED), event("a", STARTED, 2)]
    history.append(event("a", draw(st.sampled_from(ENDS)), 3))
    return history[: draw(st.integers(0, 3))]


@st.composite
def histories_of_a_taken_over_read(draw: st.DrawFn) -> list[Event]:
    """The same of a read for any node, which another one runs when the first has died."""
    history = [event("a", STARTED, 1), event("b", STARTED, 2)]
    history.append(event("b", draw(st.sampled_from(ENDS)), 3))
    history.append(event("a", draw(st.sampled_from(ENDS)), 4))
    return history[: draw(st.integers(0, 4))]


@given(histories() | histories_of_any(), st.randoms(use_true_random=False))
def test_events_in_any_order_and_more_than_once_give_the_same_result(
    history: list[Event], chance: random.Random
) -> None:
    shuffled = history + [each for each in history for _ in range(chance.randrange(3))]
    chance.shuffle(shuffled)
    assert picture(folded(*shuffled)) == picture(folded(*history))


@given(histories_of_a_taken_over_read(), st.randoms(use_true_random=False))
def test_a_read_that_was_taken_over_is_the_same_in_whatever_order_its_events_come(
    history: list[Event], chance: random.Random
) -> None:
    shuffled = history + [each for each in history for _ in range(chance.randrange(3))]
    chance.shuffle(shuffled)
    job = msgspec.structs.replace(JOB, target="_any")
    one, other = folded(*shuffled, job=job), folded(*history, job=job)
    for progress in (one, other):
        for task in progress.tasks.values():
            task.started = None  # of a node that was given up it is not remembered
    assert picture(one) == picture(other)


@given(histories(), st.lists(st.sampled_from([STARTED, CLAIMED, "heated", *ENDS]), max_size=4))
def test_a_task_that_has_ended_never_changes(history: list[Event], later: list[str]) -> None:
    progress = folded(*history)
    ended = {
        machine: (task.result(), task.ended)
        for machine, task in progress.tasks.items()
        if task.ended is not None
    }
    for machine in list(progress.tasks):
        for kind in later:
            progress.apply(event(machine, kind, 99, data={"late": 1}, error="late"))
    progress.apply(planned(*progress.tasks, refused=list(progress.tasks)))
    progress.expire(JOB.expires + 1)
    for machine, before in ended.items():
        assert (progress.tasks[machine].result(), progress.tasks[machine].ended) == before


@given(histories())
def test_a_job_read_back_from_its_json_folds_to_the_same(history: list[Event]) -> None:
    read = [msgspec.json.decode(msgspec.json.encode(each), type=Event) for each in history]
    assert picture(folded(*read)) == picture(folded(*history))


def test_a_task_goes_from_pending_over_running_to_its_end() -> None:
    progress = folded(planned("a"))
    task = progress.tasks["a"]
    assert task.result() == OF_A | {"status": "pending"}
    progress.apply(event("a", STARTED, 1))
    assert task.result() == OF_A | {"status": "running"}
    progress.apply(event("a", COMPLETED, 2, data={"size": 7}))
    assert task.result() == OF_A | {"status": "ok", "size": 7}
    assert (task.started, task.ended) == (CREATED + 1, CREATED + 2)


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
    task = folded(planned("a"), event("a", kind, error="why")).tasks["a"]
    field = "error" if status == "failed" else "reason"
    assert task.result() == OF_A | {"status": status, field: "why"}


@pytest.mark.parametrize("kind", ["heated", "progress", ""])
def test_a_kind_of_event_that_is_not_known_yet_changes_no_status(kind: str) -> None:
    progress = folded(planned("a"), event("a", kind, 5))
    assert progress.tasks["a"].status == "pending"
    assert not progress.done


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "submitted"),
        ([planned("a", "b")], "submitted"),
        ([planned("a", "b"), event("a", STARTED)], "processing"),
        ([planned("a", "b"), event("a", COMPLETED)], "processing"),
        ([planned("a", "b"), event("a", FAILED)], "processing"),
        ([planned("a", "b"), event("a", COMPLETED), event("b", COMPLETED)], "completed"),
        ([planned("a", "b"), event("a", COMPLETED), event("b", SKIPPED)], "completed"),
        ([planned("a", "b"), event("a", SKIPPED), event("b", SKIPPED)], "completed"),
        ([planned("a", "b"), event("a", COMPLETED), event("b", FAILED)], "partial_failure"),
        ([planned("a", "b"), event("a", SKIPPED), event("b", EXPIRED)], "partial_failure"),
        ([planned("a", "b"), event("a", CANCELLED), event("b", COMPLETED)], "partial_failure"),
        ([planned("a", "b"), event("a", FAILED), event("b", EXPIRED)], "failed"),
        ([planned("a", "b", refused="ab")], "failed"),
        ([planned("a", "b", refused="b"), event("a", COMPLETED)], "partial_failure"),
        ([event("a", CLAIMED)], "submitted"),
        ([event("a", STARTED)], "processing"),
        ([event("a", CLAIMED), event("a", STARTED)], "processing"),
        ([event("a", COMPLETED)], "completed"),
    ],
)
def test_the_status_of_the_whole_follows_from_its_tasks(events: list[Event], status: str) -> None:
    progress = folded(*events)
    assert progress.status == status
    assert progress.done == (status in ("completed", "failed", "partial_failure"))


def test_a_job_is_not_done_while_its_plan_is_missing() -> None:
    progress = folded(event("a", STARTED))
    assert not progress.done
    progress.apply(planned("a", "b"))
    progress.apply(event("a", COMPLETED))
    assert not progress.done
    progress.apply(event("b", COMPLETED))
    assert progress.done


def test_a_job_for_one_machine_needs_no_plan() -> None:
    progress = folded(nodes=[PlannedNode("a", "host-a")])
    assert (progress.planned, progress.done, progress.status) == (True, False, "submitted")
    progress.apply(event("a", COMPLETED))
    assert progress.status == "completed"


def test_a_node_that_is_refused_has_failed_from_the_beginning_with_the_reason() -> None:
    task = folded(planned("a", refused="a")).tasks["a"]
    assert task.result() == OF_A | {"status": "failed", "error": "away"}
    assert task.ended == CREATED


def test_what_nobody_began_in_time_has_expired_and_what_runs_goes_on() -> None:
    progress = folded(planned("a", "b", "c"), event("a", STARTED), event("b", COMPLETED))
    progress.expire(JOB.expires)
    assert progress.status == "processing"
    assert progress.tasks["c"].status == "pending"
    progress.expire(JOB.expires + 0.001)
    statuses = {machine: task.status for machine, task in progress.tasks.items()}
    assert statuses == {"a": "running", "b": "ok", "c": "expired"}
    assert timestamp(JOB.expires) in str(progress.tasks["c"].reason)
    progress.apply(event("a", COMPLETED, 999))
    assert progress.status == "partial_failure"


def test_a_job_was_updated_when_its_newest_event_was_written() -> None:
    assert folded().updated == CREATED
    assert folded(event("a", COMPLETED, 9), event("a", STARTED, 3)).updated == CREATED + 9


def test_a_job_and_its_events_leave_out_what_is_not_known() -> None:
    assert b"null" not in msgspec.json.encode(JOB)
    assert b"null" not in msgspec.json.encode(event("a", STARTED))
    assert msgspec.json.decode(msgspec.json.encode(JOB), type=Job) == JOB


def test_a_job_from_a_newer_version_is_read_without_what_is_new() -> None:
    newer = {**msgspec.to_builtins(JOB), "priority": 7}
    assert msgspec.json.decode(msgspec.json.encode(newer), type=Job) == JOB


def test_an_id_is_a_uuid_of_version_7_that_says_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    text = new_id()
    after = time.time_ns() // 1_000_000
    made = uuid.UUID(text)
    assert str(made) == text
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


@given(st.integers(1, 2**42))
def test_the_first_id_of_a_moment_divides_the_ids_before_from_those_after(moment: int) -> None:
    for made, before in ((moment - 1, True), (moment, False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda made=made: made * 1_000_000)
            assert (new_id() < first_id((moment + 0.5) / 1000)) == before


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=20, unique=True))
def test_ids_sort_by_the_millisecond_they_were_made_in(moments: list[int]) -> None:
    moments.sort()
    ids = []
    for moment in moments:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda moment=moment: moment * 1_000_000)
            ids.append(new_id())
    assert ids == sorted(ids)


def test_no_two_ids_are_the_same_though_made_in_one_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({new_id() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
        (1_700_000_000.0, "2023-11-14T22:13:20.000Z"),
        (4_102_444_799.999, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_is_written_in_utc_to_the_millisecond(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text


@given(st.floats(0, 10**10))
def test_a_time_is_read_back_to_the_millisecond(seconds: float) -> None:
    moment = datetime.fromisoformat(timestamp(seconds))
    assert moment.tzinfo == UTC
    assert abs(moment.timestamp() - seconds) < 0.0011


@pytest.mark.parametrize("shuffled", range(6))
def test_a_task_that_is_queued_on_its_node_says_so_until_it_goes_on(shuffled: int) -> None:
    words = "queued: 3 pulls run before it"
    events = [
        event("a", STARTED),
        event("a", STEP, 2.0, step="queued", waits="max_pulls", error=words),
        event("a", STEP, 3.0, step="dequeued", error="its turn after 1.0 s"),
    ]
    progress = JobState(JOB, [PlannedNode("a", "host-a")])
    for each in events[:2]:
        progress.apply(each)
    (task,) = progress.tasks.values()
    assert (task.status, task.waits, task.reason) == ("running", "max_pulls", words)

    progress = JobState(JOB, [PlannedNode("a", "host-a")])
    random.Random(shuffled).shuffle(events)
    for each in events:
        progress.apply(each)
    (task,) = progress.tasks.values()
    assert (task.status, task.waits, task.reason) == ("running", None, None)


def test_of_a_queue_nothing_is_left_in_the_end() -> None:
    progress = JobState(JOB, [PlannedNode("a", "host-a")])
    waiting = {"step": "queued", "waits": "max_pulls", "error": "queued: 3 pulls run before it"}
    progress.apply(event("a", STEP, 2.0, **waiting))
    progress.apply(event("a", COMPLETED, 3.0, data={}))
    progress.apply(event("a", STEP, 4.0, **waiting))
    (task,) = progress.tasks.values()
    assert task.result() == OF_A | {"status": "ok"}
