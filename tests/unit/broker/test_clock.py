"""What a connection makes of what the broker's answers say of its clock."""

import time

import pytest

from towline.broker.clock import Clock

BROKER = 1_800_000_000.0
"""Seconds since 1970 at the broker when this machine has run for 0 s."""


class Uptime:
    """How long this machine has run, in seconds, as a test sets it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def uptime() -> Uptime:
    return Uptime()


@pytest.fixture
def clock(uptime: Uptime) -> Clock:
    return Clock(uptime)


def error(clock: Clock, uptime: Uptime) -> float:
    """Return how far ahead of the broker's it is, in seconds."""
    return round(clock.now() - BROKER - uptime.seconds, 3)


def test_while_the_broker_has_said_nothing_our_own_clock_counts(clock: Clock) -> None:
    assert not clock.known.is_set()
    assert clock.now() == pytest.approx(time.time(), abs=60)


def test_a_first_answer_is_off_by_half_of_its_time_at_most(clock: Clock, uptime: Uptime) -> None:
    uptime.seconds = 12.0
    clock.observe(BROKER + 12.0, sent=10.0)
    assert clock.known.is_set()
    assert error(clock, uptime) == 1.0


def test_each_answer_narrows_it_down_and_a_slow_one_changes_nothing(
    clock: Clock, uptime: Uptime
) -> None:
    uptime.seconds = 12.0
    clock.observe(BROKER + 10.0, sent=10.0)
    assert error(clock, uptime) == -1.0
    uptime.seconds = 20.2
    clock.observe(BROKER + 20.1, sent=20.0)
    assert error(clock, uptime) == -0.1
    uptime.seconds = 35.0
    clock.observe(BROKER + 31.0, sent=30.0)
    assert error(clock, uptime) == -0.1


def test_a_clock_that_is_set_is_followed_at_once(clock: Clock, uptime: Uptime) -> None:
    uptime.seconds = 1.0
    clock.observe(BROKER + 1.0, sent=1.0)
    uptime.seconds = 2.0
    clock.observe(BROKER + 3602.0, sent=2.0)
    assert error(clock, uptime) == 3600.0


def test_what_was_stored_was_stored_in_the_past(clock: Clock, uptime: Uptime) -> None:
    uptime.seconds = 12.0
    clock.passed(BROKER + 12.0)
    assert not clock.known.is_set()
    clock.observe(BROKER + 10.5, sent=10.0)
    assert error(clock, uptime) == -0.5
    clock.passed(BROKER + 11.0)
    assert error(clock, uptime) == -0.5
    clock.passed(BROKER + 11.9)
    assert error(clock, uptime) == -0.1
