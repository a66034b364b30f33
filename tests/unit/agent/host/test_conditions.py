"""Conditions: what a machine is short of, and since when."""

import pytest

from towline.agent.host.conditions import Watch
from towline.agent.host.facts import Disk
from towline.wire.node import Condition, Conditions

NOW = 1_800_000_000.0
GIB = 1024**3
QUIET = (0.1, 0.2, 0.3)
FREE = (10 * GIB, 5 * GIB, 5 * GIB)


class Clock:
    time = NOW

    def __call__(self) -> float:
        return self.time


def test_a_machine_with_room_is_short_of_nothing() -> None:
    found = Watch(lambda: NOW).look(FREE, QUIET, 2, Disk("/", 12.0))
    assert found == Conditions(Condition(NOW), Condition(NOW), Condition(NOW))


def test_a_machine_that_is_short_of_something_says_how_much() -> None:
    memory = (10 * GIB, GIB // 2, 10 * GIB - GIB // 2)
    found = Watch(lambda: NOW).look(memory, (0.0, 4.2, 0.0), 2, Disk("/var", 95.4))
    assert found == Conditions(
        Condition(NOW, True, "95% of 10.0 GiB of memory is in use"),
        Condition(NOW, True, "a load of 4.2 over 5 minutes; processors: 2"),
        Condition(NOW, True, "95% of the disk at /var is in use"),
    )


@pytest.mark.parametrize(
    ("load", "high"), [((9.0, 4.0, 9.0), False), ((0.0, 4.1, 0.0), True)], ids=str
)
def test_the_load_of_five_minutes_counts_for_each_processor(
    load: tuple[float, float, float], high: bool
) -> None:
    found = Watch(lambda: NOW).look(None, load, 2, None).high_load
    assert found is not None
    assert found.status is high


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert Watch(lambda: NOW).look(None, None, 2, None) == Conditions()
    assert Watch(lambda: NOW).look(None, QUIET, 0, None) == Conditions()


def test_a_condition_is_since_its_last_transition_whatever_the_figures() -> None:
    clock = Clock()
    watch = Watch(clock)
    for later, used, status, since in (
        (0.0, 91.0, True, 0.0),
        (5.0, 95.0, True, 0.0),
        (10.0, 80.0, False, 10.0),
        (15.0, 70.0, False, 10.0),
        (20.0, 91.0, True, 20.0),
    ):
        clock.time = NOW + later
        found = watch.look(None, None, 2, Disk("/", used)).disk_pressure
        assert found is not None
        assert (found.status, found.since) == (status, NOW + since), later


def test_a_path_with_control_characters_can_be_sent() -> None:
    found = Watch(lambda: NOW).look(None, None, 2, Disk("/a\x1b[2J\udcff", 99.0)).disk_pressure
    assert found is not None
    assert found.reason == "99% of the disk at /a\ufffd[2J\ufffd is in use"
