"""What a connection makes of what the broker's answers say of its clock."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from towline.broker import clock as clock_module
from towline.broker.clock import Clock

BROKER = 1_800_000_000.0
"""Seconds since 1970 at the broker when this machine has run for 0 s."""


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set how many seconds this machine has run."""

    def at(seconds: float) -> None:
        monkeypatch.setattr(clock_module, "running", lambda: seconds)

    return at


def told(moment: float) -> str:
    return datetime.fromtimestamp(BROKER + moment, UTC).isoformat()


def error(clock: Clock) -> float:
    """Return how far ahead of the broker's it is, in seconds."""
    return round(clock.now() - BROKER - clock_module.running(), 3)


def test_a_first_answer_is_off_by_half_of_its_time_at_most(at: Callable[[float], None]) -> None:
    clock = Clock()
    assert not clock.known.is_set()
    at(12.0)
    clock.tell(told(12.0), asked=10.0)
    assert clock.known.is_set()
    assert error(clock) == 1.0


def test_each_answer_narrows_it_down_and_a_slow_one_changes_nothing(
    at: Callable[[float], None],
) -> None:
    clock = Clock()
    at(12.0)
    clock.tell(told(10.0), asked=10.0)
    assert error(clock) == -1.0
    at(20.2)
    clock.tell(told(20.1), asked=20.0)
    assert error(clock) == -0.1
    at(35.0)
    clock.tell(told(31.0), asked=30.0)
    assert error(clock) == -0.1


def test_a_clock_that_is_set_is_followed_at_once(at: Callable[[float], None]) -> None:
    clock = Clock()
    at(1.0)
    clock.tell(told(1.0), asked=1.0)
    at(2.0)
    clock.tell(told(3602.0), asked=2.0)
    assert error(clock) == 3600.0


def test_what_was_stored_was_stored_in_the_past(at: Callable[[float], None]) -> None:
    clock = Clock()
    at(12.0)
    clock.passed(BROKER + 12.0)
    assert not clock.known.is_set()
    clock.tell(told(10.5), asked=10.0)
    assert error(clock) == -0.5
    clock.passed(BROKER + 11.0)
    assert error(clock) == -0.5
    clock.passed(BROKER + 11.9)
    assert error(clock) == -0.1
