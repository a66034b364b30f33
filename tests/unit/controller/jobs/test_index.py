import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.testing.jobs import CREATED, a_job, add_event, add_job, an_event, begin, fill, found
from towline.broker.journal import EVENTS, JOBS
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.index import Index
from towline.controller.jobs.lists import Filter, Lists
from towline.wire.event import (
    CANCELLED,
    CLAIMED,
    COMPLETED,
    DELETED,
    FAILED,
    NOBODY,
    PLANNED,
    RELEASED,
    STARTED,
    STEP,
    WITHHELD,
    Event,
    PlannedNode,
)
from towline.wire.job import Job
from towline.wire.rollout import Waves


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def test_a_job_is_found_with_its_events_in_the_order_of_the_stream(path: Path) -> None:
    job, other = a_job(), a_job()
    plan = an_event(job, PLANNED, "_", nodes=[PlannedNode("a", "host-a")])
    started, ended = an_event(job, STARTED), an_event(job, COMPLETED, data={"size": 7})
    with Index(path) as index:
        begin(index)
        add_event(index, ended, 3)
        add_event(index, plan, 1)
        add_event(index, started, 2)
        add_event(index, an_event(other, COMPLETED), 4)
        add_job(index, job, 1)
        progress, events = found(index, job)
    assert events == [plan, started, ended]
    assert progress.job == job
    assert progress.status == "completed"
    assert progress.tasks["a"].data == {"size": 7}


def test_a_job_that_was_never_folded_is_not_found(path: Path) -> None:
    job = a_job()
    with Index(path) as index:
        begin(index)
        add_event(index, an_event(job, COMPLETED), 1)
        assert index.find(job.id, {}) is None
        assert index.find("", {}) is None


def test_a_second_delivery_changes_nothing(path: Path) -> None:
    job = a_job()
    first = an_event(job, COMPLETED, data={"size": 7})
    with Index(path) as index:
        begin(index)
        for _ in range(2):
            add_job(index, job, 1, machine="a")
            add_event(index, first, 1)
            index.flush()
        progress, events = found(index, job)
        assert events == [first]
        add_event(index, an_event(job, FAILED), 2)
        progress, _ = found(index, job)
        assert progress.tasks["a"].data == {"size": 7}
        assert Lists(index).statuses() == {"completed": 1}


def test_the_only_node_of_a_job_is_pending_until_it_reports_something(path: Path) -> None:
    job = a_job()
    with Index(path) as index:
        begin(index)
        add_job(index, job, 1, machine="a")
        progress, _ = found(index, job, a="web-01")
        assert progress.tasks["a"].result() == {
            "hostname": "web-01",
            "machine_id": "a",
            "status": "pending",
        }
        unknown, _ = found(index, job)
        assert unknown.tasks["a"].hostname == "a"


def test_what_was_folded_and_how_far_survives_reopening(path: Path) -> None:
    jobs = fill(path)
    with capture_logs() as logs, Index(path) as index:
        assert index.position(JOBS, CREATED, 50) == 50
        assert index.position(EVENTS, CREATED, 77) == 50
        assert all(found(index, job)[0].status == "completed" for job in jobs)
    assert not logs


def test_what_was_not_flushed_is_folded_again(path: Path) -> None:
    fill(path, jobs=3)
    job = a_job()
    with Index(path) as unfinished:
        add_job(unfinished, job, 4)
        with Index(path) as index:
            assert index.position(JOBS, CREATED, 4) == 3
            assert index.find(job.id, {}) is None
    with Index(path) as index:
        assert index.position(JOBS, CREATED, 4) == 4
        found(index, job)


def test_flushing_again_changes_nothing(path: Path) -> None:
    job = a_job()
    with Index(path) as index:
        begin(index)
        index.flush()
        add_job(index, job, 7)
        for _ in range(3):
            index.flush()
        assert index.position(JOBS, CREATED, 9) == 7
        assert index.position(EVENTS, CREATED, 9) == 0
        found(index, job)


def test_old_jobs_are_forgotten_with_their_events(path: Path) -> None:
    old, kept = a_job(1_000.0), a_job(2_000.0)
    with Index(path) as index:
        begin(index)
        for sequence, job in enumerate((old, kept), 1):
            add_job(index, job, sequence)
            add_event(index, an_event(job, COMPLETED), sequence)
        assert index.forget(2_000.0) == 1
        assert index.find(old.id, {}) is None
        assert len(found(index, kept)[1]) == 1
        add_job(index, old, 3)
        assert found(index, old)[1] == []


def test_events_of_jobs_that_never_came_are_forgotten_too(path: Path) -> None:
    lost, kept = a_job(1_000.0), a_job(2_000.0)
    with Index(path) as index:
        begin(index)
        for sequence, job in enumerate((lost, kept), 1):
            add_event(index, an_event(job, COMPLETED), sequence)
        assert index.forget(2_000.0) == 0
        for sequence, job in enumerate((lost, kept), 1):
            add_job(index, job, sequence)
        assert found(index, lost)[1] == []
        assert len(found(index, kept)[1]) == 1


def test_the_status_of_a_job_follows_its_tasks(path: Path) -> None:
    job = a_job(time.time())
    nodes = [PlannedNode(machine, f"host-{machine}") for machine in "ab"]
    nodes.append(PlannedNode("c", "host-c", "drained", "skipped"))
    with Index(path) as index:
        begin(index)

        def state() -> tuple[str, bool, dict[str, int]]:
            found = index.status(job.id)
            assert found is not None
            return found.status, found.done, found.nodes

        add_event(index, an_event(job, PLANNED, NOBODY, nodes=nodes), 1)
        add_job(index, job, 1)
        assert state() == ("processing", False, {"pending": 2, "skipped": 1})
        add_event(index, an_event(job, STARTED, "a"), 2)
        assert state() == ("processing", False, {"pending": 1, "running": 1, "skipped": 1})
        add_event(index, an_event(job, COMPLETED, "a"), 3)
        add_event(index, an_event(job, STARTED, "a"), 4)
        assert state() == ("processing", False, {"ok": 1, "pending": 1, "skipped": 1})
        add_event(index, an_event(job, FAILED, "b"), 5)
        assert state() == ("partial_failure", True, {"failed": 1, "ok": 1, "skipped": 1})
        assert Lists(index).statuses() == {"partial_failure": 1}


@st.composite
def histories(draw: st.DrawFn) -> tuple[Job, list[Event]]:
    """A job with events that can be of it, in any order."""
    target = draw(st.sampled_from(["_all", "_any"]))
    waves = Waves(max_parallel="1") if target == "_all" and draw(st.booleans()) else None
    job = msgspec.structs.replace(
        a_job(draw(st.sampled_from([time.time(), 1_000.0]))), target=target, waves=waves
    )
    machines = draw(st.lists(st.sampled_from("abc"), unique=True, min_size=1))
    events = []
    if target == "_all":
        refused = draw(st.sets(st.sampled_from(machines)))
        nodes = [
            PlannedNode(machine, f"host-{machine}", "away" if machine in refused else None)
            for machine in machines
        ]
        events.append(an_event(job, PLANNED, NOBODY, nodes=nodes))
        machines = [machine for machine in machines if machine not in refused]
    else:
        events.append(an_event(job, CLAIMED, machines[0]))
    if waves is not None:
        released = draw(st.sets(st.sampled_from(machines))) if machines else set()
        withheld = [machine for machine in machines if machine not in released]
        until = draw(st.sampled_from([None, 1_001.0, time.time() + 60]))
        nodes = [PlannedNode(machine, f"host-{machine}") for machine in released]
        events.append(an_event(job, RELEASED, NOBODY, nodes=nodes, until=until))
        if draw(st.booleans()):
            status = draw(st.sampled_from(["cancelled", "skipped"]))
            nodes = [PlannedNode(each, f"host-{each}", "why", status) for each in withheld]
            events.append(an_event(job, WITHHELD, NOBODY, nodes=nodes))
        machines = [machine for machine in machines if machine in released]
    for machine in machines:
        kinds = [
            draw(st.sampled_from([STARTED, STEP])),
            draw(st.sampled_from([COMPLETED, FAILED, CANCELLED])),
        ]
        events += [an_event(job, kind, machine) for kind in kinds[: draw(st.integers(0, 2))]]
    return job, draw(st.permutations(events))


@settings(deadline=None)
@given(histories(), st.integers(0, 8))
def test_a_list_says_of_a_job_what_the_job_says_of_itself(
    history: tuple[Job, list[Event]], flushed: int
) -> None:
    job, events = history
    with TemporaryDirectory() as directory, Index(Path(directory, "index.sqlite")) as index:
        begin(index)
        add_job(index, job, 1)
        for sequence, event in enumerate(events, 1):
            add_event(index, event, sequence)
            if sequence == flushed:
                index.flush()
        index.expire()
        (listed,) = Lists(index).jobs(Filter(), limit=2)
        progress, _ = found(index, job)
    progress.expire(time.time())
    statuses = Counter(task.status for task in progress.tasks.values())
    assert (listed.status, listed.nodes) == (progress.status, statuses)


def test_jobs_with_waves_that_go_on_are_known_with_the_turns_that_were_given(path: Path) -> None:
    waves = Waves(canary="1")
    open_, done = (
        msgspec.structs.replace(a_job(time.time() + more), waves=waves) for more in (0, 1)
    )
    plain = a_job(time.time())
    node = [PlannedNode("a", "host-a")]
    with Index(path) as index:
        begin(index)
        for sequence, job in enumerate((open_, done, plain), 1):
            add_job(index, job, sequence)
            add_event(index, an_event(job, PLANNED, NOBODY, nodes=node), sequence)
        for sequence, machine in ((4, "a"), (5, "b")):
            index.add_turn(open_.id, machine, sequence)
            index.advance(JOBS, sequence)
        assert index.open_rollouts() == [open_.id, done.id]
        add_event(index, an_event(done, COMPLETED), 4)
        assert index.open_rollouts() == [open_.id]
        assert index.turns(open_.id) == {"a": 4, "b": 5}
        assert index.turns(done.id) == {}
        assert index.forget(0, jobs_from=5) == 3
        assert index.turns(open_.id) == {}


def test_a_turn_that_was_over_before_its_node_began_has_expired(path: Path) -> None:
    job = msgspec.structs.replace(a_job(time.time()), waves=Waves(max_parallel="1"))
    nodes = [PlannedNode(machine, f"host-{machine}") for machine in "ab"]
    with Index(path) as index:
        begin(index)
        add_job(index, job, 1)
        add_event(index, an_event(job, PLANNED, NOBODY, nodes=nodes), 1)
        soon = time.time() + 0.05
        add_event(index, an_event(job, RELEASED, NOBODY, nodes=nodes[:1], until=soon), 2)
        index.flush()
        while time.time() <= soon:
            time.sleep(0.01)
        index.expire()
        state = index.status(job.id)
        assert state is not None
        assert state.nodes == {"expired": 1, "pending": 1}
        progress, _ = found(index, job)
        progress.expire(time.time())
        assert progress.tasks["a"].status == "expired"
        assert "its turn was over" in str(progress.tasks["a"].reason)


def test_a_job_for_any_node_is_that_of_its_claim(path: Path) -> None:
    taken, cancelled = a_job(time.time()), a_job(time.time())
    with Index(path) as index:
        begin(index)
        add_job(index, taken, 1)
        add_job(index, cancelled, 2)
        add_event(index, an_event(taken, CLAIMED, "a"), 1)
        add_event(index, an_event(cancelled, CANCELLED, NOBODY), 2)
        add_event(index, an_event(taken, COMPLETED, "a"), 3)
        assert [(job.status, job.nodes) for job in Lists(index).jobs(Filter(), limit=9)] == [
            ("failed", {"cancelled": 1}),
            ("completed", {"ok": 1}),
        ]


def test_a_job_that_nobody_began_in_time_has_expired(path: Path) -> None:
    job, unclaimed = a_job(1_000.0), a_job(2_000.0)
    with Index(path) as index:
        begin(index)
        add_job(index, job, 1, machine="a")
        add_job(index, unclaimed, 2)
        index.flush()
        index.expire()
        assert Lists(index).statuses() == {"failed": 2}
        assert {str(listed.nodes) for listed in Lists(index).jobs(Filter(), limit=9)} == {
            "{'expired': 1}"
        }


def test_a_deleted_job_is_gone_and_stays_so(path: Path) -> None:
    job, other = a_job(), a_job()
    with Index(path) as index:
        begin(index)
        for sequence, each in enumerate((job, other), 1):
            add_job(index, each, sequence, machine="a")
            add_event(index, an_event(each, COMPLETED), sequence)
        assert not index.deleted(job.id)
        add_event(index, an_event(job, DELETED, NOBODY), 3)
        assert index.deleted(job.id)
        assert index.find(job.id, {}) is None
        # As a rebuilt index meets it: the journal's two streams are in no order to each other.
        add_job(index, job, 7, machine="a")
        assert index.find(job.id, {}) is None
        assert Lists(index).count(Filter()) == 1
        assert len(found(index, other)[1]) == 1


@pytest.mark.parametrize(
    ("jobs_from", "events_from", "kept"), [(2, 0, "bc"), (0, 3, "c"), (3, 1, "c"), (0, 0, "abc")]
)
def test_what_the_journal_dropped_for_want_of_room_is_forgotten(
    path: Path, jobs_from: int, events_from: int, kept: str
) -> None:
    jobs = {name: a_job(time.time()) for name in "abc"}
    with Index(path) as index:
        begin(index)
        for sequence, job in enumerate(jobs.values(), 1):
            add_job(index, job, sequence)
            add_event(index, an_event(job, COMPLETED), sequence)
        index.forget(0.0, jobs_from=jobs_from, events_from=events_from)
        assert "".join(name for name, job in jobs.items() if index.find(job.id, {})) == kept
        assert Lists(index).count(Filter()) == len(kept)
        assert len(Feed(index).events_after(0, 9)) == len(kept)
