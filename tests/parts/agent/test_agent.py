"""A whole agent on a real broker, and what must not end it."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.testing.broker import Broker
from tests.testing.controllers import Attached, Controllers, attached
from tests.testing.doubles import ProviderDouble, until
from tests.testing.ledger import on_disk
from tests.testing.operations import Done, registered
from tests.testing.signing import VERIFIER
from towline.agent.agent import Agent
from towline.agent.host.provider import HostProvider
from towline.agent.ledger import Ledger
from towline.agent.trust_files import TrustFiles
from towline.broker.settings import Settings
from towline.operation import NODE, Effect
from towline.runtime.keys import KEY_BYTES, NodeKey
from towline.wire.event import CANCELLED, COMPLETED
from towline.wire.inventory import ImageHeld, Inventory
from towline.wire.job import Job, new_id
from towline.wire.progress import TaskProgress
from towline.wire.release import BeatNow, Cancellation, Recount, Refresh, Release
from towline.wire.report import STORED, Receipt
from towline.wire.subjects import ALL_NODES, answer_subject, task_subject
from towline.wire.target import Label

MACHINE = "0123456789abcdef0123456789abcdef"


class Work:
    """What the operations of these tests do: they wait for a gate.

    Attributes:
        ran: the jobs that were begun.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()

    async def run(node: Any) -> Done:
        made.ran.append(node.job.id)
        node.progress(TaskProgress("preparing"))
        await made.gate.wait()
        return Done()

    with registered(run, *Effect):
        yield made


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def controllers() -> Controllers:
    return Controllers()


@pytest.fixture
async def side(broker: Broker, controllers: Controllers) -> AsyncIterator[Attached]:
    """The controllers' side at that broker."""
    async with attached(broker, controllers) as side:
        yield side


@contextlib.asynccontextmanager
async def agent(
    broker: Broker, ledger: Path, provider: ProviderDouble | None = None
) -> AsyncIterator[Agent]:
    """An agent that the fleet knows to be here."""
    with Ledger(ledger) as opened:
        settings = Settings([broker.url], broker.logins.agents)
        made = Agent(
            settings,
            opened,
            machine=MACHINE,
            hostname="node-1",
            labels=[Label("group", "web.eu")],
            providers=[HostProvider, *([lambda _: provider] if provider else [])],
            interval=0.2,
            key=NodeKey(os.urandom(KEY_BYTES)),
            trust=TrustFiles(settings, lambda: VERIFIER),
        )
        running = asyncio.create_task(made.run())
        try:
            async with asyncio.timeout(20):
                await made.ready()
            yield made
            assert not running.done(), "the agent has ended"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def a_job(effect: Effect = Effect.CONVERGE, **more: Any) -> Job:
    now = time.time()
    name = f"test.{effect.value}"
    fields = {"effect": effect.value, **more}
    return Job(new_id(), name, {}, "node-1", "tests", now, now + 3600, **fields)


def released(job: Job, **more: Any) -> Release:
    return Release(job.id, MACHINE, time.time(), job.expires, job, **more)


async def test_an_agent_runs_what_is_released_to_it_and_answers_what_it_reads(
    broker: Broker, controllers: Controllers, side: Attached, work: Work, tmp_path: Path
) -> None:
    async with agent(broker, tmp_path / "ledger.sqlite"):
        jobs = [a_job(), a_job(Effect.ONCE), a_job()]
        controllers.tasks[jobs[2].id] = released(jobs[2])
        read = a_job(Effect.READ)
        reply = answer_subject(new_id(), MACHINE)
        for job in jobs[:2]:
            await side.send(released(job), MACHINE)
        await side.send(msgspec.structs.replace(released(jobs[2]), job=None), MACHINE)
        await side.send(released(read), MACHINE, reply=reply)
        await until(lambda: sorted(controllers.jobs) == sorted(job.id for job in jobs))
        await until(lambda: reply in side.answers)
        await until(lambda: not controllers.heartbeats[-1].jobs)
    assert [event.kind for event in side.answers[reply]] == [COMPLETED]
    assert sorted(work.ran) == sorted(job.id for job in (*jobs, read))
    assert on_disk(tmp_path / "ledger.sqlite")[0] == {job.id for job in jobs}
    assert controllers.registrations[0].labels == {"group": "web.eu"}
    await until(lambda: controllers.heartbeats[-1].leaving)


async def test_a_task_asks_for_leave_and_is_cancelled(
    broker: Broker, controllers: Controllers, side: Attached, work: Work, tmp_path: Path
) -> None:
    work.gate.clear()
    controllers.receipt = lambda event: Receipt(STORED, time.time(), leave=True)
    job = a_job()
    async with agent(broker, tmp_path / "ledger.sqlite"):
        await side.send(released(job, leave=True), MACHINE)
        await until(lambda: work.ran and controllers.progress)
        await until(lambda: controllers.heartbeats[-1].jobs == {job.id})
        sent = len(controllers.progress)
        await side.send(Refresh(job.id, MACHINE, time.time()), MACHINE)
        await until(lambda: len(controllers.progress) > sent)
        order = Cancellation(job.id, MACHINE, "ann", time.time(), job.created, job.expires)
        await side.send(order, MACHINE)
        await until(lambda: (CANCELLED, "cancelled by ann") in controllers.ends(job.id))


async def test_an_agent_goes_on_after_the_broker_was_away_and_after_a_restart(
    broker: Broker, controllers: Controllers, work: Work, tmp_path: Path
) -> None:
    work.gate.clear()
    async with attached(broker, controllers) as side, agent(broker, tmp_path / "ledger.sqlite"):
        again, never = a_job(), a_job(Effect.ONCE)
        for job in (again, never):
            await side.send(released(job), MACHINE)
        await until(lambda: len(work.ran) == 2)
    first = controllers.heartbeats[-1].start
    work.gate.set()
    async with attached(broker, controllers), agent(broker, tmp_path / "ledger.sqlite"):
        await until(lambda: (COMPLETED, None) in controllers.ends(again.id))
        await until(lambda: controllers.ends(never.id))
        assert "interrupted" in (controllers.ends(never.id)[-1][1] or "")
        await until(lambda: controllers.heartbeats[-1].after == first)
        work.gate.clear()
        waits = a_job()
        async with attached(broker, controllers) as side:
            await side.send(released(waits), MACHINE)
            await until(lambda: waits.id in work.ran)
        await asyncio.to_thread(broker.stop)
        work.gate.set()
        registered = len(controllers.registrations)
        await asyncio.to_thread(broker.start)
        async with attached(broker, controllers):
            await until(lambda: (COMPLETED, None) in controllers.ends(waits.id))
            await until(lambda: len(controllers.registrations) > registered)
    assert work.ran.count(again.id) == 2
    assert work.ran.count(never.id) == 1


class Stocked(ProviderDouble):
    """A provider with an inventory, which is its own, too, of one image."""

    def __init__(self) -> None:
        super().__init__()
        self.inventory = self
        self.hash = ""

    def whole(self) -> list[Inventory]:
        return [Inventory("0" * 16, self.hash, images=[ImageHeld("sha256:0")])]

    async def follow(self, changed: Callable[[Inventory], Awaitable[None]]) -> None:
        self.hash = "known"
        await changed(self.whole()[0])
        await asyncio.Event().wait()


async def test_what_is_on_a_node_is_sent_and_sent_again_when_a_controller_asks(
    broker: Broker, controllers: Controllers, side: Attached, tmp_path: Path
) -> None:
    provider = Stocked()
    async with agent(broker, tmp_path / "ledger.sqlite", provider):
        await until(lambda: controllers.inventories == provider.whole())
        await until(lambda: controllers.heartbeats[-1].inventory == "known")
        await side.send(Recount(MACHINE, time.time()), MACHINE)
        await until(lambda: controllers.inventories == provider.whole() * 2)


JUNK = [
    b"",
    b"no JSON",
    b"\xff\0\r\n",
    b"[" * 100_000,
    b'{"body":{"kind":"release","id":"' + b"a" * (2 * 1024 * 1024 - 100) + b'"}}',
    b'{"body":{"kind":"beat","time":1e308,"interval":1e308}}',
]


async def test_no_message_ends_an_agent_or_keeps_back_those_behind_it(
    broker: Broker, controllers: Controllers, side: Attached, work: Work, tmp_path: Path
) -> None:
    async with agent(broker, tmp_path / "ledger.sqlite") as made:
        own = task_subject(MACHINE, await side.start())
        for subject in (own, ALL_NODES):
            for body in JUNK:
                await side.publish(subject, body)
        await side.publish(own, b"{}", reply="$JS.API.STREAM.NAMES")
        behind = a_job()
        await side.send(released(behind), MACHINE)
        await until(lambda: controllers.ends(behind.id) == [(COMPLETED, None)])
        await until(lambda: made.refused == 2 * len(JUNK) + 1)
    assert work.ran == [behind.id]


async def test_an_agent_says_that_it_is_here_when_all_are_asked(
    broker: Broker, controllers: Controllers, side: Attached, tmp_path: Path
) -> None:
    async with agent(broker, tmp_path / "ledger.sqlite"):
        await side.start()
        await side.send_to_all(BeatNow(time.time(), interval=600.0))
        await until(lambda: controllers.heartbeats[-1].interval == 600.0)
        count = len(controllers.heartbeats)
        await side.send_to_all(BeatNow(time.time(), interval=600.0))
        await until(lambda: len(controllers.heartbeats) > count)


async def test_an_agent_whose_provider_breaks_off_does_what_needs_another(
    broker: Broker, controllers: Controllers, side: Attached, work: Work, tmp_path: Path
) -> None:
    provider = ProviderDouble("docker")
    provider.fault = KeyError("ApiVersion")
    async with agent(broker, tmp_path / "ledger.sqlite", provider):
        await until(lambda: controllers.heartbeats)
        assert controllers.heartbeats[-1].capabilities == {
            NODE: "",
            "docker": "unexpected KeyError: 'ApiVersion'",
        }
        job = a_job()
        await side.send(released(job), MACHINE)
        await until(lambda: controllers.ends(job.id) == [(COMPLETED, None)])
    await until(lambda: provider.closed)


async def test_an_agent_registers_with_when_it_started_by_the_clock_of_now(
    broker: Broker,
    controllers: Controllers,
    side: Attached,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead = 0.0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    async with agent(broker, tmp_path / "ledger.sqlite"):
        ahead = 7 * 86400.0
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        async with attached(broker, controllers):
            await until(lambda: len(controllers.registrations) > 1)
    first, *_, last = controllers.registrations
    assert last.started - first.started == pytest.approx(ahead, abs=3600)
