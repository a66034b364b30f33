"""What the ledger keeps, and in which order."""

import asyncio
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.testing.ledger import a_job, an_end, on_disk, outbox
from towline.agent.ledger import Ledger
from towline.wire.event import FAILED, STARTED, Event
from towline.wire.job import Job


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


async def accept(ledger: Ledger, job: Job, received: float = 1.0) -> bool:
    accepted = ledger.accept(job, received=received)
    if accepted is not None:
        await accepted
    return accepted is not None


async def test_a_job_is_accepted_once(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        accepted = ledger.accept(job, received=1.0)
        assert accepted is not None
        assert ledger.accept(job, received=1.0) is None
        await accepted
        assert ledger.accept(job, received=1.0) is None
        assert await accept(ledger, a_job())
        ledger.start(job.id, 5.0)
        await ledger.end(an_end(job))
        assert not await accept(ledger, job)
    with Ledger(path) as ledger:
        assert not await accept(ledger, job)


async def test_what_has_not_ended_is_known_after_reopening_oldest_first(path: Path) -> None:
    jobs = [a_job() for _ in range(4)]
    with Ledger(path) as ledger:
        for received, job in enumerate(reversed(jobs)):
            await accept(ledger, job, received)
        ledger.start(jobs[0].id, 5.0)
        ledger.start(jobs[1].id, 6.0)
        ledger.end(an_end(jobs[1]))
        await ledger.end(an_end(jobs[2], FAILED))
    with Ledger(path) as ledger:
        assert await ledger.unfinished() == [(jobs[3], None), (jobs[0], 5.0)]


async def test_what_has_not_ended_is_asked_for_with_all_changes_made_before(path: Path) -> None:
    jobs = [a_job() for _ in range(3)]
    with Ledger(path) as ledger:
        for received, job in enumerate(jobs):
            ledger.accept(job, received=received)
        ledger.start(jobs[0].id, 5.0)
        await asyncio.sleep(0)
        ledger.start(jobs[1].id, 6.0)
        ledger.end(an_end(jobs[2]))
        assert await ledger.unfinished() == [(jobs[0], 5.0), (jobs[1], 6.0)]


async def test_ends_leave_in_the_order_they_were_written(path: Path) -> None:
    written = [an_end(a_job()) for _ in range(4)]
    with Ledger(path) as ledger:
        numbers = []
        for event in written:
            change = ledger.end(event)
            await change
            numbers.append(change.number)
    with Ledger(path) as ledger:
        assert ledger.undelivered(2) == list(zip(numbers, written, strict=True))[:2]
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
        numbers = [ledger.end(an_end(a_job())).number for _ in range(6)]
        await ledger.end(an_end(a_job()))
        for number in numbers[:4]:
            ledger.delivered(number)
        assert [number for number, _ in ledger.undelivered(2)] == numbers[4:]


async def test_what_was_delivered_is_struck_when_the_ledger_is_closed(path: Path) -> None:
    with Ledger(path) as ledger:
        change = ledger.end(an_end(a_job()))
        await change
        ledger.delivered(change.number)
    assert on_disk(path)[1] == set()


async def test_while_it_is_open_no_number_is_given_to_two_events(path: Path) -> None:
    numbers = []
    with Ledger(path) as ledger:
        for _ in range(5):
            change = ledger.end(an_end(a_job()))
            await change
            numbers.append(change.number)
            ledger.delivered(change.number)
            assert not outbox(ledger)
    assert len(set(numbers)) == 5


async def test_a_number_is_not_given_again_while_its_event_waits(path: Path) -> None:
    with Ledger(path) as ledger:
        first = ledger.end(an_end(a_job()))
        await first
    with Ledger(path) as ledger:
        second = ledger.end(an_end(a_job()))
        await second
        assert second.number != first.number
        assert len(outbox(ledger)) == 2


async def test_a_task_that_another_node_has_claimed_is_dropped_without_an_event(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        await accept(ledger, job)
        await ledger.drop(job.id)
        assert not await ledger.unfinished()
        assert not outbox(ledger)
        assert not await accept(ledger, job)


async def test_only_ended_tasks_are_forgotten_and_only_old_ones(path: Path) -> None:
    old_ended, old_running, new_ended = a_job(), a_job(), a_job()
    with Ledger(path) as ledger:
        for job, received in ((old_ended, 100.0), (old_running, 100.0), (new_ended, 200.0)):
            await accept(ledger, job, received)
        for job in (old_ended, new_ended):
            await ledger.end(an_end(job))
        await ledger.forget(200.0)
        assert await ledger.unfinished() == [(old_running, None)]
        assert len(outbox(ledger)) == 2
        assert await accept(ledger, old_ended)
        assert not await accept(ledger, old_running)
        assert not await accept(ledger, new_ended)


async def test_what_was_cancelled_before_it_came_is_remembered_for_as_long_as_it_could_come(
    path: Path,
) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        ledger.refuse(job.id, received=100.0)
        assert ledger.refused(job.id)
        assert not await accept(ledger, job)
        await ledger.forget(100.0)
        assert ledger.refused(job.id)
        assert not await accept(ledger, job)
        await ledger.forget(101.0)
        assert await accept(ledger, job)


async def test_a_refused_job_is_no_longer_one_once_its_end_is_recorded(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        await ledger.refuse(job.id, received=100.0)
        end = ledger.end(an_end(job))
        assert not ledger.refused(job.id)
        await end
        assert not ledger.refused(job.id)
        assert not await accept(ledger, job)


async def test_a_task_that_was_accepted_is_not_refused_afterwards(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        ledger.accept(job, received=1.0)
        await ledger.refuse(job.id, received=2.0)
        assert not ledger.refused(job.id)
        assert await ledger.unfinished() == [(job, None)]


async def test_ended_tasks_are_forgotten_once_the_broker_has_said_twice_that_they_are_over(
    path: Path,
) -> None:
    job, later = a_job(), a_job()
    with Ledger(path) as ledger:
        assert ledger.settled("stream") is None
        for sequence, each in ((7, job), (9, later)):
            ledger.accept(each, received=1.0, sequence=sequence)
            await ledger.end(an_end(each))
        await ledger.settle("stream", 8)
        assert ledger.settled("stream") == 8
        assert not await accept(ledger, job)
        await ledger.settle("stream", 5)
        assert ledger.settled("stream") == 8
        assert await accept(ledger, job)
        assert not await accept(ledger, later)
        await ledger.settle("another", 3)
        assert (ledger.settled("another"), ledger.settled("stream")) == (3, 0)


async def test_what_is_written_as_the_ledger_is_closed_is_kept(path: Path) -> None:
    job = a_job()
    trouble: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))

    async def wait() -> None:
        await ledger.start(job.id, 5.0)

    with Ledger(path) as ledger:
        ledger.accept(job, received=1.0)
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
    await waiting
    assert not trouble
    with Ledger(path) as ledger:
        assert await ledger.unfinished() == [(job, 5.0)]


async def test_the_ledger_is_its_owners_alone(path: Path) -> None:
    with Ledger(path) as ledger:
        await accept(ledger, a_job())
        files = list(path.parent.iterdir())
        assert len(files) == 3  # the database, its log and the log's index
        for file in files:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_change_is_on_the_disk_when_it_was_awaited_and_not_before(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        ledger.accept(job, received=1.0)
        end = ledger.end(an_end(job))
        assert on_disk(path) == (set(), set())
        await end
        assert on_disk(path) == ({job.id}, {job.id})


async def test_what_many_tasks_write_at_once_is_on_the_disk_for_each_that_waited(
    path: Path,
) -> None:
    async def work(ledger: Ledger, number: int) -> None:
        job = a_job()
        assert await accept(ledger, job)
        assert job.id in on_disk(path)[0]
        for _ in range(number % 3):
            await asyncio.sleep(0)
        start = ledger.start(job.id, 5.0)
        if number % 2:
            end = ledger.end(an_end(job))
            await end
            assert job.id in on_disk(path)[1]
            ledger.delivered(end.number)
        else:
            await start

    with Ledger(path) as ledger:
        await asyncio.gather(*(work(ledger, number) for number in range(60)))
        assert [started for _, started in await ledger.unfinished()] == [5.0] * 30
        assert not outbox(ledger)
        assert len(on_disk(path)[0]) == 60


async def test_while_the_disk_takes_its_time_changes_are_made_and_questions_answered(
    path: Path,
) -> None:
    job, refused, later = a_job(), a_job(), a_job()
    go = threading.Event()
    # For a ledger that waits for its thread this ends the wait, not the test's failure.
    guard = threading.Timer(10.0, go.set)
    guard.start()
    with ThreadPoolExecutor(1) as thread, Ledger(path, thread) as ledger:
        thread.submit(go.wait)
        first = ledger.accept(job, received=1.0)
        step = ledger.record(Event(job.id, "a", "host-a", STARTED, 3.0))
        assert first is not None
        await asyncio.sleep(0)  # From here on the commit is under way.
        assert ledger.accept(job, received=1.0) is None
        ledger.refuse(refused.id, received=1.0)
        assert ledger.refused(refused.id)
        ledger.end(an_end(job))
        last = ledger.accept(later, received=2.0)
        assert last is not None
        assert [event.kind for event in outbox(ledger)] == [STARTED, an_end(job).kind]
        ledger.delivered(step.number)
        assert outbox(ledger) == [an_end(job)]
        assert on_disk(path) == (set(), set())
        assert not go.is_set(), "the loop waited for the disk"
        go.set()
        guard.cancel()
        await last
        assert on_disk(path)[0] == {job.id, refused.id, later.id}
        assert await ledger.unfinished() == [(later, None)]
        assert outbox(ledger) == [an_end(job)]


async def test_a_task_that_is_cancelled_while_it_waits_leaves_the_others_their_commit(
    path: Path,
) -> None:
    jobs = [a_job(), a_job()]
    with Ledger(path) as ledger:
        first, second = (asyncio.create_task(accept(ledger, job)) for job in jobs)
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()
        assert on_disk(path)[0] == {job.id for job in jobs}


def test_what_was_written_last_is_kept_though_the_loop_has_ended(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:

        async def write() -> None:
            ledger.accept(job, received=1.0)
            ledger.end(an_end(job))

        asyncio.run(write())
    assert on_disk(path) == ({job.id}, {job.id})


async def test_what_was_written_last_is_kept_when_the_ledger_is_closed_at_once(path: Path) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: None)
    job = a_job()
    with Ledger(path) as ledger:
        ledger.accept(job, received=1.0)
        ledger.end(an_end(job))
    assert on_disk(path) == ({job.id}, {job.id})
