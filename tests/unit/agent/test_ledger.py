import asyncio
import resource
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.testing.process import Process
from towline.agent.ledger import Ledger
from towline.wire.event import COMPLETED, FAILED, Event
from towline.wire.job import Job, new_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def a_job(id: str | None = None) -> Job:
    return Job(id or new_id(), "docker.pull", {"image": "nginx"}, "_all", "ci", 1.0, 2.0)


def an_end(job: Job, kind: str = COMPLETED) -> Event:
    return Event(job.id, "a", "host-a", kind, 3.0)


def outbox(ledger: Ledger) -> list[Event]:
    return [event for _, event in ledger.undelivered(10_000)]


def on_disk(path: Path) -> tuple[set[str], set[str]]:
    """Return the jobs of the tasks and events that another process would find."""
    with closing(sqlite3.connect(path)) as database:
        tasks = {job for (job,) in database.execute("SELECT job FROM task")}
        bodies = [body for (body,) in database.execute("SELECT body FROM outbox")]
    return tasks, {msgspec.json.decode(body, type=Event).job for body in bodies}


async def test_a_job_is_taken_on_once(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        assert ledger.accept(job)
        assert not ledger.accept(job)
        await ledger.commit()
        assert not ledger.accept(job)
        assert ledger.accept(a_job())
        ledger.start(job.id, 5.0)
        ledger.end(an_end(job))
        await ledger.commit()
        assert not ledger.accept(job)
    with Ledger(path) as ledger:
        assert not ledger.accept(job)


async def test_what_has_not_ended_is_known_after_reopening_oldest_first(path: Path) -> None:
    jobs = [a_job() for _ in range(4)]
    with Ledger(path) as ledger:
        for job in reversed(jobs):
            ledger.accept(job)
            await ledger.commit()
        ledger.start(jobs[0].id, 5.0)
        ledger.start(jobs[1].id, 6.0)
        ledger.end(an_end(jobs[1]))
        ledger.end(an_end(jobs[2], FAILED))
        await ledger.commit()
    with Ledger(path) as ledger:
        assert ledger.unfinished() == [(jobs[3], None), (jobs[0], 5.0)]


async def test_ends_leave_in_the_order_they_were_written(path: Path) -> None:
    jobs = [a_job() for _ in range(4)]
    written = [an_end(job) for job in jobs]
    with Ledger(path) as ledger:
        numbers = []
        for event in written:
            numbers.append(ledger.end(event))
            await ledger.commit()
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


async def test_what_was_delivered_is_struck_when_the_ledger_is_closed(path: Path) -> None:
    with Ledger(path) as ledger:
        number = ledger.end(an_end(a_job()))
        await ledger.commit()
        ledger.delivered(number)
    assert on_disk(path)[1] == set()


async def test_while_it_is_open_no_number_is_given_to_two_events(path: Path) -> None:
    numbers = []
    with Ledger(path) as ledger:
        for _ in range(5):
            numbers.append(ledger.end(an_end(a_job())))
            await ledger.commit()
            ledger.delivered(numbers[-1])
            assert not outbox(ledger)
    assert len(set(numbers)) == 5


async def test_a_number_is_not_given_again_while_its_event_waits(path: Path) -> None:
    with Ledger(path) as ledger:
        first = ledger.end(an_end(a_job()))
        await ledger.commit()
    with Ledger(path) as ledger:
        assert ledger.end(an_end(a_job())) != first
        await ledger.commit()
        assert len(outbox(ledger)) == 2


async def test_a_task_that_another_node_has_claimed_is_dropped_without_an_event(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        ledger.accept(job)
        ledger.drop(job.id)
        await ledger.commit()
        assert not ledger.unfinished()
        assert not outbox(ledger)
        assert not ledger.accept(job)


async def test_only_ended_tasks_are_forgotten_and_only_old_ones(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_ended, old_running, new_ended = a_job(), a_job(), a_job()
    with Ledger(path) as ledger:
        for job, received in ((old_ended, 100.0), (old_running, 100.0), (new_ended, 200.0)):
            monkeypatch.setattr(time, "time", lambda received=received: received)
            ledger.accept(job)
        for job in (old_ended, new_ended):
            ledger.end(an_end(job))
        await ledger.commit()
        ledger.forget(200.0)
        await ledger.commit()
        assert ledger.unfinished() == [(old_running, None)]
        assert len(outbox(ledger)) == 2
        assert ledger.accept(old_ended)
        assert not ledger.accept(old_running)
        assert not ledger.accept(new_ended)


async def test_what_was_cancelled_before_it_came_is_remembered_for_as_long_as_it_could_come(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        monkeypatch.setattr(time, "time", lambda: 100.0)
        ledger.refuse(job.id)
        ledger.forget(100.0)
        await ledger.commit()
        assert ledger.refused(job.id)
        assert not ledger.accept(job)
        ledger.forget(101.0)
        await ledger.commit()
        assert ledger.accept(job)


async def test_what_is_written_as_the_ledger_is_closed_is_kept(path: Path) -> None:
    job = a_job()
    trouble: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    with Ledger(path) as ledger:
        ledger.accept(job)
        committed = asyncio.create_task(ledger.commit())
    await committed
    assert not trouble
    with Ledger(path) as ledger:
        assert ledger.unfinished() == [(job, None)]


async def test_the_ledger_is_its_owners_alone(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.accept(a_job())
        await ledger.commit()
        files = list(path.parent.iterdir())
        assert len(files) == 3  # the database, its log and the log's index
        for file in files:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_change_is_on_the_disk_when_the_commit_returns_and_not_before(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        ledger.accept(job)
        ledger.end(an_end(job))
        assert on_disk(path) == (set(), set())
        await ledger.commit()
        assert on_disk(path) == ({job.id}, {job.id})


async def test_what_many_tasks_write_at_once_is_on_the_disk_for_each_that_waited(
    path: Path,
) -> None:
    async def work(ledger: Ledger, number: int) -> None:
        job = a_job()
        assert ledger.accept(job)
        await ledger.commit()
        assert job.id in on_disk(path)[0]
        for _ in range(number % 3):
            await asyncio.sleep(0)
        ledger.start(job.id, 5.0)
        if number % 2:
            ended = ledger.end(an_end(job))
            await ledger.commit()
            assert job.id in on_disk(path)[1]
            ledger.delivered(ended)

    with Ledger(path) as ledger:
        await asyncio.gather(*(work(ledger, number) for number in range(60)))
        assert [started for _, started in ledger.unfinished()] == [5.0] * 30
        assert not outbox(ledger)
        await ledger.commit()
        assert len(on_disk(path)[0]) == 60


async def test_a_commit_without_changes_returns(path: Path) -> None:
    with Ledger(path) as ledger:
        await ledger.commit()
        ledger.accept(a_job())
        await ledger.commit()
        await ledger.commit()


async def test_a_task_that_is_cancelled_while_it_waits_leaves_the_others_their_commit(
    path: Path,
) -> None:
    jobs = [a_job(), a_job()]

    async def accept(job: Job) -> None:
        assert ledger.accept(job)
        await ledger.commit()

    with Ledger(path) as ledger:
        first, second = (asyncio.create_task(accept(job)) for job in jobs)
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert first.cancelled()
        assert on_disk(path)[0] == {job.id for job in jobs}


def test_what_was_written_last_is_kept_though_the_loop_has_ended(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:

        async def write() -> None:
            ledger.accept(job)
            ledger.end(an_end(job))

        asyncio.run(write())
    assert on_disk(path) == ({job.id}, {job.id})


async def test_what_was_written_last_is_kept_when_the_ledger_is_closed_at_once(path: Path) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: None)
    job = a_job()
    with Ledger(path) as ledger:
        ledger.accept(job)
        ledger.end(an_end(job))
    assert on_disk(path) == ({job.id}, {job.id})


WORK = """
import asyncio, pathlib, sys
from towline.agent.ledger import Ledger
from towline.wire.event import Event
from towline.wire.job import Job

async def work(ledger, number):
    job = Job(f"job-{number:09}", "node.load", {}, "_all", "ci", 1.0, 2.0)
    ledger.accept(job)
    ledger.start(job.id, 5.0)
    if number % 2 == 0:
        ledger.end(Event(job.id, "a", "host-a", "completed", 3.0))
    await ledger.commit()
    print(number, flush=True)

async def main():
    with Ledger(pathlib.Path(sys.argv[1])) as ledger:
        for first in range(0, 10**9, 5):
            await asyncio.gather(*(work(ledger, first + n) for n in range(5)))

asyncio.run(main())
"""


@pytest.mark.parametrize("reached", [0, 50, 500])
async def test_a_process_killed_amid_its_work_leaves_the_ledger_intact(
    path: Path, tmp_path: Path, reached: int
) -> None:
    command: list[str | Path] = [sys.executable, "-c", WORK, path]
    with Process("work", command, logs=tmp_path) as process:
        process.wait_for_output(rf"^{reached}$")
        process.kill()
    told = [int(line) for line in process.stdout.split("\n")[:-1]]
    with Ledger(path) as ledger:
        started = {job.id: moment for job, moment in ledger.unfinished()}
        ended = {event.job for event in outbox(ledger)}
        assert set(started.values()) <= {5.0}
        for number in told:
            job = a_job(f"job-{number:09}")
            assert not ledger.accept(job)
            assert (job.id in started, job.id in ended) == (number % 2 == 1, number % 2 == 0)
        # Nothing half: each task that is there has started, and has ended where it says so.
        tasks, events = on_disk(path)
        assert tasks == started.keys() | ended
        assert events == ended
        await ledger.commit()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@contextmanager
def full_disk(path: Path, room: int = 0) -> Iterator[None]:
    """Let the ledger's log grow by no more than `room` bytes."""
    size = Path(f"{path}-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def long_job() -> Job:
    """A job that does not fit into SQLite's cache with many others."""
    return Job(new_id(), "docker.pull", {"image": "x" * 20_000}, "_all", "ci", 1.0, 2.0)


@pytest.mark.parametrize("count", [1, 500], ids=["at the commit", "at a change"])
async def test_a_full_disk_fails_whoever_waits_and_what_comes_after_is_taken(
    path: Path, count: int
) -> None:
    job, jobs = a_job(), [long_job() for _ in range(count)]
    with Ledger(path) as ledger:
        ledger.accept(job)
        await ledger.commit()
        with full_disk(path):
            refused = 0
            for each in jobs:
                try:
                    ledger.accept(each)
                except sqlite3.OperationalError:
                    refused += 1
            assert bool(refused) == (count > 1)
            with pytest.raises(sqlite3.OperationalError):
                await ledger.commit()
        assert ledger.unfinished() == [(job, None)]
        ledger.start(job.id, 5.0)
        assert ledger.accept(jobs[0])
        ledger.end(an_end(job))
        await ledger.commit()
        assert ledger.unfinished() == [(jobs[0], None)]
        assert outbox(ledger) == [an_end(job)]
    assert on_disk(path) == ({job.id, jobs[0].id}, {job.id})


async def test_what_is_written_with_what_a_full_disk_refused_does_not_count_alone(
    path: Path,
) -> None:
    jobs = [long_job() for _ in range(500)]
    with Ledger(path) as ledger:
        ledger.accept(a_job("job-0"))
        await ledger.commit()
        with full_disk(path), suppress(sqlite3.OperationalError):
            for job in jobs:
                ledger.accept(job)
        with pytest.raises(sqlite3.OperationalError):
            ledger.end(an_end(a_job("job-0")))
        with pytest.raises(sqlite3.OperationalError):
            await ledger.commit()
        assert on_disk(path) == ({"job-0"}, set())


async def test_an_event_that_a_full_disk_refused_is_not_thought_delivered_by_its_number(
    path: Path,
) -> None:
    with Ledger(path) as ledger:
        ledger.accept(a_job())
        await ledger.commit()
        with full_disk(path):
            lost = ledger.end(an_end(a_job()))
            with pytest.raises(sqlite3.OperationalError):
                await ledger.commit()
        kept = ledger.end(an_end(job := a_job()))
        await ledger.commit()
        ledger.delivered(lost)
        assert kept != lost
        assert outbox(ledger) == [an_end(job)]


class AnyWork(RuleBasedStateMachine):
    """A ledger beside a plain picture of what it has to know, however often it is reopened."""

    jobs = st.sampled_from([a_job(f"job-{number}") for number in range(4)])

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.Runner()
        self.held = TemporaryDirectory()
        self.path = Path(self.held.name, "ledger.sqlite")
        self.ledger = Ledger(self.path)
        self.known: dict[str, float | str | None] = {}
        self.order: list[Job] = []
        self.written: list[Event] = []

    def change(self, what: Callable[[], object]) -> Any:
        async def change() -> Any:
            answer = what()
            await self.ledger.commit()
            return answer

        return self.loop.run(change())

    @rule(job=jobs)
    def accept(self, job: Job) -> None:
        assert self.change(lambda: self.ledger.accept(job)) == (job.id not in self.known)
        if job.id not in self.known:
            self.known[job.id] = None
            self.order.append(job)

    @rule(job=jobs, moment=st.floats(1, 2))
    def start(self, job: Job, moment: float) -> None:
        if self.known.get(job.id, "") is None:
            self.known[job.id] = moment
            self.change(lambda: self.ledger.start(job.id, moment))

    @rule(job=jobs)
    def end(self, job: Job) -> None:
        if self.known.get(job.id, "ended") != "ended":
            self.known[job.id] = "ended"
            self.written.append(an_end(job))
            self.change(lambda: self.ledger.end(an_end(job)))

    @rule(count=st.integers(0, 3))
    def deliver(self, count: int) -> None:
        for number, _ in self.ledger.undelivered(count):
            self.ledger.delivered(number)
        del self.written[:count]

    @rule()
    def reopen(self) -> None:
        self.ledger.__exit__(None, None, None)
        self.ledger = Ledger(self.path)

    @invariant()
    def knows_what_it_was_told(self) -> None:
        expected = [
            (job, self.known[job.id]) for job in self.order if self.known[job.id] != "ended"
        ]
        assert self.ledger.unfinished() == expected
        assert outbox(self.ledger) == self.written

    def teardown(self) -> None:
        self.ledger.__exit__(None, None, None)
        self.loop.close()
        self.held.cleanup()


TestAnyWork = AnyWork.TestCase
TestAnyWork.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
