"""Moments: ages that no change of the clock alters, and times that are shown as it is set."""

import pytest

from towline.controller.moment import STEP, LocalClock


def test_a_moment_ages_by_the_clock_that_nobody_sets() -> None:
    running, wall = [1000.0], [5000.0]
    clock = LocalClock(lambda: running[0], lambda: wall[0])
    now, earlier = clock.moment(), clock.moment(ago=30.0)
    running[0] += 10.0
    wall[0] -= 9000.0
    assert (now.age, earlier.age) == (10.0, 40.0)


def test_a_moment_may_lie_before_the_start_of_the_machine() -> None:
    clock = LocalClock(lambda: 10.0, lambda: 5000.0)
    moment = clock.moment(ago=100.0)
    assert (moment.running, moment.age, moment.time) == (-90.0, 100.0, 4900.0)


@pytest.mark.parametrize(("step", "shown"), [(0.0, 5000.0), (STEP, 5000.0), (STEP + 1, 5002.0)])
def test_a_moment_is_shown_anew_only_where_the_clock_was_set(step: float, shown: float) -> None:
    running, wall = [1000.0], [5000.0]
    moment = LocalClock(lambda: running[0], lambda: wall[0]).moment()
    running[0] += 60.0
    wall[0] += 60.0 + step
    assert moment.time == shown


def test_a_moment_of_the_real_clocks_is_now() -> None:
    moment = LocalClock().moment()
    assert moment.age < 60
    assert moment.time == moment.time
