"""Which nodes a request waits for."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from towline.controller.jobs.state import JobState
from towline.controller.jobs.waiting import Waiting
from towline.wire.event import COMPLETED, NOBODY, RELEASED, STARTED, WITHHELD, Event, PlannedNode
from towline.wire.job import Job, new_id
from towline.wire.rollout import Waves

A, B, C = "a", "b", "c"


class Node:
    """A node that is here, or away."""

    def __init__(self, here: bool) -> None:
        self.here = here

    def can(self, capability: str) -> bool:
        return True


class Source:
    """What events and changes of the fleet come from."""

    def __init__(self, here: str = "", away: str = "") -> None:
        self.nodes = {name: Node(True) for name in here} | {name: Node(False) for name in away}
        self.listeners: list[Callable[[Any], None]] = []

    def subscribe(self, listener: Callable[[Any], None]) -> None:
        self.listeners.append(listener)

    def send(self, what: object) -> None:
        for listener in self.listeners:
            listener(what)

    def get(self, machine: str) -> Node | None:
        return self.nodes.get(machine)

    def here(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.here]


class System:
    """A request that waits for a job of the nodes a, b and c."""

    def __init__(self, here: str, away: str) -> None:
        self.events, self.fleet = Source(), Source(here, away)
        self.waiting = Waiting(self.events, self.fleet)  # type: ignore[arg-type]
        now = time.time()
        waves = Waves(max_parallel="1")
        job = Job(new_id(), "node.load", {}, "_all", "ann", now, now + 60, waves=waves)
        self.state = JobState(job, [PlannedNode(name, name) for name in (A, B, C)])
        self.request = asyncio.create_task(self.waiting.wait(self.state, "node", 60.0))

    def event(self, kind: str, machine: str = NOBODY, nodes: str = "") -> None:
        planned = [PlannedNode(name, name, "withheld", "cancelled") for name in nodes] or None
        self.events.send(
            Event(self.state.job.id, machine, machine, kind, time.time(), nodes=planned)
        )

    async def waits(self) -> bool:
        for _ in range(5):
            await asyncio.sleep(0)
        return not self.request.done()


async def system(here: str, away: str = "") -> System:
    made = System(here, away)
    assert await made.waits()
    return made


async def test_a_request_waits_for_every_node_that_is_here_and_for_no_other() -> None:
    one = await system(A + B, away=C)
    one.event(COMPLETED, A)
    assert await one.waits()
    one.event(COMPLETED, B)
    assert not await one.waits()


@pytest.mark.parametrize("withheld", [B, B + "c"])
async def test_a_request_does_not_wait_for_nodes_that_were_withheld(withheld: str) -> None:
    one = await system(A + B, away=C)
    one.event(RELEASED, nodes=A)
    one.event(COMPLETED, A)
    assert await one.waits()
    one.event(WITHHELD, nodes=withheld)
    assert not await one.waits()


async def test_a_request_waits_for_a_node_that_returns_and_not_for_one_that_goes() -> None:
    one = await system(A, away=B + C)
    one.fleet.nodes[B].here = True
    one.fleet.send({B})
    one.event(COMPLETED, A)
    assert await one.waits()
    one.fleet.nodes[B].here = False
    one.fleet.send({B})
    assert not await one.waits()


async def test_a_node_that_reports_is_waited_for_though_its_heartbeat_is_late() -> None:
    one = await system(A, away=B + C)
    one.event(STARTED, B)
    one.event(COMPLETED, A)
    assert await one.waits()
    one.event(COMPLETED, B)
    assert not await one.waits()
