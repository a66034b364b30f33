"""What the ledger keeps, and in which order."""

import asyncio
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from tests.testing.ledger import (
    EXPIRES,
    NOW,
    a_task,
    an_end,
    end,
    on_disk,
    open_tasks,
    outbox,
)
from towline.agent.ledger import Ledger
from towline.agent.ledger.changes import ENDED, OPEN
from towline.errors import TowlineError
from towline.wire.cooldown import Cooldown
from towline.wire.credential import Supply
from towline.wire.event import CANCELLED, COMPLETED, FAILED, STARTED, Event
from towline.wire.release import Release


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


async def accept(ledger: Ledger, task: Release) -> bool:
    accepted = ledger.accept(task)
    if accepted is not None:
        await accepted
    return accepted is not None


async def test_a_task_is_accepted_once(path: Path) -> None:
    task = a_task()
    with Ledger(path) as ledger:
        accepted = ledger.accept(task)
        assert accepted is not None
        assert ledger.accept(task) is None
        await accepted
        assert ledger.accept(task) is None
        assert await accept(ledger, a_task())
        ledger.start(task.id, NOW)
        await end(ledger, task)
        assert not await accept(ledger, task)
    with Ledger(path) as ledger:
        assert not await accept(ledger, task)


async def test_what_has_not_ended_is_known_after_reopening_oldest_first(path: Path) -> None:
    tasks = [a_task(created=NOW - number) for number in range(4)]
    with Ledger(path) as ledger:
        for task in tasks:
            await accept(ledger, task)
        ledger.start(tasks[0].id, NOW + 5)
        ledger.start(tasks[1].id, NOW + 6)
        end(ledger, tasks[1])
        await end(ledger, tasks[2], FAILED)
    with Ledger(path) as ledger:
        assert await open_tasks(ledger) == [(tasks[3], None), (tasks[0], NOW + 5)]


async def test_what_has_not_ended_is_asked_for_with_all_changes_made_before(path: Path) -> None:
    tasks = [a_task(created=NOW + number) for number in range(3)]
    with Ledger(path) as ledger:
        for task in tasks:
            ledger.accept(task)
        ledger.start(tasks[0].id, NOW + 5)
        await asyncio.sleep(0)
        ledger.start(tasks[1].id, NOW + 6)
        end(ledger, tasks[2])
        assert await open_tasks(ledger) == [(tasks[0], NOW + 5), (tasks[1], NOW + 6)]


async def test_what_is_secret_or_soon_out_of_date_is_not_kept(path: Path) -> None:
    cooldown = Cooldown("example.com", NOW, NOW + 9, NOW + 19, 1, "node-2", "too many")
    task = a_task(supply=Supply(sealed="c2VhbGVk"), cooldown=cooldown, leave=True)
    with Ledger(path) as ledger:
        await accept(ledger, task)
        kept = msgspec.structs.replace(task, supply=None, cooldown=None)
        assert await open_tasks(ledger) == [(kept, None)]
    for file in path.parent.iterdir():
        assert b"c2VhbGVk" not in file.read_bytes()


async def test_ends_leave_in_the_order_they_were_written(path: Path) -> None:
    tasks = [a_task() for _ in range(4)]
    written = [an_end(task) for task in tasks]
    with Ledger(path) as ledger:
        numbers = []
        for task in tasks:
            change = end(ledger, task)
            await change
            numbers.append(change.number)
    with Ledger(path) as ledger:
        assert ledger.undelivered(2) == list(zip(numbers, written, strict=True))[:2]
        assert [number for number, _ in ledger.undelivered(2, {numbers[1]})] == [
            numbers[0],
            numbers[2],
        ]
        ledger.delivered(numbers[0])
        ledger.delivered(numbers[2])
        assert outbox(ledger) == [written[1], written[3]]
    with Ledger(path) as ledger:
        assert outbox(ledger) == [written[1], written[3]]
        ledger.delivered(numbers[0])
        ledger.delivered(10**6)
        assert outbox(ledger) == [written[1], written[3]]


async def test_what_waits_is_counted_without_what_was_delivered(path: Path) -> None:
    with Ledger(path) as ledger:
        numbers = [end(ledger, a_task()).number for _ in range(6)]
        await end(ledger, a_task())
        for number in numbers[:4]:
            ledger.delivered(number)
        assert [number for number, _ in ledger.undelivered(2)] == numbers[4:]


async def test_what_was_delivered_is_struck_when_the_ledger_is_closed(path: Path) -> None:
    with Ledger(path) as ledger:
        change = end(ledger, a_task())
        await change
        ledger.delivered(change.number)
    assert on_disk(path)[1] == set()


async def test_while_it_is_open_no_number_is_given_to_two_events(path: Path) -> None:
    numbers = []
    with Ledger(path) as ledger:
        for _ in range(5):
            change = end(ledger, a_task())
            await change
            numbers.append(change.number)
            ledger.delivered(change.number)
            assert not outbox(ledger)
    assert len(set(numbers)) == 5


async def test_a_number_is_not_given_again_while_its_event_waits(path: Path) -> None:
    with Ledger(path) as ledger:
        first = end(ledger, a_task())
        await first
    with Ledger(path) as ledger:
        second = end(ledger, a_task())
        await second
        assert second.number != first.number
        assert len(outbox(ledger)) == 2


async def test_a_task_that_was_dropped_can_come_again(path: Path) -> None:
    task = a_task()
    with Ledger(path) as ledger:
        assert await accept(ledger, task)
        dropped = ledger.drop(task.id)
        assert ledger.state_of(task.id) is None
        await dropped
        assert not await ledger.unfinished()
        assert not outbox(ledger)
        ledger.accept(task)
        ledger.drop(task.id)
        assert ledger.state_of(task.id) is None
        assert ledger.accept(task) is not None
        assert ledger.state_of(task.id) == OPEN
        assert await open_tasks(ledger) == [(task, None)]


# Ends


@pytest.mark.parametrize("waits", [True, False], ids=["on the disk", "not yet"])
async def test_the_end_of_a_task_is_kept_though_it_was_delivered(path: Path, waits: bool) -> None:
    task, unknown = a_task(), a_task()
    with Ledger(path) as ledger:
        await accept(ledger, task)
        assert ledger.end_of(task.id) is None
        for each, kind in ((task, COMPLETED), (unknown, CANCELLED)):
            change = end(ledger, each, kind)
            if waits:
                await change
            ledger.delivered(change.number)
            assert ledger.state_of(each.id) == ENDED
            assert ledger.end_of(each.id) == an_end(each, kind)
            assert not await accept(ledger, each)
        assert not outbox(ledger)
    with Ledger(path) as ledger:
        assert ledger.end_of(unknown.id) == an_end(unknown, CANCELLED)


async def test_only_what_has_ended_expired_and_been_delivered_is_forgotten(path: Path) -> None:
    ended, waiting, still_open = a_task(), a_task(), a_task()
    later = a_task(expires=EXPIRES + 1)
    with Ledger(path) as ledger:
        for task in (ended, waiting, still_open, later):
            ledger.accept(task)
        for task in (ended, later):
            ledger.delivered(end(ledger, task).number)
        await end(ledger, waiting)
        await ledger.forget(EXPIRES - 1)
        assert ledger.state_of(ended.id) == ENDED
        assert not ledger.forgotten(NOW)
        await ledger.forget(EXPIRES)
        assert ledger.state_of(ended.id) is None
        assert [ledger.state_of(task.id) for task in (waiting, later)] == [ENDED, ENDED]
        assert await open_tasks(ledger) == [(still_open, None)]
        assert outbox(ledger) == [an_end(waiting)]


async def test_what_may_have_been_forgotten_is_known_to_be_that(path: Path) -> None:
    task = a_task()
    with Ledger(path) as ledger:
        ledger.delivered(end(ledger, task).number)
        # A clock that ran ahead has shown this for a moment.
        await ledger.forget(EXPIRES + 1e9)
        assert ledger.forgotten(EXPIRES)
        assert not ledger.forgotten(EXPIRES + 1)
        await ledger.forget(EXPIRES + 2e9)
    with Ledger(path) as ledger:
        assert ledger.forgotten(EXPIRES)
        assert not ledger.forgotten(EXPIRES + 1)


async def test_an_end_is_kept_until_its_job_expires_and_not_only_its_turn(path: Path) -> None:
    task = msgspec.structs.replace(a_task(), expires=NOW + 10)
    with Ledger(path) as ledger:
        await accept(ledger, task)
        ledger.delivered(end(ledger, task).number)
        await ledger.forget(NOW + 20)
        assert ledger.state_of(task.id) == ENDED


# What a heartbeat names


async def test_what_is_held_is_what_is_open_or_has_an_end_that_was_not_delivered(
    path: Path,
) -> None:
    tasks = [a_task() for _ in range(6)]
    names = [task.id for task in tasks]
    with Ledger(path) as ledger:
        for task in tasks[:3]:
            await accept(ledger, task)
        assert set(ledger.held(10)) == set(names[:3])
        ledger.record(Event(names[5], "a", "host-a", STARTED, NOW))
        ledger.accept(tasks[3])
        ended = end(ledger, tasks[0])
        ledger.drop(names[1])
        unknown = end(ledger, tasks[4], CANCELLED)
        expected = {names[0], names[2], names[3], names[4]}
        assert set(ledger.held(10)) == expected
        await unknown
        assert set(ledger.held(10)) == expected
        ledger.delivered(ended.number)
        ledger.delivered(unknown.number)
        assert set(ledger.held(10)) == {names[2], names[3]}
        assert len(ledger.held(1)) == 1
        await ledger.start(names[2], NOW)
        assert set(ledger.held(10)) == {names[2], names[3]}


# What it knows of itself


async def test_it_knows_when_it_was_first_used_and_the_last_start(path: Path) -> None:
    with Ledger(path) as ledger:
        assert (ledger.born, ledger.last_start) == (None, "")
        ledger.begin("0123456789abcdef")
        ledger.use(NOW)
        assert ledger.born == NOW
    with Ledger(path) as ledger:
        assert (ledger.born, ledger.last_start) == (NOW, "0123456789abcdef")
        ledger.use(NOW + 1)
        await ledger.begin("00000000deadbeef")
    with Ledger(path) as ledger:
        assert (ledger.born, ledger.last_start) == (NOW, "00000000deadbeef")


async def test_a_ledger_of_another_version_is_refused_with_what_to_do(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE task (job TEXT PRIMARY KEY, sequence INTEGER)")
    with pytest.raises(TowlineError, match=r"ledger\.sqlite.*another version.*move the file"):
        Ledger(path)


# On the disk


async def test_what_is_written_as_the_ledger_is_closed_is_kept(path: Path) -> None:
    task = a_task()
    trouble: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))

    async def wait() -> None:
        await ledger.start(task.id, NOW)

    with Ledger(path) as ledger:
        ledger.accept(task)
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
    await waiting
    assert not trouble
    with Ledger(path) as ledger:
        assert await open_tasks(ledger) == [(task, NOW)]


async def test_the_ledger_is_its_owners_alone(path: Path) -> None:
    with Ledger(path) as ledger:
        await accept(ledger, a_task())
        files = list(path.parent.iterdir())
        assert len(files) == 3  # the database, its log and the log's index
        for file in files:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_change_is_on_the_disk_when_it_was_awaited_and_not_before(path: Path) -> None:
    task = a_task()
    with Ledger(path) as ledger:
        ledger.accept(task)
        change = end(ledger, task)
        assert on_disk(path) == (set(), set())
        await change
        assert on_disk(path) == ({task.id}, {task.id})


async def test_what_many_tasks_write_at_once_is_on_the_disk_for_each_that_waited(
    path: Path,
) -> None:
    async def work(ledger: Ledger, number: int) -> None:
        task = a_task()
        assert await accept(ledger, task)
        assert task.id in on_disk(path)[0]
        for _ in range(number % 3):
            await asyncio.sleep(0)
        start = ledger.start(task.id, NOW)
        if number % 2:
            change = end(ledger, task)
            await change
            assert task.id in on_disk(path)[1]
            ledger.delivered(change.number)
        else:
            await start

    with Ledger(path) as ledger:
        await asyncio.gather(*(work(ledger, number) for number in range(60)))
        assert [started for _, started in await open_tasks(ledger)] == [NOW] * 30
        assert not outbox(ledger)
        assert len(on_disk(path)[0]) == 60


async def test_while_the_disk_takes_its_time_changes_are_made_and_questions_answered(
    path: Path,
) -> None:
    task, cancelled, later = a_task(), a_task(), a_task()
    go = threading.Event()
    # For a ledger that waits for its thread this ends the wait, not the test's failure.
    guard = threading.Timer(10.0, go.set)
    guard.start()
    with ThreadPoolExecutor(1) as thread, Ledger(path, thread) as ledger:
        thread.submit(go.wait)
        first = ledger.accept(task)
        step = ledger.record(Event(task.id, "a", "host-a", STARTED, NOW))
        assert first is not None
        await asyncio.sleep(0)  # From here on the commit is under way.
        assert ledger.accept(task) is None
        ledger.delivered(end(ledger, cancelled, CANCELLED).number)
        assert ledger.state_of(cancelled.id) == ENDED
        end(ledger, task)
        last = ledger.accept(later)
        assert last is not None
        assert [event.kind for event in outbox(ledger)] == [STARTED, COMPLETED]
        ledger.delivered(step.number)
        assert outbox(ledger) == [an_end(task)]
        assert set(ledger.held(10)) == {task.id, later.id}
        assert on_disk(path) == (set(), set())
        assert not go.is_set(), "the loop waited for the disk"
        go.set()
        guard.cancel()
        await last
        assert on_disk(path)[0] == {task.id, cancelled.id, later.id}
        assert await open_tasks(ledger) == [(later, None)]
        assert outbox(ledger) == [an_end(task)]


async def test_a_task_that_is_cancelled_while_it_waits_leaves_the_others_their_commit(
    path: Path,
) -> None:
    tasks = [a_task(), a_task()]
    with Ledger(path) as ledger:
        first, second = (asyncio.create_task(accept(ledger, task)) for task in tasks)
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()
        assert on_disk(path)[0] == {task.id for task in tasks}


def test_what_was_written_last_is_kept_though_the_loop_has_ended(path: Path) -> None:
    task = a_task()
    with Ledger(path) as ledger:

        async def write() -> None:
            ledger.accept(task)
            end(ledger, task)

        asyncio.run(write())
    assert on_disk(path) == ({task.id}, {task.id})


async def test_what_was_written_last_is_kept_when_the_ledger_is_closed_at_once(path: Path) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: None)
    task = a_task()
    with Ledger(path) as ledger:
        ledger.accept(task)
        end(ledger, task)
    assert on_disk(path) == ({task.id}, {task.id})
