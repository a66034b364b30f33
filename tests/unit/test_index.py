import resource
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.parts.process import Process
from towline import index as index_module
from towline.index import VERSION, Index
from towline.job import (
    COMPLETED,
    PLANNED,
    STARTED,
    Event,
    Job,
    PlannedNode,
    Progress,
    first_id,
    new_id,
)
from towline.journal import EVENTS, JOBS

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
    index.add_job(job, machine, msgspec.json.encode(job))
    index.advance(JOBS, sequence)


def add_event(index: Index, event: Event, sequence: int) -> None:
    index.add_event(event, sequence, msgspec.json.encode(event))
    index.advance(EVENTS, sequence)


def found(index: Index, job: Job, **hostnames: str) -> tuple[Progress, list[Event]]:
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
        for sequence in (1, 2):
            add_job(index, job, sequence, machine="a")
            add_event(index, first, sequence)
        index.flush()
        add_event(index, an_event(job, COMPLETED, data={"size": 8}), 3)
        progress, events = found(index, job)
    assert events == [first]
    assert progress.tasks["a"].data == {"size": 7}


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
from towline.index import Index
from towline.job import Job
with Index(pathlib.Path(sys.argv[1])) as index:
    index.position("JOBS", sys.argv[2], 10**9)
    for sequence in range(1, 10**9):
        job = Job(f"job-{sequence}", "node.load", {}, "_all", "ci", 1.0, 2.0)
        index.add_job(job, None, msgspec.json.encode(job))
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
