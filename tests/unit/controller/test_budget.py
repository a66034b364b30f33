"""What one node may send: an honest one as much as it has to, and none as much as it likes."""

import pytest

from tests.testing.messages import MACHINE, OTHER
from towline.broker.listener import Received
from towline.controller.budget import BURST, BYTES, LOOKED_UP, Budget
from towline.controller.rate import REMEMBERED
from towline.wire.decoding import Unreadable


class World:
    """A budget by a clock that stands still until a test moves it."""

    def __init__(self, **more: float) -> None:
        self.now = 0.0
        self.read: list[Received] = []
        self.budget = Budget(clock=lambda: self.now, **more)
        self._receive = self.budget.limited(self.read.append)

    def send(self, machine: str = MACHINE, *, size: int = 0, times: int = 1) -> int:
        """Receive messages of a node; return how many of them were read."""
        before = len(self.read)
        for _ in range(times):
            self._receive(Received(f"report.{machine}", bytes(size), ""))
        return len(self.read) - before


async def test_a_node_may_send_so_many_at_once_and_then_so_many_a_second() -> None:
    world = World(rate=10.0, burst=100.0)
    assert world.send(times=120) == 100
    assert world.budget.dropped == {MACHINE: 20}
    world.now += 1.0
    assert world.send(times=20) == 10
    world.now += 3600.0
    assert world.send(times=120) == 100
    assert world.budget.dropped == {MACHINE: 50}


async def test_what_one_node_sends_is_none_of_another_one_s() -> None:
    world = World(rate=10.0, burst=100.0)
    world.send(times=500)
    assert world.send(OTHER, times=100) == 100
    assert world.budget.dropped[OTHER] == 0


async def test_a_large_message_and_one_that_takes_a_look_count_for_more() -> None:
    world = World(rate=10.0, burst=100.0)
    assert world.send(size=BYTES * 9, times=20) == 10
    world.now += 3600.0
    for _ in range(10):
        assert world.budget.spend(MACHINE, LOOKED_UP)
    assert world.send() == 0


async def test_all_nodes_of_a_large_fleet_may_come_back_at_once() -> None:
    world = World()
    for number in range(8_000):
        assert world.send(f"node-{number}", size=4096, times=5) == 5
    assert not world.budget.dropped


async def test_a_node_that_was_away_may_report_all_that_has_ended_meanwhile() -> None:
    assert World().send(times=int(BURST)) == BURST


async def test_nodes_that_are_quiet_are_forgotten() -> None:
    world = World(rate=10.0, burst=100.0)
    world.send(OTHER, times=200)
    for number in range(REMEMBERED):
        world.send(f"node-{number}")
        world.now += 0.0001
    world.now += 1.0
    for number in range(REMEMBERED):
        world.send(f"later-{number}")
    assert len(world.budget._rate) <= REMEMBERED + 1
    assert world.send(OTHER) == 1
    assert world.budget.dropped == {OTHER: 100}


def test_a_subject_that_names_no_machine_is_unreadable() -> None:
    world = World()
    with pytest.raises(Unreadable):
        world.send("_")
    assert len(world.budget._rate) == 0
