"""What a node sends of a pull: rates and time left."""

from typing import Any

import pytest

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull import steps
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.faults import Fault
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.progress import WINDOW, PullProgress, Rate
from towline.wire.progress import (
    COOLING_DOWN,
    DOWNLOADING,
    EXTRACTING,
    PREPARING,
    QUEUED,
    RETRYING,
    TaskProgress,
)
from towline.wire.reference import Reference


class Clock:
    """A clock that is as late as a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Pull:
    """A pull whose messages and moments a test gives."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.progress = PullProgress(lambda _: None, clock)
        order = Order(Reference.parse("registry:5000/app:1"))
        self.attempts = [Attempt(order, number, lambda _: None) for number in (1, 2)]

    def say(self, name: str, status: str, current: int = 0, total: int = 0, **more: Any) -> None:
        detail = {"current": current, "total": total, **more} if current or more else {}
        message = {"id": name, "status": status, "progressDetail": detail}
        self.attempts[0].layers.apply(message, self.clock.now)

    def state(self) -> TaskProgress:
        return self.progress.progress()

    def later(self, seconds: float) -> None:
        self.clock.now += seconds


@pytest.fixture
async def pull() -> Pull:
    made = Pull(Clock())
    await made.progress.before(made.attempts[0])
    return made


def test_a_rate_is_what_was_gained_over_the_time_it_took() -> None:
    rate = Rate()
    assert rate.take(0, 0.0) == 0
    assert [rate.take(100 * n, float(n)) for n in range(1, 4)] == [100, 100, 100]


def test_a_rate_forgets_what_was_long_ago() -> None:
    rate = Rate()
    for second in range(11):
        found = rate.take(1000 * min(second, 5), float(second))
    assert found == 0


def test_too_short_a_time_makes_no_rate() -> None:
    rate = Rate()
    rate.take(0, 0.0)
    assert rate.take(10**9, 0.01) == 0


def test_a_figure_that_falls_begins_anew() -> None:
    rate = Rate()
    rate.take(1000, 0.0)
    assert rate.take(10, 1.0) == 0
    assert rate.take(20, 2.0) == 10


def test_before_the_layers_are_known_a_pull_is_being_prepared(pull: Pull) -> None:
    found = pull.state()
    assert (found.phase, found.parts, found.left) == (PREPARING, [], None)


def test_the_time_left_is_what_is_missing_at_the_present_rate(pull: Pull) -> None:
    pull.say("a", "Downloading", 100, 10_000)
    pull.state()
    for _ in range(4):
        pull.later(0.5)
        pull.say("a", "Downloading", 100 + round(100 * (pull.clock.now - 100)), 10_000)
        found = pull.state()
    assert (found.phase, found.rate) == (DOWNLOADING, 100)
    assert (found.fetched, found.size, found.left) == (300, 10_000, 97)


def test_what_stands_still_has_no_rate_and_no_end_in_sight(pull: Pull) -> None:
    pull.say("a", "Downloading", 100, 10_000)
    pull.state()
    pull.later(1)
    pull.say("a", "Downloading", 1100, 10_000)
    assert pull.state().rate == 1000
    while pull.clock.now < 102 + WINDOW:
        pull.later(0.5)
        found = pull.state()
    assert (found.phase, found.rate, found.left) == (DOWNLOADING, 0, None)


def test_layers_of_unknown_size_are_counted(pull: Pull) -> None:
    pull.say("a", "Downloading", 1, 100)
    pull.say("b", "Waiting")
    pull.say("c", "Already exists")
    assert (pull.state().unsized, pull.state().size) == (1, 100)


def test_unpacking_has_a_rate_where_the_engine_counts_bytes(pull: Pull) -> None:
    pull.say("a", "Downloading", 1000, 1000)
    pull.say("a", "Download complete")
    pull.say("a", "Extracting", 100, 1000)
    pull.state()
    pull.later(1)
    pull.say("a", "Extracting", 300, 1000)
    found = pull.state()
    assert (found.phase, found.rate, found.left) == (EXTRACTING, 200, 4)


def test_where_it_counts_only_seconds_unpacking_has_none(pull: Pull) -> None:
    for name in ("a", "b"):
        pull.say(name, "Downloading", 1000, 1000)
        pull.say(name, "Download complete")
    pull.say("a", "Extracting", 1, units="s")
    pull.state()
    pull.later(1)
    pull.say("a", "Pull complete")
    pull.say("b", "Extracting", 1, units="s")
    found = pull.state()
    assert (found.phase, found.extracted) == (EXTRACTING, 1000)
    assert (found.rate, found.left) == (0, None)


async def test_a_pause_after_a_failure_says_why_and_the_next_attempt_begins_anew(
    pull: Pull,
) -> None:
    pull.say("a", "Downloading", 1000, 1000)
    await pull.progress.failed(pull.attempts[0], Fault(Kind.PASSING, "connection reset"))
    found = pull.state()
    assert (found.phase, found.note, found.attempt) == (RETRYING, "connection reset", 1)
    await pull.progress.failed(pull.attempts[0], Fault(Kind.BUSY, "toomanyrequests"))
    assert (pull.state().phase, pull.state().note) == (COOLING_DOWN, "toomanyrequests")
    await pull.progress.before(pull.attempts[1])
    found = pull.state()
    assert (found.phase, found.note, found.attempt) == (PREPARING, "", 2)
    assert found.parts == []


def test_a_pull_that_waits_for_its_turn_says_so(pull: Pull) -> None:
    pull.progress.step(steps.queued("queued: 3 pulls are under way"))
    found = pull.state()
    assert (found.phase, found.note) == (QUEUED, "queued: 3 pulls are under way")
    pull.progress.step(steps.attempt("attempt 1 of 5 failed"))
    assert pull.state().phase == QUEUED
    pull.progress.step(steps.dequeued("has its turn"))
    assert pull.state().phase == PREPARING
