import resource
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.parts.process import Process
from towline.agent.ledger import Ledger
from towline.job import COMPLETED, FAILED, STARTED, Event, Job, new_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def a_job(id: str | None = None) -> Job:
    return Job(id or new_id(), "docker.pull", {"image": "nginx"}, "_all", "ci", 1.0, 2.0)


def an_event(job: Job, kind: str) -> Event:
    return Event(job.id, "a", "host-a", kind, 3.0)


def outbox(ledger: Ledger) -> list[Event]:
    return [event for _, event in ledger.undelivered(10_000)]


def test_a_job_is_taken_on_once(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        assert ledger.accept(job)
        assert not ledger.accept(job)
        assert ledger.accept(a_job())
        ledger.start(an_event(job, STARTED))
        assert not ledger.accept(job)
        ledger.end(an_event(job, COMPLETED))
        assert not ledger.accept(job)
    with Ledger(path) as ledger:
        assert not ledger.accept(job)


def test_what_has_not_ended_is_known_after_reopening_oldest_first(path: Path) -> None:
    jobs = [a_job() for _ in range(4)]
    with Ledger(path) as ledger:
        for job in reversed(jobs):
            ledger.accept(job)
        ledger.start(an_event(jobs[0], STARTED))
        ledger.start(an_event(jobs[1], STARTED))
        ledger.end(an_event(jobs[1], COMPLETED))
        ledger.end(an_event(jobs[2], FAILED))
    with Ledger(path) as ledger:
        assert ledger.unfinished() == [(jobs[3], False), (jobs[0], True)]


def test_events_leave_in_the_order_they_were_written(path: Path) -> None:
    jobs = [a_job() for _ in range(3)]
    with Ledger(path) as ledger:
        for job in jobs:
            ledger.accept(job)
            ledger.start(an_event(job, STARTED))
        for job in reversed(jobs):
            ledger.end(an_event(job, COMPLETED))
    written = [an_event(job, STARTED) for job in jobs]
    written += [an_event(job, COMPLETED) for job in reversed(jobs)]
    with Ledger(path) as ledger:
        assert outbox(ledger) == written
        numbers = [number for number, _ in ledger.undelivered(2)]
        assert [event for _, event in ledger.undelivered(2)] == written[:2]
        ledger.delivered(numbers)
        assert outbox(ledger) == written[2:]
        ledger.delivered(numbers)
        ledger.delivered([])
        assert outbox(ledger) == written[2:]


def test_a_number_is_never_given_to_two_events(path: Path) -> None:
    job = a_job()
    numbers = []
    for _ in range(3):
        with Ledger(path) as ledger:
            ledger.start(an_event(job, STARTED))
            ((number, _),) = ledger.undelivered(10)
            ledger.delivered([number])
            numbers.append(number)
    assert len(set(numbers)) == 3


def test_a_task_that_another_node_has_claimed_is_dropped_without_an_event(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger:
        ledger.accept(job)
        ledger.drop(job.id)
        assert not ledger.unfinished()
        assert not outbox(ledger)
        assert not ledger.accept(job)


def test_only_ended_tasks_are_forgotten_and_only_old_ones(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_ended, old_running, new_ended = a_job(), a_job(), a_job()
    with Ledger(path) as ledger:
        for job, received in ((old_ended, 100.0), (old_running, 100.0), (new_ended, 200.0)):
            monkeypatch.setattr(time, "time", lambda received=received: received)
            ledger.accept(job)
        for job in (old_ended, new_ended):
            ledger.end(an_event(job, COMPLETED))
        ledger.forget(200.0)
        assert ledger.unfinished() == [(old_running, False)]
        assert len(outbox(ledger)) == 2
        assert [ledger.accept(job) for job in (old_ended, old_running, new_ended)] == [
            True,
            False,
            False,
        ]


def test_the_ledger_is_its_owners_alone(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.accept(a_job())
        files = sorted(path.parent.iterdir())
        assert len(files) == 3  # the database, its log and the log's index
        for file in files:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_each_change_is_committed_when_its_call_returns(path: Path) -> None:
    job = a_job()
    with Ledger(path) as ledger, Ledger(path) as other:
        ledger.accept(job)
        assert other.unfinished() == [(job, False)]
        ledger.start(an_event(job, STARTED))
        assert other.unfinished() == [(job, True)]
        assert outbox(other) == [an_event(job, STARTED)]


WORK = """
import pathlib, sys
from towline.agent.ledger import Ledger
from towline.job import Event, Job
with Ledger(pathlib.Path(sys.argv[1])) as ledger:
    for number in range(10**9):
        job = Job(f"job-{number:09}", "node.load", {}, "_all", "ci", 1.0, 2.0)
        ledger.accept(job)
        ledger.start(Event(job.id, "a", "host-a", "started", 3.0))
        if number % 2 == 0:
            ledger.end(Event(job.id, "a", "host-a", "completed", 3.0))
        if number % 10 == 0:
            ledger.delivered([n for n, _ in ledger.undelivered(5)])
        print(number, flush=True)
"""


@pytest.mark.parametrize("reached", [1, 5, 50, 200])
def test_a_process_killed_amid_its_work_leaves_the_ledger_intact(
    path: Path, tmp_path: Path, reached: int
) -> None:
    command: list[str | Path] = [sys.executable, "-c", WORK, path]
    with Process("work", command, logs=tmp_path) as process:
        process.wait_for_output(rf"^{reached}$")
        process.kill()
    told = int(process.stdout.split()[-1])
    with Ledger(path) as ledger:
        unfinished = {job.id: started for job, started in ledger.unfinished()}
        written = {(event.job, event.kind) for event in outbox(ledger)}
        for number in range(told + 1):
            job = a_job(f"job-{number:09}")
            assert not ledger.accept(job)
            assert (job.id in unfinished) == (number % 2 == 1)
            assert unfinished.get(job.id, True)
        # What it was at when it was killed: each event is there if and only if its task says so.
        last = f"job-{told + 1:09}"
        if last in unfinished:
            assert unfinished[last] == ((last, STARTED) in written)
        else:
            assert ledger.accept(a_job(last)) != ((last, COMPLETED) in written)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let the ledger's log grow no more."""
    room = Path(f"{path}-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_a_change_as_a_whole_and_those_after_it_are_taken(path: Path) -> None:
    job, other, done = a_job(), a_job(), a_job()
    with Ledger(path) as ledger:
        ledger.accept(job)
        ledger.end(an_event(done, COMPLETED))
        with full_disk(path):
            for change in (
                lambda: ledger.accept(other),
                lambda: ledger.start(an_event(job, STARTED)),
                lambda: ledger.end(an_event(job, COMPLETED)),
                lambda: ledger.delivered([1]),
            ):
                with pytest.raises(sqlite3.OperationalError):
                    change()
        assert ledger.unfinished() == [(job, False)]
        assert outbox(ledger) == [an_event(done, COMPLETED)]
        assert ledger.accept(other)
        ledger.start(an_event(job, STARTED))
        ledger.end(an_event(job, COMPLETED))
        ledger.delivered([1])
        assert ledger.unfinished() == [(other, False)]
        assert outbox(ledger) == [an_event(job, STARTED), an_event(job, COMPLETED)]


class AnyWork(RuleBasedStateMachine):
    """A ledger beside a plain picture of what it has to know, however often it is reopened."""

    jobs = st.sampled_from([a_job(f"job-{number}") for number in range(4)])

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, str] = {}
        self.order: list[Job] = []
        self.written: list[Event] = []

    @initialize()
    def open(self) -> None:
        self.held = TemporaryDirectory()
        self.path = Path(self.held.name, "ledger.sqlite")
        self.ledger = Ledger(self.path)

    @rule(job=jobs)
    def accept(self, job: Job) -> None:
        assert self.ledger.accept(job) == (job.id not in self.known)
        if job.id not in self.known:
            self.known[job.id] = "accepted"
            self.order.append(job)

    @rule(job=jobs)
    def start(self, job: Job) -> None:
        if self.known.get(job.id) == "accepted":
            self.known[job.id] = "started"
            self.written.append(an_event(job, STARTED))
            self.ledger.start(self.written[-1])

    @rule(job=jobs)
    def end(self, job: Job) -> None:
        if self.known.get(job.id) in ("accepted", "started"):
            self.known[job.id] = "ended"
            self.written.append(an_event(job, COMPLETED))
            self.ledger.end(self.written[-1])

    @rule(count=st.integers(0, 3))
    def deliver(self, count: int) -> None:
        self.ledger.delivered([number for number, _ in self.ledger.undelivered(count)])
        del self.written[:count]

    @rule()
    def reopen(self) -> None:
        self.ledger.__exit__(None, None, None)
        self.ledger = Ledger(self.path)

    @invariant()
    def knows_what_it_was_told(self) -> None:
        expected = [
            (job, self.known[job.id] == "started")
            for job in self.order
            if self.known[job.id] != "ended"
        ]
        assert self.ledger.unfinished() == expected
        assert outbox(self.ledger) == self.written

    def teardown(self) -> None:
        self.ledger.__exit__(None, None, None)
        self.held.cleanup()


TestAnyWork = AnyWork.TestCase
TestAnyWork.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
