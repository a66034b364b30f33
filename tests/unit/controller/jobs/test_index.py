import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.testing.jobs import (
    CREATED,
    LONG_AGO,
    Fold,
    a_decision,
    a_job,
    an_event,
    fill,
    found,
    planned,
)
from towline.broker.journal import CHANGES, READS, STREAMS, place
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.idempotency import AHEAD, BEHIND
from towline.controller.jobs.index import Index
from towline.controller.jobs.lists import Filter, Lists
from towline.wire.event import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    DELETED,
    FAILED,
    LEAVE,
    LED,
    PAUSED,
    RELEASED,
    STARTED,
    STEP,
    TAKEN_BACK,
    WITHHELD,
    Event,
    NamedNode,
)
from towline.wire.job import Job, PlannedNode
from towline.wire.rollout import Waves


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def test_a_job_is_found_with_its_plan_and_its_events_in_the_order_of_the_journal(
    path: Path,
) -> None:
    job, other = a_job(), a_job()
    started, ended = an_event(job, STARTED), an_event(job, COMPLETED, data={"size": 7})
    with Index(path) as index:
        fold = Fold(index)
        fold.job(job)
        fold.job(other)
        fold.event(started)
        fold.event(an_event(other, COMPLETED))
        fold.event(ended)
        state, events = found(index, job)
        assert index.job(job.id) == job.order
    assert events == [started, ended]
    assert state.job == job
    assert state.status == "completed"
    assert state.tasks["a"].data == {"size": 7}


@pytest.mark.parametrize(
    ("effect", "said", "expected"),
    [
        ("converge", [], None),
        ("converge", [None], None),
        ("converge", [False], False),
        ("converge", [False, True, False], True),
        ("converge", [True, None], True),
        ("read", [], False),
        ("read", [None, False], False),
    ],
)
def test_what_a_job_has_changed_is_known_without_its_events(
    path: Path, effect: str, said: list[bool | None], expected: bool | None
) -> None:
    job = a_job(time.time(), machines="abc", effect=effect)
    with Index(path) as index:
        fold = Fold(index)
        fold.job(job)
        for machine, changed in zip("abc", said, strict=False):
            data = {} if changed is None else {"changed": changed}
            fold.event(an_event(job, COMPLETED, machine, data=data))
        state, _ = found(index, job)
        (listed,) = Lists(index).jobs(Filter(), limit=1)
        status = index.status(job.id)
    assert status is not None
    assert [state.changed, listed.changed, status.changed] == [expected] * 3


def test_a_job_that_was_never_folded_is_not_found(path: Path) -> None:
    job = a_job()
    with Index(path) as index:
        fold = Fold(index)
        fold.event(an_event(job, COMPLETED))
        assert index.find(job.id) is None
        assert index.job(job.id) is None
        assert index.status(job.id) is None
        assert index.find("") is None


def test_a_second_delivery_changes_nothing(path: Path) -> None:
    job = a_job()
    first = an_event(job, COMPLETED, data={"size": 7})
    with Index(path) as index:
        fold = Fold(index)
        for _ in range(2):
            fold.sequences[CHANGES] = 0
            fold.job(job)
            fold.event(first)
            index.flush()
        assert found(index, job)[1] == [first]
        fold.event(an_event(job, FAILED))
        assert found(index, job)[0].tasks["a"].data == {"size": 7}
        assert Lists(index).statuses() == {"completed": 1}


def test_a_report_that_is_stored_again_further_on_is_no_other_event(path: Path) -> None:
    job = a_job()
    first, odd = an_event(job, COMPLETED, data={"size": 7}), an_event(job, FAILED)
    decided = [a_decision(job, PAUSED) for _ in range(2)]
    with Index(path) as index:
        fold = Fold(index)
        fold.job(job)
        for event in (first, odd, *decided, first):
            fold.event(event)
    with Index(path) as index:
        assert found(index, job)[1] == [first, odd, *decided]


def test_what_was_folded_and_how_far_survives_reopening(path: Path) -> None:
    jobs = fill(path)
    with capture_logs() as logs, Index(path) as index:
        assert index.position(CHANGES, CREATED, 100) == 100
        assert index.position(READS, CREATED, 77) == 0
        assert all(found(index, job)[0].status == "completed" for job in jobs)
    assert not logs


def test_what_was_not_flushed_is_folded_again(path: Path) -> None:
    fill(path, jobs=3)
    job = a_job()
    with Index(path) as unfinished:
        unfinished.add_job(job, CHANGES, place(7))
        unfinished.advance(CHANGES, 7)
        with Index(path) as index:
            assert index.position(CHANGES, CREATED, 7) == 6
            assert index.find(job.id) is None
    with Index(path) as index:
        assert index.position(CHANGES, CREATED, 7) == 7
        found(index, job)


def test_flushing_again_changes_nothing(path: Path) -> None:
    job = a_job()
    with Index(path) as index:
        fold = Fold(index)
        index.flush()
        fold.job(job)
        for _ in range(3):
            index.flush()
        assert index.position(CHANGES, CREATED, 9) == 1
        assert index.position(READS, CREATED, 9) == 0
        found(index, job)


def test_old_jobs_are_forgotten_with_their_events(path: Path) -> None:
    old, kept = a_job(), a_job(LONG_AGO + 1000)
    with Index(path) as index:
        fold = Fold(index)
        for job in (old, kept):
            fold.job(job)
            fold.event(an_event(job, COMPLETED))
        assert index.forget(LONG_AGO + 1000, {}) == 1
        assert index.find(old.id) is None
        assert not index.has_task(old.id, "a")
        assert len(found(index, kept)[1]) == 1
        fold.job(old)
        assert found(index, old)[1] == []


def test_a_job_is_as_old_as_it_was_made_whenever_its_id_was_drawn(path: Path) -> None:
    early = a_job(LONG_AGO + 1000, id=a_job(LONG_AGO + 1000 - BEHIND).id)
    late = a_job(LONG_AGO, id=a_job(LONG_AGO + AHEAD).id)
    with Index(path) as index:
        fold = Fold(index)
        for job in (early, late):
            fold.job(job)
            fold.event(an_event(job, COMPLETED))
        assert index.forget(LONG_AGO + 1000, {}) == 1
        assert index.find(late.id) is None
        assert len(found(index, early)[1]) == 1


def test_events_of_jobs_that_never_came_are_forgotten_too(path: Path) -> None:
    lost, kept = a_job(), a_job(LONG_AGO + 1000)
    with Index(path) as index:
        fold = Fold(index)
        for job in (lost, kept):
            fold.event(an_event(job, COMPLETED))
        assert index.forget(LONG_AGO + 1000 + BEHIND, {}) == 0
        for job in (lost, kept):
            fold.job(job)
        assert found(index, lost)[1] == []
        assert len(found(index, kept)[1]) == 1


@pytest.mark.parametrize(
    ("first", "kept"),
    [({CHANGES: 3}, "bcr"), ({CHANGES: 4}, "cr"), ({CHANGES: 7, READS: 2}, ""), ({}, "abcr")],
)
def test_what_the_journal_has_dropped_is_forgotten(
    path: Path, first: dict[str, int], kept: str
) -> None:
    jobs = {name: a_job(time.time()) for name in "abcr"}
    with Index(path) as index:
        fold = Fold(index)
        for name in "abc":
            fold.job(jobs[name])
            fold.event(an_event(jobs[name], COMPLETED))
        fold.read(jobs["r"], an_event(jobs["r"], COMPLETED))
        index.forget(0.0, first)
        assert "".join(name for name, job in jobs.items() if index.find(job.id)) == kept
        assert Lists(index).count(Filter()) == len(kept)
        events = [
            each
            for stream in (CHANGES, READS)
            for _, each in Feed(index).after(stream, 0, 99).entries
            if isinstance(each, Event)
        ]
        assert len(events) == len(kept)


def test_the_status_of_a_job_follows_its_tasks(path: Path) -> None:
    plan = [*planned("ab"), PlannedNode("c", "host-c", "skipped", "drained")]
    job = a_job(time.time(), plan=plan)
    with Index(path) as index:
        fold = Fold(index)

        def state() -> tuple[str, bool, dict[str, int]]:
            found = index.status(job.id)
            assert found is not None
            return found.status, found.done, found.nodes

        fold.job(job)
        assert state() == ("processing", False, {"pending": 2, "skipped": 1})
        fold.event(an_event(job, STARTED, "a"))
        assert state() == ("processing", False, {"pending": 1, "running": 1, "skipped": 1})
        fold.event(an_event(job, COMPLETED, "a"))
        fold.event(an_event(job, STARTED, "a"))
        assert state() == ("processing", False, {"ok": 1, "pending": 1, "skipped": 1})
        fold.event(an_event(job, FAILED, "b"))
        assert state() == ("partial_failure", True, {"failed": 1, "ok": 1, "skipped": 1})
        assert Lists(index).statuses() == {"partial_failure": 1}


@st.composite
def histories(draw: st.DrawFn) -> tuple[Job, list[Event]]:
    """A job with events that can be of it, in any order."""
    target = draw(st.sampled_from(["_all", "_any"]))
    machines = draw(st.lists(st.sampled_from("abc"), unique=True, min_size=1))
    if target == "_any":
        machines = machines[: draw(st.integers(0, 1))]
    states = st.sampled_from(["turn", "waits", "leads", "canary", "skipped"])
    plan = [
        PlannedNode(machine, f"host-{machine}", draw(states) if target == "_all" else "turn")
        for machine in machines
    ]
    waves = Waves(max_parallel="1") if target == "_all" and draw(st.booleans()) else None
    job = a_job(plan=plan, target=target, waves=waves, effect=draw(st.sampled_from(["once"])))
    events = []
    for kind in draw(st.lists(st.sampled_from([RELEASED, TAKEN_BACK, LEAVE, WITHHELD, LED]))):
        named = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=2))
        nodes = [NamedNode(each, f"host-{each}", "why", "cancelled") for each in named]
        data = {"value": "x", "hostname": "y"} if kind == LED else None
        events.append(a_decision(job, kind, nodes=nodes, data=data))
    if draw(st.booleans()):
        events.append(a_decision(job, draw(st.sampled_from([CANCELLING, PAUSED, "unheard-of"]))))
    for machine in machines:
        kinds = [
            draw(st.sampled_from([STARTED, STEP])),
            draw(st.sampled_from([COMPLETED, FAILED, CANCELLED])),
        ]
        events += [an_event(job, kind, machine) for kind in kinds[: draw(st.integers(0, 2))]]
    return job, draw(st.permutations(events))


@settings(deadline=None)
@given(histories(), st.integers(0, 8))
def test_a_list_and_what_is_open_say_of_a_job_what_the_job_says_of_itself(
    history: tuple[Job, list[Event]], flushed: int
) -> None:
    job, events = history
    with TemporaryDirectory() as directory, Index(Path(directory, "index.sqlite")) as index:
        fold = Fold(index)
        fold.job(job)
        for number, event in enumerate(events, 1):
            fold.event(event)
            if number == flushed:
                index.flush()
        (listed,) = Lists(index).jobs(Filter(), limit=2)
        state, _ = found(index, job)
        loaded = [state for stream in STREAMS for state in index.open_jobs(stream)]
    counts = Counter(task.status for task in state.tasks.values())
    assert (listed.status, listed.nodes) == (state.status, counts)
    open_ = fold.open.get(job.id)
    assert (open_ is None) is state.done
    assert [each.job.id for each in loaded] == ([] if state.done else [job.id])
    for same in [open_, *loaded]:
        if same is not None:
            assert (same.unfinished, same.counts) == (state.unfinished, counts)
            assert (same.last, same.foreign, same.lead) == (state.last, state.foreign, state.lead)
            for name in ("waiting", "under_way", "leading", "canaries", "failed", "paused"):
                assert getattr(same.turns, name) == getattr(state.turns, name), name
            assert {each for each in "abc" if job.id in [s.job.id for s in fold.open.of(each)]} == (
                set(state.turns.under_way)
            )


def test_who_has_a_part_in_a_job_is_known_from_its_plan_and_its_turns(path: Path) -> None:
    job = a_job(machines="a", target="_any")
    with Index(path) as index:
        fold = Fold(index)
        fold.job(job)
        fold.event(a_decision(job, TAKEN_BACK, "a"))
        fold.event(a_decision(job, RELEASED, "b"))
        assert [each for each in "abc" if index.has_task(job.id, each)] == ["a", "b"]


def test_what_was_recorded_of_a_read_is_no_decision_among_the_changes(path: Path) -> None:
    """Or a decision about it would wait for a message that isn't in that stream."""
    read = a_job(target="_any", effect="read")
    with Index(path) as index:
        fold = Fold(index)
        fold.read(read, a_decision(read, TAKEN_BACK, "a"), a_decision(read, RELEASED, "b"))
        assert found(index, read)[0].last == 0
        open_ = fold.open.get(read.id)
        assert open_ is not None
        assert open_.last == 0
        sequence = fold.event(a_decision(read, CANCELLING, data={"caller": "ann"}))
        assert found(index, read)[0].last == place(sequence) == open_.last
        assert open_.unfinished == {"b"}


def test_a_deleted_job_is_gone_and_stays_so(path: Path) -> None:
    job, other = a_job(), a_job()
    with Index(path) as index:
        fold = Fold(index)
        for each in (job, other):
            fold.job(each)
            fold.event(an_event(each, COMPLETED))
        assert not index.deleted(job.id)
        fold.event(a_decision(job, DELETED))
        assert index.deleted(job.id)
        assert index.find(job.id) is None
        # As a rebuilt index meets it where the job stands in the other stream.
        fold.read(job)
        assert index.find(job.id) is None
        assert Lists(index).count(Filter()) == 1
        assert len(found(index, other)[1]) == 1
