import os
import resource
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.testing.jobs import CREATED, LATER, Fold, a_job, an_event, fill, found
from tests.testing.process import Process
from towline.broker.journal import CHANGES, READS, place
from towline.controller.jobs.index import SCHEMA, VERSION, Index
from towline.wire.event import COMPLETED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def test_a_process_killed_while_it_folds_leaves_no_position_without_its_jobs(
    path: Path, tmp_path: Path
) -> None:
    fold = """
import pathlib, sys, uuid
from towline.controller.jobs.index import Index
from towline.wire.job import Job
with Index(pathlib.Path(sys.argv[1])) as index:
    index.position("CHANGES", sys.argv[2], 10**9)
    for sequence in range(1, 10**9):
        job = Job(str(uuid.UUID(int=sequence)), "node.load.get", {}, "_all", "ci", 1e9, 2e9)
        index.add_job(job, "CHANGES", sequence << 12)
        index.advance("CHANGES", sequence)
        if sequence % 7 == 0:
            index.flush()
            print(sequence, flush=True)
"""
    command: list[str | Path] = [sys.executable, "-c", fold, path, CREATED]
    with Process("fold", command, logs=tmp_path) as process:
        process.wait_for_output(r"^700$")
        process.kill()
    with capture_logs() as logs, Index(path) as index:
        reached = index.position(CHANGES, CREATED, 10**9)
        assert reached >= 700
        for sequence in range(1, reached + 1):
            assert index.find(str(uuid.UUID(int=sequence))) is not None
        assert index.find(str(uuid.UUID(int=reached + 1))) is None
    assert not logs


def test_it_is_for_its_owner_alone_also_where_an_earlier_one_was_not(path: Path) -> None:
    before = os.umask(0)
    try:
        for _ in range(2):
            with Index(path) as index:
                assert not index.deleted("a job")
                files = list(path.parent.glob("index.sqlite*"))
                assert len(files) == 3
                assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
            path.chmod(0o644)
    finally:
        os.umask(before)


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
        fold = Fold(index)
        assert index.find(job.id) is None
        fold.job(job)
        found(index, job)
    assert [entry["event"] for entry in logs] == ["index built anew"]
    assert logs[0]["reason"]
    with capture_logs() as logs, Index(path) as index:
        assert index.position(CHANGES, CREATED, 1) == 1
        found(index, job)
    assert not logs


def test_an_index_whose_making_was_interrupted_is_made_anew(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.executescript(SCHEMA.partition("CREATE INDEX")[0])
    database.close()
    with Index(path) as index:
        Fold(index).job(job := a_job())
        found(index, job)


@pytest.mark.parametrize(("created", "last"), [(LATER, 500), (CREATED, 1), (LATER, 0)])
@pytest.mark.parametrize("stream", [CHANGES, READS])
def test_a_stream_that_was_made_anew_is_folded_from_its_start_and_the_other_stays(
    path: Path, stream: str, created: str, last: int
) -> None:
    jobs = {CHANGES: a_job(), READS: a_job(effect="read")}
    with Index(path) as index:
        fold = Fold(index)
        for each, job in jobs.items():
            fold.job(job, each)
            fold.event(an_event(job, COMPLETED), each)
    other = READS if stream == CHANGES else CHANGES
    job = jobs[stream]
    with Index(path) as index:
        assert index.position(other, CREATED, 50) == 2
        with capture_logs() as logs:
            assert index.position(stream, created, last) == 0
        assert [entry["event"] for entry in logs] == ["index built anew"]
        assert stream in logs[0]["reason"]
        assert index.find(job.id) is None
        assert not index.has_task(job.id, "a")
        assert found(index, jobs[other])[0].status == "completed"
        index.add_job(job, stream, place(1))
        index.advance(stream, 1)
        assert found(index, job)[1] == []
    with Index(path) as index:
        assert index.position(stream, created, max(last, 1)) == 1
        assert index.position(other, CREATED, 50) == 2


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
        fold = Fold(index)
        for job in jobs:
            fold.job(job)
        with full_disk(path), pytest.raises(sqlite3.OperationalError):
            index.flush()
        with Index(path) as other:
            assert other.position(CHANGES, CREATED, 3000) == 0
        index.flush()
        assert index.position(CHANGES, CREATED, 3000) == 3000
        assert all(index.find(job.id) for job in jobs)


def test_a_copied_index_is_as_good(path: Path, tmp_path: Path) -> None:
    jobs = fill(path)
    copy = tmp_path / "copy.sqlite"
    shutil.copy(path, copy)
    with Index(copy) as index:
        assert index.position(CHANGES, CREATED, 100) == 100
        assert all(index.find(job.id) for job in jobs)
