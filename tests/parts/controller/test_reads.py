"""Reads on a real broker: asked, answered and recorded."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import pytest

from tests.testing.broker import Broker
from tests.testing.jobs import a_job, an_event
from tests.testing.signing import SIGNER, opened
from tests.testing.stream import connect, until
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.journal import READS, Journal, Retention
from towline.broker.settings import Settings
from towline.controller.fleet import Fleet
from towline.controller.jobs.reads import Reads
from towline.controller.rollout.releases import Releases
from towline.wire import messages
from towline.wire.event import COMPLETED, EXPIRED
from towline.wire.job import Job
from towline.wire.node import Heartbeat, Registration
from towline.wire.release import Release

START = "1" * 16


class World:
    """A controller's reads, and nodes that answer when a test lets them.

    Attributes:
        asked: which machines were asked, in this order.
        deaf: machines that answer nothing.
    """

    def __init__(self, nodes: Connection, journal: Journal, agents: Connection) -> None:
        self.journal, self._agents = journal, agents
        self.asked: list[str] = []
        self.deaf: set[str] = set()
        self.fleet = Fleet()
        for machine in "ab":
            registered = Registration(machine, f"host-{machine}", "0.2.0", 1.7e9)
            self.fleet.register(registered)
            self.fleet.receive(machine, Heartbeat(START, 5.0, capabilities={"node": ""}))

        async def supplies(job: Job, machines: Iterable[str]) -> dict[str, Any]:
            return {}

        releases = Releases(nodes, SIGNER, self.fleet, supplies, lambda job: None)
        self.reads = Reads(nodes, journal, self.fleet, releases, self, ask_every=0.2)  # type: ignore[arg-type]

    def subscribe(self, folded: object) -> None:
        """Nothing is folded here."""

    async def serve(self) -> None:
        client = await self._agents.client()

        async def receive(message: Any) -> None:
            machine = message.subject.split(".")[1]
            order = messages.order(opened(message.data), machine)
            assert isinstance(order, Release)
            self.asked.append(machine)
            if machine not in self.deaf and order.job is not None:
                end = an_event(order.job, COMPLETED, machine, data={"load": 1})
                await client.publish(message.reply, msgspec.json.encode(end))

        await client.subscribe("task.*.*", cb=receive)
        await client.flush()


@pytest.fixture
async def world(own_broker: Broker, jetstream: JetStream) -> AsyncIterator[World]:
    url, logins = [own_broker.url], own_broker.logins
    journal = Journal(jetstream)
    await journal.create(Retention(size=64 * 1024**2))
    async with (
        connect(Settings(url, logins.nodes)) as nodes,
        connect(Settings(url, logins.agents)) as agents,
    ):
        world = World(nodes, journal, agents)
        await world.serve()
        running = asyncio.create_task(world.reads.run())
        await until(world.reads.answers.ready.is_set, "the subscription")
        yield world
        running.cancel()
        await asyncio.wait([running])


async def recorded(world: World, broker: Broker) -> list[messages.Answered]:
    stored = await asyncio.to_thread(broker.messages, READS)
    return [each for _, data in stored for each in messages.answered(data)]


def read(machines: str, seconds: float = 60.0, **more: Any) -> Job:
    now = time.time()
    job = a_job(now, machines, effect="read", **more)
    return msgspec.structs.replace(job, expires=now + seconds)


async def test_a_read_is_answered_when_all_have_and_recorded_as_one(
    world: World, own_broker: Broker
) -> None:
    state = await world.reads.ask(job := read("ab"), 20.0)
    assert state.status == "completed"
    (one,) = await recorded(world, own_broker)
    assert one.job == job
    assert sorted(event.machine for event in one.events) == ["a", "b"]


async def test_what_is_only_looked_at_is_not_recorded(world: World, own_broker: Broker) -> None:
    world.deaf = {"b"}
    state = await world.reads.look(read("ab"), 0.5)
    assert {machine: task.status for machine, task in state.tasks.items()} == {
        "a": "ok",
        "b": "pending",
    }
    await world.reads.ask(job := read("a"), 20.0)
    assert [each.job for each in await recorded(world, own_broker)] == [job]


async def test_a_node_that_does_not_answer_is_asked_again_and_its_answer_recorded_later(
    world: World, own_broker: Broker
) -> None:
    world.deaf = {"b"}
    state = await world.reads.ask(read("ab"), 0.5)
    assert state.unfinished == {"b"}
    assert world.asked.count("b") >= 2
    assert world.asked.count("a") == 1
    world.deaf = set()
    await until(lambda: state.done, "the late answer")
    async with asyncio.timeout(20):
        while len(found := await recorded(world, own_broker)) < 2:
            await asyncio.sleep(0.05)
    assert found[1].job is None
    assert [event.machine for event in found[1].events] == ["b"]


async def test_a_node_that_comes_back_is_asked_at_once(world: World) -> None:
    world.reads._ask_every = 3600.0
    world.deaf = {"b"}
    reading = asyncio.create_task(world.reads.ask(read("ab"), 60.0))
    await until(lambda: world.asked.count("b") == 1, "the question")
    world.fleet.receive("b", Heartbeat(START, 5.0, leaving=True))
    assert (await reading).unfinished == {"b"}
    world.deaf = set()
    world.fleet.receive("b", Heartbeat(START, 5.0, capabilities={"node": ""}))
    await until(lambda: world.asked.count("b") == 2, "another question")


async def test_a_read_that_is_not_answered_in_time_has_expired(
    world: World, own_broker: Broker
) -> None:
    world.deaf = {"a"}
    state = await world.reads.ask(read("a", seconds=1.0), 0.2)
    assert not state.done
    await until(lambda: state.done, "its end")
    async with asyncio.timeout(20):
        while len(found := await recorded(world, own_broker)) < 2:
            await asyncio.sleep(0.05)
    assert [event.kind for event in found[1].events] == [EXPIRED]


async def test_a_read_for_any_node_goes_to_another_one_where_its_own_is_gone(
    world: World, own_broker: Broker
) -> None:
    world.deaf = {"a"}
    asking = asyncio.create_task(world.reads.ask(read("a", target="_any", requires="node"), 20.0))
    await until(lambda: "a" in world.asked, "the first node asked")
    world.fleet.receive("a", Heartbeat(START, 5.0, leaving=True))
    # It returns when nobody is left to wait for; the other one is asked meanwhile or then.
    await asking
    async with asyncio.timeout(20):
        while not [e for each in await recorded(world, own_broker) for e in each.events]:
            await asyncio.sleep(0.05)
    assert "b" in world.asked


async def test_a_read_whose_request_was_sent_again_meanwhile_is_answered_to_both(
    world: World, own_broker: Broker
) -> None:
    world.deaf = {"a"}
    job = read("a")
    first = asyncio.create_task(world.reads.ask(job, 20.0))
    await until(lambda: bool(world.asked), "the first attempt")
    second = asyncio.create_task(world.reads.ask(job, 0.3))
    assert not (await second).done
    third = asyncio.create_task(world.reads.ask(job, 20.0))
    world.deaf = set()
    async with asyncio.timeout(10):
        for asking in (first, third):
            assert (await asking).status == "completed"
