"""The fleet as a controller follows it on a real broker, while its clock is set."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.testing.stream import until
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.controller.fleet import Fleet
from towline.controller.moment import LocalClock
from towline.wire.node import Heartbeat, Registration
from towline.wire.subjects import HEARTBEATS, NODES

HOUR = 3600.0
WEB = "web-01"


class Node:
    """A node that registers and sends heartbeats, by a clock that is right."""

    def __init__(self, jetstream: JetStream, interval: float) -> None:
        self._interval = interval
        self._nodes = Bucket(jetstream, NODES, Registration)
        self._heartbeats = Bucket(jetstream, HEARTBEATS, Heartbeat)
        self.sent = 0

    async def register(self) -> None:
        now = time.time()
        await self._nodes.put("a", Registration("a", WEB, "0.1.0", now, now, self._interval))

    async def beat(self) -> None:
        await self._heartbeats.put("a", Heartbeat({"node": ""}))
        self.sent += 1

    async def run(self) -> None:
        await self.register()
        while True:
            await self.beat()
            await asyncio.sleep(0.1)


class Stepping:
    """The clock of the controller's machine, which somebody sets."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@contextlib.asynccontextmanager
async def running(*parts: Fleet | Node) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_a_clock_that_is_set_makes_no_node_away_and_its_last_heartbeat_is_now(
    jetstream: JetStream, step: float
) -> None:
    wall, changes = Stepping(), list[set[str]]()
    fleet = Fleet(jetstream, clock=LocalClock(wall=wall), look_every=0.05)
    fleet.subscribe(changes.append)
    await fleet.create(1)
    node = Node(jetstream, interval=5.0)
    async with running(fleet, node):
        await until(lambda: changes == [{"a"}], "the node")
        wall.ahead = step
        sent = node.sent
        await until(lambda: node.sent > sent + 20, "more heartbeats")
        assert changes == [{"a"}]
        (member,) = fleet.here()
        assert member.last_heartbeat == pytest.approx(wall(), abs=60)


@pytest.mark.parametrize("ahead", [-HOUR, 0.0, HOUR])
async def test_a_heartbeat_that_the_broker_kept_is_as_old_as_the_broker_says(
    jetstream: JetStream, ahead: float
) -> None:
    """Whatever the controller's clock says: it may be far from the broker's."""
    wall = Stepping()
    wall.ahead = ahead
    fleet, later = (Fleet(jetstream, clock=LocalClock(wall=wall)) for _ in range(2))
    await fleet.create(1)
    node = Node(jetstream, interval=0.5)
    async with running(fleet):
        await node.register()
        await node.beat()
        await until(lambda: bool(list(fleet.here())), "the node")
        await until(lambda: not list(fleet.here()), "its silence")
    async with running(later):
        await until(lambda: bool(later.members()), "the node")
        await until(lambda: later.members()[0].heartbeat is not None, "its last heartbeat")
        assert not list(later.here())
        (before,), (now,) = fleet.members(), later.members()
        assert now.last_heartbeat == pytest.approx(before.last_heartbeat, abs=60)
