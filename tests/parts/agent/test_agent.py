"""A whole agent on a real broker, and what must not end it."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.testing.broker import Broker
from tests.testing.doubles import ProviderDouble, until
from tests.testing.journal import connected
from towline.agent.agent import Agent
from towline.agent.host.provider import HostProvider
from towline.agent.ledger import Ledger
from towline.broker.bucket import Bucket
from towline.broker.journal import EVENTS, Journal, Retention
from towline.broker.settings import Settings
from towline.operation import NODE, Effect, catalog, operation
from towline.runtime.keys import KEY_BYTES, NodeKey
from towline.wire.event import COMPLETED, Event
from towline.wire.job import CANCEL, Job, new_id
from towline.wire.node import Heartbeat, NodeState, Registration
from towline.wire.subjects import HEARTBEATS, NODES, STATES, any_subject, node_subject

MACHINE = "0123456789abcdef0123456789abcdef"


class Done(msgspec.Struct):
    changed: bool = False


@pytest.fixture
def ran() -> Iterator[list[str]]:
    """The jobs that ran."""
    jobs: list[str] = []

    async def work(node: Any) -> Done:
        jobs.append(node.job.id)
        return Done()

    for effect in (Effect.CONVERGE, Effect.READ):
        operation(
            f"test.{effect.value}",
            f"POST test/{effect.value}",
            permission="test:write",
            effect=effect,
        )(work)
    yield jobs
    for effect in (Effect.CONVERGE, Effect.READ):
        catalog.remove(f"test.{effect.value}")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def journal(broker: Broker) -> AsyncIterator[Journal]:
    """The journal, at a broker that has all that an agent needs."""
    async with connected(broker) as jetstream:
        made = Journal(jetstream)
        await made.create(Retention())
        await Bucket(jetstream, NODES, Registration).create(1)
        await Bucket(jetstream, HEARTBEATS, Heartbeat, storage="memory").create(1)
        await Bucket(jetstream, STATES, NodeState).create(1)
        yield made


@contextlib.asynccontextmanager
async def agent(
    broker: Broker, ledger: Path, provider: ProviderDouble | None = None
) -> AsyncIterator[Agent]:
    """An agent that the fleet knows to be here."""
    with Ledger(ledger) as opened:
        made = Agent(
            Settings([broker.url], broker.credentials),
            opened,
            machine=MACHINE,
            hostname="node-1",
            labels=[],
            providers=[HostProvider, *([lambda _: provider] if provider else [])],
            interval=0.2,
            key=NodeKey(os.urandom(KEY_BYTES)),
        )
        running = asyncio.create_task(made.run())
        try:
            await made.ready()
            yield made
            assert not running.done(), "the agent has ended"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def a_job(effect: Effect = Effect.CONVERGE, target: str = "node-1", **more: Any) -> Job:
    now = time.time()
    return Job(new_id(), f"test.{effect.value}", {}, target, "tests", now, now + 3600, **more)


def ends(broker: Broker, job: Job) -> list[str]:
    """Return the kinds of the events of a job in the journal."""
    events = [msgspec.json.decode(body, type=Event) for _, body in broker.messages(EVENTS)]
    return [event.kind for event in events if event.job == job.id]


async def until_ended(broker: Broker, job: Job) -> None:
    async with asyncio.timeout(20):
        while COMPLETED not in await asyncio.to_thread(ends, broker, job):
            await asyncio.sleep(0.05)


async def test_an_agent_runs_what_is_for_its_node(
    broker: Broker, journal: Journal, ran: list[str], tmp_path: Path
) -> None:
    own, any_nodes = node_subject(MACHINE), any_subject(NODE)
    jobs = [
        (a_job(), own),
        (a_job(Effect.READ), own),
        (a_job(target="_any"), any_nodes),
        (a_job(Effect.READ, target="_any"), any_nodes),
    ]
    async with agent(broker, tmp_path / "ledger.sqlite"):
        for job, subject in jobs:
            await journal.add_job(job, subject)
        for job, _ in jobs:
            await until_ended(broker, job)
    assert sorted(ran) == sorted(job.id for job, _ in jobs)


JUNK = [
    b"",
    b"no JSON",
    b"[]",
    b'{"id": 5}',
    msgspec.json.encode(a_job(Effect.READ, excluded=[MACHINE])),
    msgspec.json.encode(Job(new_id(), CANCEL, {}, "node-1", "tests", 1.0, 2.0)),
    msgspec.json.encode(Job(new_id(), CANCEL, {"job": None}, "node-1", "tests", 1.0, 2.0)),
    msgspec.json.encode(Job(new_id(), "test.converge", {"x": 1}, "", "", -1.0, 1e300)),
]


@pytest.mark.parametrize("subject", [node_subject(MACHINE), any_subject(NODE)])
async def test_no_message_keeps_back_those_behind_it(
    broker: Broker, journal: Journal, ran: list[str], tmp_path: Path, subject: str
) -> None:
    target = "_any" if subject == any_subject(NODE) else "node-1"
    async with agent(broker, tmp_path / "ledger.sqlite"):
        for body in JUNK:
            await journal.jetstream.append(subject, body)
            behind = a_job(target=target)
            await journal.add_job(behind, subject)
            await until_ended(broker, behind)
    assert len(ran) == len(JUNK)


async def test_an_agent_whose_provider_breaks_off_does_what_needs_another(
    broker: Broker, journal: Journal, ran: list[str], tmp_path: Path
) -> None:
    provider = ProviderDouble("docker")
    provider.fault = KeyError("ApiVersion")
    heartbeats = Bucket(journal.jetstream, HEARTBEATS, Heartbeat)
    async with agent(broker, tmp_path / "ledger.sqlite", provider):
        entry = await heartbeats.get(MACHINE)
        assert entry is not None
        assert entry.value is not None
        assert entry.value.capabilities == {
            NODE: "",
            "docker": "unexpected KeyError: 'ApiVersion'",
        }
        job = a_job()
        await journal.add_job(job, node_subject(MACHINE))
        await until_ended(broker, job)
    await until(lambda: provider.closed)


async def test_an_agent_registers_with_when_it_started_by_the_clock_of_now(
    broker: Broker, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Bucket(journal.jetstream, NODES, Registration)

    async def started() -> float:
        entry = await nodes.get(MACHINE)
        assert entry is not None
        assert entry.value is not None
        return entry.value.started

    ahead = 0.0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    async with agent(broker, tmp_path / "ledger.sqlite") as made:
        first = await started()
        ahead = 7 * 86400.0
        made._heartbeats.connected()
        async with asyncio.timeout(20):
            while await started() == first:
                await asyncio.sleep(0.05)
        assert await started() - first == pytest.approx(ahead, abs=3600)
