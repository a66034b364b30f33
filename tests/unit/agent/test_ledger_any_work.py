"""The ledger, whatever is done to it in whatever order."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.testing.ledger import EXPIRES, NOW, a_task, an_end, end, numbered, open_tasks, outbox
from towline.agent.ledger import Ledger
from towline.agent.ledger.changes import ENDED, OPEN, Change
from towline.wire.event import Event
from towline.wire.release import Release


class AnyWork(RuleBasedStateMachine):
    """A ledger beside a plain picture of what it has to know, however often it is reopened."""

    tasks = st.sampled_from([a_task(numbered(number), created=NOW + number) for number in range(4)])

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.Runner()
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name, "ledger.sqlite")
        self.ledger = Ledger(self.path)
        self.known: dict[str, float | str | None] = {}
        self.all: dict[str, Release] = {}
        self.written: list[Event] = []
        self.forgot = False

    def change(self, make: Callable[[], Change | None], wait: bool) -> bool:
        """Make a change; wait for the disk, or leave it to whoever asks next."""

        async def change() -> bool:
            made = make()
            if made is not None and wait:
                await made
            return made is not None

        return self.loop.run(change())

    @rule(task=tasks, wait=st.booleans())
    def accept(self, task: Release, wait: bool) -> None:
        accepted = self.change(lambda: self.ledger.accept(task), wait)
        assert accepted == (task.id not in self.known)
        if accepted:
            self.known[task.id] = None
            self.all[task.id] = task

    @rule(task=tasks, moment=st.floats(1, 2), wait=st.booleans())
    def start(self, task: Release, moment: float, wait: bool) -> None:
        if self.known.get(task.id, "") is None:
            self.known[task.id] = moment
            self.change(lambda: self.ledger.start(task.id, moment), wait)

    @rule(task=tasks, wait=st.booleans())
    def drop(self, task: Release, wait: bool) -> None:
        if self.known.get(task.id, "") is None:
            del self.known[task.id]
            self.change(lambda: self.ledger.drop(task.id), wait)

    @rule(task=tasks, wait=st.booleans())
    def end(self, task: Release, wait: bool) -> None:
        if self.known.get(task.id) != "ended":
            self.known[task.id] = "ended"
            self.written.append(an_end(task))
            self.change(lambda: end(self.ledger, task), wait)

    @rule(count=st.integers(0, 3))
    def deliver(self, count: int) -> None:
        for number, _ in self.ledger.undelivered(count):
            self.ledger.delivered(number)
        del self.written[:count]

    @rule(expired=st.booleans())
    def forget(self, expired: bool) -> None:
        self.change(lambda: self.ledger.forget(EXPIRES - (not expired)), True)
        waiting = {event.job for event in self.written}
        gone = {job for job, state in self.known.items() if state == "ended" and job not in waiting}
        if expired and gone:
            self.forgot = True
            self.known = {job: state for job, state in self.known.items() if job not in gone}

    @rule()
    def reopen(self) -> None:
        self.ledger.__exit__(None, None, None)
        self.ledger = Ledger(self.path)

    @rule()
    def look(self) -> None:
        expected = [
            (task, self.known[job])
            for job, task in sorted(self.all.items())
            if self.known.get(job, "ended") != "ended"
        ]
        assert self.loop.run(open_tasks(self.ledger)) == expected

    @invariant()
    def knows_the_state_of_each_task(self) -> None:
        for number in range(4):
            known = self.known.get(numbered(number), "none")
            state = {"none": None, "ended": ENDED}.get(str(known), OPEN)
            assert self.ledger.state_of(numbered(number)) == state
        assert self.ledger.forgotten(EXPIRES) == self.forgot

    @invariant()
    def has_the_events_that_wait(self) -> None:
        assert outbox(self.ledger) == self.written

    @invariant()
    def names_what_it_holds(self) -> None:
        held = {job for job, state in self.known.items() if state != "ended"}
        assert set(self.ledger.held(100)) == held | {event.job for event in self.written}

    def teardown(self) -> None:
        self.look()
        self.ledger.__exit__(None, None, None)
        self.loop.close()
        self.directory.cleanup()


TestAnyWork = AnyWork.TestCase
TestAnyWork.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
