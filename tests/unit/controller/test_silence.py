"""When a node counts as away: by a clock that nobody sets, and not for faults of our own."""

import pytest

from tests.testing.doubles import ConnectionDouble
from tests.testing.signing import SIGNER
from towline.broker.jetstream import JetStream
from towline.controller.fleet import MISSED, Fleet
from towline.controller.member import Member
from towline.controller.moment import LocalClock
from towline.controller.presence import GRACE, LATE, LOOK_EVERY, Presence
from towline.wire.node import Heartbeat, Registration

INTERVAL = 5.0
NOW = 1_800_000_000.0
HOUR = 3600.0


class World:
    """A fleet of one node, and clocks that a test turns."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.running = 1000.0
        self.wall = NOW
        self.broker = ConnectionDouble()
        self.fleet = Fleet(LocalClock(lambda: self.running, lambda: self.wall))
        self.presence = Presence(
            self.fleet, self.broker, JetStream(self.broker), SIGNER, interval=interval
        )
        self.fleet.register(Registration("a", "web-01", "0.2.0", NOW, NOW))
        self.looked = self.running
        self.beat()

    @property
    def member(self) -> Member:
        (member,) = self.fleet.members()
        return member

    def beat(self) -> None:
        self.fleet.receive("a", Heartbeat("1" * 16, self.interval))

    def look(self) -> None:
        self.presence.look(self.looked)
        self.looked = self.running

    def sleep(self, seconds: float) -> None:
        """Let the clocks run, and nobody look."""
        self.running += seconds
        self.wall += seconds

    def silent_for(self, seconds: float) -> bool:
        """Let time pass without a heartbeat; return whether the node is here all the while."""
        for _ in range(round(seconds / LOOK_EVERY)):
            self.sleep(LOOK_EVERY)
            self.look()
            if not self.member.here:
                return False
        return True


@pytest.fixture
def world() -> World:
    return World()


def test_a_node_is_away_when_it_has_missed_its_heartbeats(world: World) -> None:
    assert world.silent_for(MISSED * INTERVAL)
    assert not world.silent_for(LOOK_EVERY)
    world.beat()
    assert world.member.here


def test_a_node_is_away_also_where_nodes_beat_more_often_than_anybody_looks() -> None:
    interval = LOOK_EVERY / 4
    world = World(interval)
    assert not world.silent_for(2 * MISSED * interval)


@pytest.mark.parametrize("step", [-24 * HOUR, -HOUR, -20.0, 20.0, HOUR, 24 * HOUR])
def test_a_clock_that_is_set_makes_nobody_away_and_nobody_stay(world: World, step: float) -> None:
    assert world.silent_for(INTERVAL)
    world.wall += step
    assert world.silent_for(MISSED * INTERVAL - INTERVAL)
    assert not world.silent_for(LOOK_EVERY)


@pytest.mark.parametrize("step", [-HOUR, -20.0, 20.0, HOUR])
def test_a_heartbeat_right_after_a_step_of_the_clock_is_of_now(world: World, step: float) -> None:
    world.wall += step
    world.beat()
    assert world.member.here
    assert world.member.last_heartbeat == world.wall


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_the_last_heartbeat_is_shown_by_the_clock_as_it_is_set_now(
    world: World, step: float
) -> None:
    assert world.member.last_heartbeat == NOW
    world.sleep(10.0)
    assert world.member.last_heartbeat == NOW
    world.wall += step
    assert world.member.last_heartbeat == pytest.approx(NOW + step)
    assert world.member.absence.startswith("not reachable since 2027-01-15T")


def test_a_clock_that_is_corrected_bit_by_bit_changes_nothing_that_is_shown(world: World) -> None:
    for _ in range(10):
        world.sleep(60.0)
        world.wall += 0.03
        assert world.member.last_heartbeat == NOW


def test_while_the_broker_is_away_and_soon_after_nobody_goes(world: World) -> None:
    world.broker.there = False
    assert world.silent_for(HOUR)
    world.broker.there = True
    assert world.silent_for(GRACE + MISSED * INTERVAL - LOOK_EVERY)
    assert not world.silent_for(2 * LOOK_EVERY)
    assert world.member.last_heartbeat == NOW


def test_a_controller_that_stood_still_does_not_count_that_as_silence_of_its_nodes(
    world: World,
) -> None:
    world.sleep(HOUR)
    world.look()
    assert world.member.here
    assert world.silent_for(GRACE + MISSED * INTERVAL)
    assert not world.silent_for(LOOK_EVERY)


def test_a_look_that_is_a_little_late_is_no_excuse(world: World) -> None:
    world.silent_for(MISSED * INTERVAL)
    world.sleep(LATE)
    world.look()
    assert not world.member.here


def test_a_moment_of_standing_still_is_no_silence_of_nodes_that_beat_often() -> None:
    world = World(interval=1.0)
    world.sleep(LATE - 0.5)
    world.look()
    assert world.member.here
    assert world.silent_for(MISSED * 1.0)
    assert not world.silent_for(LOOK_EVERY)
