"""Which nodes a request waits for."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from towline.controller.jobs.state import JobState
from towline.controller.jobs.waiting import Waiting
from towline.wire.event import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    NOBODY,
    RELEASED,
    STARTED,
    WITHHELD,
    Event,
    NamedNode,
)
from towline.wire.job import WAITS, Job, PlannedNode, new_id
from towline.wire.rollout import Waves

A, B, C = "a", "b", "c"


class Node:
    """A node that is here, or away."""

    def __init__(self, here: bool) -> None:
        self.here = here


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

    def is_here(self, machine: str) -> bool:
        return self.nodes[machine].here


class System:
    """A request that waits for a job of the nodes a, b and c."""

    def __init__(self, here: str, away: str) -> None:
        self.events, self.fleet = Source(), Source(here, away)
        self.waiting = Waiting(self.events, self.fleet)  # type: ignore[arg-type]
        now = time.time()
        waves = Waves(max_parallel="1")
        plan = [PlannedNode(name, name, WAITS) for name in (A, B, C)]
        job = Job(
            *(new_id(), "node.load.get", {}, "_all", "ann", now, now + 60), plan=plan, waves=waves
        )
        self.state = JobState(job)
        self.request = asyncio.create_task(self.waiting.wait(self.state, 60.0))

    def event(self, kind: str, machine: str = NOBODY, nodes: str = "") -> None:
        named = [NamedNode(name, name, "withheld", "cancelled") for name in nodes] or None
        self.events.send(Event(self.state.job.id, machine, machine, kind, time.time(), nodes=named))

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


async def test_a_request_does_not_wait_for_what_was_cancelled_before_its_turn() -> None:
    one = await system(A + B + C)
    one.event(RELEASED, nodes=A)
    one.event(STARTED, A)
    one.event(CANCELLING)
    # Its nodes are asked for leave: the start alone was a report, so this one too is cancelled.
    assert not await one.waits()


async def test_a_request_that_has_waited_long_enough_waits_no_more() -> None:
    one = await system(A, away=B + C)
    await one.waiting.wait(one.state, 0.01)
    assert await one.waits()
    one.event(COMPLETED, A)
    assert not await one.waits()


async def test_no_event_is_missed_while_the_job_is_being_stored() -> None:
    one = await system(A, away=B + C)

    async def store() -> None:
        one.event(CANCELLED, A)

    async with asyncio.timeout(10):
        await one.waiting.wait(JobState(one.state.job), 60.0, store)


async def test_a_controller_that_stops_ends_all_waits_and_makes_none() -> None:
    one = await system(A + B + C)
    stored = []

    async def store() -> None:
        stored.append(True)

    one.waiting.stop()
    assert not await one.waits()
    async with asyncio.timeout(10):
        await one.waiting.wait(JobState(one.state.job), 60.0, store)
    assert stored == [True]
