import random
import resource
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.testing.process import Process
from towline.broker.journal import EVENTS, JOBS
from towline.controller.jobs import index as index_module
from towline.controller.jobs.index import VERSION, Filter, Index
from towline.controller.jobs.state import JobState
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
from towline.wire.job import Job, first_id, new_id
from towline.wire.rollout import Waves

CREATED = "2030-01-01T00:00:00Z"
LATER = "2030-02-02T00:00:00Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def a_job(created: float = 1_700_000_000.0) -> Job:
    return Job(
        first_id(created)[:15] + new_id()[15:], "node.load", {}, "_all", "ci", created, created + 60
    )


def an_event(job: Job, kind: str, machine: str = "a", **more: Any) -> Event:
    return Event(job.id, machine, f"host-{machine}", kind, job.created + 1, **more)


def add_job(index: Index, job: Job, sequence: int, machine: str | None = None) -> None:
    index.add_job(job, machine, sequence, msgspec.json.encode(job))
    index.advance(JOBS, sequence)


def add_event(index: Index, event: Event, sequence: int) -> None:
    index.add_event(event, sequence, msgspec.json.encode(event))
    index.advance(EVENTS, sequence)


def found(index: Index, job: Job, **hostnames: str) -> tuple[JobState, list[Event]]:
    answer = index.find(job.id, hostnames)
    assert answer is not None
    return answer


def begin(index: Index) -> None:
    """Take up both streams from their start."""
    for stream in (JOBS, EVENTS):
        assert index.position(stream, CREATED, 1000) == 0


def fill(path: Path, jobs: int = 50) -> list[Job]:
    """Make an index of many pages, with a job and an event for each sequence."""
    made = [a_job() for _ in range(jobs)]
    with Index(path) as index:
        begin(index)
        for sequence, job in enumerate(made, 1):
            add_job(index, job, sequence)
            add_event(index, an_event(job, COMPLETED, data={"filler": "x" * 500}), sequence)
    return made


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
        assert index.statuses() == {"completed": 1}


def test_the_only_node_of_a_job_is_pending_until_it_tells_something(path: Path) -> None:
    job = a_job()
    with Index(path) as index:
        begin(index)
        add_job(index, job, 1, machine="a")
        progress, _ = found(index, job, a="web-01")
        assert progress.tasks["a"].result() == {"hostname": "web-01", "status": "pending"}
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


def test_a_process_killed_while_it_folds_leaves_no_position_without_its_jobs(
    path: Path, tmp_path: Path
) -> None:
    fold = """
import pathlib, sys, msgspec
from towline.controller.jobs.index import Index
from towline.wire.job import Job
with Index(pathlib.Path(sys.argv[1])) as index:
    index.position("JOBS", sys.argv[2], 10**9)
    for sequence in range(1, 10**9):
        job = Job(f"job-{sequence}", "node.load", {}, "_all", "ci", 1.0, 2.0)
        index.add_job(job, None, sequence, msgspec.json.encode(job))
        index.advance("JOBS", sequence)
        if sequence % 7 == 0:
            index.flush()
            print(sequence, flush=True)
"""
    command: list[str | Path] = [sys.executable, "-c", fold, path, CREATED]
    with Process("fold", command, logs=tmp_path) as process:
        process.wait_for_output(r"^700$")
        process.kill()
    with capture_logs() as logs, Index(path) as index:
        reached = index.position(JOBS, CREATED, 10**9)
        assert reached >= 700
        for sequence in range(1, reached + 1):
            assert index.find(f"job-{sequence}", {}) is not None
        assert index.find(f"job-{reached + 1}", {}) is None
    assert not logs


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


def overwrite(place: int, content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(place)
            file.write(content)

    return damage


def cut(size: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(size)

    return damage


def replace(content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


def foreign(version: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE job (title TEXT)")
            database.execute(f"PRAGMA user_version = {version}")
        database.close()

    return damage


def older(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {VERSION - 1}")
    database.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(replace(b"no database at all\n" * 500), id="text"),
        pytest.param(replace(b"\0" * 8192), id="zeros"),
        pytest.param(replace(b"x"), id="one byte"),
        pytest.param(cut(1), id="cut to a byte"),
        pytest.param(cut(100), id="cut to the header"),
        pytest.param(cut(4096), id="cut to a page"),
        pytest.param(cut(20_000), id="cut amid a page"),
        pytest.param(overwrite(0, b"\xff" * 16), id="no magic"),
        pytest.param(overwrite(16, b"\xff" * 80), id="header lost"),
        pytest.param(overwrite(4096, b"\xff" * 8192), id="two pages lost"),
        pytest.param(overwrite(8192, b"\0" * 16384), id="four pages zeroed"),
        pytest.param(foreign(0), id="foreign"),
        pytest.param(foreign(VERSION), id="foreign of the same version"),
        pytest.param(foreign(VERSION + 1), id="newer"),
        pytest.param(older, id="older"),
    ],
)
def test_a_file_that_is_no_good_is_built_anew_and_that_is_said(
    path: Path, damage: Callable[[Path], None]
) -> None:
    (job, *_) = fill(path)
    damage(path)
    with capture_logs() as logs, Index(path) as index:
        begin(index)
        assert index.find(job.id, {}) is None
        add_job(index, job, 1)
        found(index, job)
    assert [entry["event"] for entry in logs] == ["index built anew"]
    assert logs[0]["reason"]
    with capture_logs() as logs, Index(path) as index:
        assert index.position(JOBS, CREATED, 1) == 1
        found(index, job)
    assert not logs


def test_an_index_whose_making_was_interrupted_is_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "SCHEMA", index_module.SCHEMA.partition("CREATE INDEX")[0])
        Index(path).__exit__(None, None, None)
    with Index(path) as index:
        begin(index)
        add_job(index, job := a_job(), 1)
        found(index, job)


@pytest.mark.parametrize(("created", "last"), [(LATER, 500), (CREATED, 49), (LATER, 0)])
@pytest.mark.parametrize("stream", [JOBS, EVENTS])
def test_a_stream_that_was_made_anew_is_folded_from_its_start_and_the_other_stays(
    path: Path, stream: str, created: str, last: int
) -> None:
    (job, *_) = fill(path)
    other = EVENTS if stream == JOBS else JOBS
    with Index(path) as index:
        assert index.position(other, CREATED, 50) == 50
        with capture_logs() as logs:
            assert index.position(stream, created, last) == 0
        assert [entry["event"] for entry in logs] == ["index built anew"]
        assert stream in logs[0]["reason"]
        if stream == JOBS:
            assert index.find(job.id, {}) is None
            add_job(index, job, 1)
            assert found(index, job)[0].status == "completed"
        else:
            assert found(index, job)[1] == []
            add_event(index, an_event(job, STARTED), 1)
            assert found(index, job)[0].status == "processing"
            state = index.state(job.id)
            assert state is not None
            assert (state.status, state.nodes) == ("processing", {"running": 1})
    with Index(path) as index:
        assert index.position(stream, created, max(last, 1)) == 1
        assert index.position(other, CREATED, 50) == 50


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file grow past the size that this one's log has now, and 64 KiB."""
    room = Path(f"{path}-wal").stat().st_size + 65536
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_full_disk_refused_is_written_when_there_is_room_again(path: Path) -> None:
    jobs = [a_job() for _ in range(3000)]
    with Index(path) as index:
        begin(index)
        for sequence, job in enumerate(jobs, 1):
            add_job(index, job, sequence)
        with full_disk(path), pytest.raises(sqlite3.OperationalError):
            index.flush()
        with Index(path) as other:
            assert other.position(JOBS, CREATED, 3000) == 0
        index.flush()
        assert index.position(JOBS, CREATED, 3000) == 3000
        assert all(index.find(job.id, {}) for job in jobs)


def test_a_copied_index_is_as_good(path: Path, tmp_path: Path) -> None:
    jobs = fill(path)
    copy = tmp_path / "copy.sqlite"
    shutil.copy(path, copy)
    with Index(copy) as index:
        assert index.position(JOBS, CREATED, 50) == 50
        assert all(index.find(job.id, {}) for job in jobs)


def test_the_status_of_a_job_follows_its_tasks(path: Path) -> None:
    job = a_job(time.time())
    nodes = [PlannedNode(machine, f"host-{machine}") for machine in "ab"]
    nodes.append(PlannedNode("c", "host-c", "drained", "skipped"))
    with Index(path) as index:
        begin(index)

        def state() -> tuple[str, bool, dict[str, int]]:
            found = index.state(job.id)
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
        assert index.statuses() == {"partial_failure": 1}


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
        (listed,) = index.jobs(Filter(), limit=2)
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
        assert index.waves() == [open_.id, done.id]
        add_event(index, an_event(done, COMPLETED), 4)
        assert index.waves() == [open_.id]
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
        state = index.state(job.id)
        assert state is not None
        assert state.nodes == {"expired": 1, "pending": 1}
        progress, _ = found(index, job)
        progress.expire(time.time())
        assert progress.tasks["a"].status == "expired"
        assert "its turn was over" in str(progress.tasks["a"].error)


def test_a_job_for_any_node_is_that_of_its_claim(path: Path) -> None:
    taken, cancelled = a_job(time.time()), a_job(time.time())
    with Index(path) as index:
        begin(index)
        add_job(index, taken, 1)
        add_job(index, cancelled, 2)
        add_event(index, an_event(taken, CLAIMED, "a"), 1)
        add_event(index, an_event(cancelled, CANCELLED, NOBODY), 2)
        add_event(index, an_event(taken, COMPLETED, "a"), 3)
        assert [(job.status, job.nodes) for job in index.jobs(Filter(), limit=9)] == [
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
        assert index.statuses() == {"failed": 2}
        assert {str(listed.nodes) for listed in index.jobs(Filter(), limit=9)} == {"{'expired': 1}"}


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
        assert index.count(Filter()) == 1
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
        assert index.count(Filter()) == len(kept)
        assert len(index.events_after(0, 9)) == len(kept)


class Sample:
    """Jobs of many kinds, in an index and in a list."""

    def __init__(self, index: Index) -> None:
        begin(index)
        self.index = index
        self.jobs: list[tuple[Job, str, str]] = []
        choose = random.Random(7)
        for sequence in range(1, 301):
            made = 1_000.0 + sequence
            job = msgspec.structs.replace(
                a_job(made),
                operation=choose.choice(["docker.pull", "node.load"]),
                target=choose.choice(["_all", "web-01"]),
                caller=choose.choice(["ann", "bob", "eve"]),
                expires=1e12,
            )
            machine = choose.choice("ab")
            kind = choose.choice([STARTED, COMPLETED, FAILED])
            add_job(index, job, sequence, machine)
            add_event(index, an_event(job, kind, machine), sequence)
            status = {STARTED: "processing", COMPLETED: "completed", FAILED: "failed"}[kind]
            self.jobs.insert(0, (job, machine, status))

    def wanted(self, wanted: Filter) -> list[str]:
        return [
            job.id
            for job, machine, status in self.jobs
            if wanted.status in (None, status)
            and wanted.operation in (None, job.operation)
            and wanted.target in (None, job.target)
            and wanted.caller in (None, job.caller)
            and wanted.machine in (None, machine)
            and (wanted.since is None or job.created >= wanted.since)
            and (wanted.until is None or job.created < wanted.until)
        ]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    with Index(tmp_path_factory.mktemp("sample") / "index.sqlite") as index:
        yield Sample(index)


def maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


@given(
    wanted=st.builds(
        Filter,
        status=maybe("processing", "completed", "failed", "submitted"),
        operation=maybe("docker.pull", "node.load", "none"),
        target=maybe("_all", "web-01"),
        caller=maybe("ann", "bob"),
        machine=maybe("a", "z"),
        since=maybe(1_100.0, 5_000.0),
        until=maybe(1_200.0, 0.0),
    ),
    limit=st.integers(1, 50),
)
def test_pages_hold_all_jobs_that_are_wanted_and_no_others(
    sample: Sample, wanted: Filter, limit: int
) -> None:
    expected = sample.wanted(wanted)
    assert sample.index.count(wanted) == len(expected)
    by_cursor: list[str] = []
    cursor = None
    while page := sample.index.jobs(wanted, limit=limit, before=cursor):
        by_cursor += [listed.job.id for listed in page]
        cursor = page[-1].sequence
    assert by_cursor == expected
    by_offset = [
        listed.job.id
        for offset in range(0, len(expected) + 1, limit)
        for listed in sample.index.jobs(wanted, limit=limit, offset=offset)
    ]
    assert by_offset == expected


def test_events_are_handed_on_from_a_place_in_the_journal(path: Path) -> None:
    job, other = a_job(1_000.0), a_job(2_000.0)
    with Index(path) as index:
        begin(index)
        add_job(index, job, 4)
        add_job(index, other, 6)
        for sequence, each in enumerate((job, job, other, other), 10):
            add_event(index, an_event(each, STARTED, str(sequence)), sequence)
        assert [number for number, _ in index.jobs_after(4, 9)] == [6]
        assert [number for number, _ in index.events_after(10, 2)] == [11, 12]
        assert [number for number, _ in index.events_after(0, 9, job_id=other.id)] == [12, 13]
        assert index.newest() == [6, 13]
        assert index.before(first_id(1_500.0)) == [5, 11]
        assert index.before(first_id(9_000.0)) == [6, 13]
        assert index.sequence(other.id) == 6
        assert index.made(job.id) == job
        assert index.made("none") is None
