"""The ledger, whatever is done to it in whatever order."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.testing.ledger import a_job, an_end, outbox
from towline.agent.changes import Change
from towline.agent.ledger import Ledger
from towline.wire.event import Event
from towline.wire.job import Job


class AnyWork(RuleBasedStateMachine):
    """A ledger beside a plain picture of what it has to know, however often it is reopened."""

    jobs = st.sampled_from([a_job(f"job-{number}") for number in range(4)])

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.Runner()
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name, "ledger.sqlite")
        self.ledger = Ledger(self.path)
        self.known: dict[str, float | str | None] = {}
        self.order: list[Job] = []
        self.written: list[Event] = []

    def change(self, make: Callable[[], Change | None], wait: bool) -> bool:
        """Make a change; wait for the disk, or leave it to whoever asks next."""

        async def change() -> bool:
            made = make()
            if made is not None and wait:
                await made
            return made is not None

        return self.loop.run(change())

    @rule(job=jobs, wait=st.booleans())
    def accept(self, job: Job, wait: bool) -> None:
        received = float(len(self.order))
        accepted = self.change(lambda: self.ledger.accept(job, received=received), wait)
        assert accepted == (job.id not in self.known)
        if accepted:
            self.known[job.id] = None
            self.order.append(job)

    @rule(job=jobs, moment=st.floats(1, 2), wait=st.booleans())
    def start(self, job: Job, moment: float, wait: bool) -> None:
        if self.known.get(job.id, "") is None:
            self.known[job.id] = moment
            self.change(lambda: self.ledger.start(job.id, moment), wait)

    @rule(job=jobs, wait=st.booleans())
    def end(self, job: Job, wait: bool) -> None:
        if self.known.get(job.id, "ended") != "ended":
            self.known[job.id] = "ended"
            self.written.append(an_end(job))
            self.change(lambda: self.ledger.end(an_end(job)), wait)

    @rule(count=st.integers(0, 3))
    def deliver(self, count: int) -> None:
        for number, _ in self.ledger.undelivered(count):
            self.ledger.delivered(number)
        del self.written[:count]

    @rule()
    def reopen(self) -> None:
        self.ledger.__exit__(None, None, None)
        self.ledger = Ledger(self.path)

    @rule()
    def look(self) -> None:
        expected = [
            (job, self.known[job.id]) for job in self.order if self.known[job.id] != "ended"
        ]
        assert self.loop.run(self.ledger.unfinished()) == expected

    @invariant()
    def has_the_events_that_wait(self) -> None:
        assert outbox(self.ledger) == self.written

    def teardown(self) -> None:
        self.look()
        self.ledger.__exit__(None, None, None)
        self.loop.close()
        self.directory.cleanup()


TestAnyWork = AnyWork.TestCase
TestAnyWork.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
