"""The ledger on a disk that fails, and after an end at any moment."""

import asyncio
import contextlib
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.testing.ledger import (
    a_task,
    an_end,
    end,
    full_disk,
    long_task,
    numbered,
    on_disk,
    open_tasks,
    outbox,
)
from tests.testing.process import Process
from towline.agent.ledger import Ledger
from towline.agent.ledger.changes import Change
from towline.agent.ledger.storage import SCHEMA
from towline.errors import TowlineError

WORK = """
import asyncio, pathlib, sys
from towline.agent.ledger import Ledger
from towline.wire.event import Event
from towline.wire.job import Job
from towline.wire.release import Release

async def work(ledger, number):
    id = f"00000000-0000-7000-8000-{number:012}"
    job = Job(id, "node.load.get", {}, "_all", "ci", 1.7e9, 1.8e9)
    ledger.accept(Release(id, "a", 1.7e9, 1.8e9, job))
    last = ledger.start(id, 5.0)
    if number % 2 == 0:
        ended = Event(id, "a", "host-a", "completed", 1.7e9)
        last = ledger.end(ended, created=1.7e9, expires=1.8e9)
    await last
    print(number, flush=True)

async def main():
    with Ledger(pathlib.Path(sys.argv[1])) as ledger:
        for first in range(0, 10**9, 5):
            await asyncio.gather(*(work(ledger, first + n) for n in range(5)))

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.mark.parametrize("reached", [0, 50, 500])
async def test_a_process_killed_amid_its_work_leaves_the_ledger_intact(
    path: Path, tmp_path: Path, reached: int
) -> None:
    command: list[str | Path] = [sys.executable, "-c", WORK, path]
    with Process("work", command, logs=tmp_path) as process:
        process.wait_for_output(rf"^{reached}$")
        process.kill()
    stored = [int(line) for line in process.stdout.split("\n")[:-1]]
    with Ledger(path) as ledger:
        started = {task.job: task.started for task in await ledger.unfinished()}
        ended = {event.job for event in outbox(ledger)}
        assert set(started.values()) <= {5.0}
        for number in stored:
            task = a_task(numbered(number))
            assert ledger.accept(task) is None
            assert (task.id in started, task.id in ended) == (number % 2 == 1, number % 2 == 0)
        # Nothing half: each task that is there has started, and has ended where it says so.
        tasks, events = on_disk(path)
        assert tasks == started.keys() | ended
        assert events == ended
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_ledger_that_was_being_made_is_made_anew(path: Path) -> None:
    steps = 0
    while True:
        steps += 1
        left = steps

        def allow(*_: object) -> int:
            nonlocal left
            left -= 1
            return sqlite3.SQLITE_OK if left else sqlite3.SQLITE_DENY

        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.set_authorizer(allow)
            with contextlib.suppress(sqlite3.DatabaseError):
                database.executescript(SCHEMA)
        if left > 0:
            break
        with Ledger(path) as ledger:
            assert ledger.born is None
        path.unlink()
    assert steps > 20


@pytest.mark.parametrize("count", [1, 500], ids=["at the commit", "at a change"])
async def test_a_full_disk_fails_whoever_waits_and_what_comes_after_is_taken(
    path: Path, count: int
) -> None:
    task, tasks = a_task(), [long_task() for _ in range(count)]
    with Ledger(path) as ledger:
        first = ledger.accept(task)
        assert first is not None
        await first
        with full_disk(path):
            changes = [ledger.accept(each) for each in tasks]
            for change in changes:
                assert change is not None
                with pytest.raises(sqlite3.OperationalError):
                    await change
        assert await open_tasks(ledger) == [(task, None)]
        ledger.start(task.id, 5.0)
        assert ledger.accept(tasks[0])
        await end(ledger, task)
        assert await open_tasks(ledger) == [(tasks[0], None)]
        assert outbox(ledger) == [an_end(task)]
    assert on_disk(path) == ({task.id, tasks[0].id}, {task.id})


async def test_what_is_written_with_what_a_full_disk_refused_does_not_count_alone(
    path: Path,
) -> None:
    with Ledger(path) as ledger:
        await end(ledger, a_task(numbered(0)))
        with full_disk(path):
            for _ in range(500):
                ledger.accept(long_task())
            last = end(ledger, a_task(numbered(1)))
            with pytest.raises(sqlite3.OperationalError):
                await last
        assert on_disk(path) == ({numbered(0)}, {numbered(0)})
        assert [event.job for event in outbox(ledger)] == [numbered(0)]


async def test_a_job_that_a_full_disk_refused_can_be_accepted_again(path: Path) -> None:
    lost, kept = a_task(), a_task()
    with Ledger(path) as ledger:
        await end(ledger, a_task(numbered(0)))
        with full_disk(path):
            first = ledger.accept(lost)
            await asyncio.sleep(0)  # From here on the commit is under way.
            second = ledger.accept(kept)
            for change in (first, second):
                assert change is not None
                with pytest.raises(sqlite3.OperationalError):
                    await change
        again = ledger.accept(lost)
        assert again is not None
        await again
        assert await open_tasks(ledger) == [(lost, None)]


async def test_an_event_that_a_full_disk_refused_is_not_thought_delivered_by_its_number(
    path: Path,
) -> None:
    with Ledger(path) as ledger:
        await end(ledger, a_task())
        ledger.delivered(1)
        with full_disk(path):
            lost = end(ledger, a_task())
            with pytest.raises(sqlite3.OperationalError):
                await lost
        kept = end(ledger, task := a_task())
        await kept
        ledger.delivered(lost.number)
        assert kept.number != lost.number
        assert outbox(ledger) == [an_end(task)]


async def test_what_was_delivered_is_struck_in_silence_while_the_disk_is_full(path: Path) -> None:
    with Ledger(path) as ledger:
        numbers = [end(ledger, a_task()).number for _ in range(200)]
        await ledger.record(an_end(task := a_task()))
        with full_disk(path):
            for number in numbers:
                ledger.delivered(number)
            assert outbox(ledger) == [an_end(task)]
            with pytest.raises(sqlite3.OperationalError):
                await ledger.start(task.id, 5.0)
            assert outbox(ledger) == [an_end(task)], "what was struck came back"
        await ledger.start(task.id, 5.0)
    assert on_disk(path)[1] == {task.id}


async def test_a_ledger_whose_disk_is_full_can_be_closed(path: Path) -> None:
    ledger = Ledger(path)
    change = end(ledger, a_task(numbered(0)))
    await change
    with full_disk(path):
        ledger.delivered(change.number)
        lost = ledger.accept(a_task())
        ledger.__exit__(None, None, None)
    assert lost is not None
    with pytest.raises(sqlite3.OperationalError):
        await lost
    assert on_disk(path) == ({numbered(0)}, {numbered(0)})


async def test_a_change_that_must_be_written_is_written_when_there_is_room(path: Path) -> None:
    task = a_task()
    with Ledger(path, retry_every=0.01) as ledger:
        await end(ledger, a_task())
        attempts = 0

        def record() -> Change:
            nonlocal attempts
            attempts += 1
            return end(ledger, task)

        with full_disk(path):
            writing = asyncio.create_task(ledger.persist(record, task.id))
            while attempts < 3:
                await asyncio.sleep(0.01)
            assert not writing.done()
        await writing
        assert task.id in on_disk(path)[1]


async def test_what_cannot_be_read_back_stops_nothing_else(path: Path) -> None:
    task = a_task()
    with Ledger(path) as ledger:
        ledger.accept(task)
        await ledger.record(an_end(task))
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "INSERT INTO task (job, created, expires, state, release) "
            "VALUES ('other', 9, 9, 0, '{}')"
        )
        database.executemany(
            "INSERT INTO outbox VALUES (?, 'other', 0, ?)",
            [(-n, "not an event") for n in range(100)],
        )
        database.commit()
    with Ledger(path) as ledger:
        assert await open_tasks(ledger) == [(None, None), (task, None)]
        assert (await ledger.unfinished())[0].job == "other"
        assert ledger.undelivered(64) == [(1, an_end(task))]


async def test_a_disk_that_can_be_neither_written_nor_tidied_is_trouble_and_no_more(
    path: Path,
) -> None:
    with Ledger(path) as ledger:
        # Neither can it be opened as a file, nor removed as one.
        path.with_name(f"{path.name}.room").mkdir()
        await end(ledger, a_task())
        with full_disk(path), pytest.raises(sqlite3.OperationalError):
            await end(ledger, a_task())
        assert (await ledger.trouble()).startswith("the ledger can't be written: ")
        path.with_name(f"{path.name}.room").rmdir()
        assert await ledger.trouble() == ""


def test_a_file_that_is_no_ledger_is_said_with_its_path(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(TowlineError, match=r"ledger\.sqlite.*not a database"):
        Ledger(path)
