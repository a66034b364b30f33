"""No part of an agent ends by an error: what nobody expected is logged, and the part goes on."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from tests.testing.doubles import until
from tests.unit.agent.conftest import Body, Middle
from tests.unit.agent.test_inbox import Node
from towline.broker import clock
from towline.runtime.part import keep_running
from towline.wire.event import COMPLETED, Event
from towline.wire.job import new_id
from towline.wire.progress import TaskProgress


@contextlib.asynccontextmanager
async def kept(name: str, run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run a part as an agent does; it must have broken off once, and run on."""
    with capture_logs() as logs:
        task = asyncio.create_task(keep_running(name, run, shortest_pause=0.01))
        try:
            yield
            assert not task.done(), "it has ended"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    broken = [entry for entry in logs if entry["event"] == "part broke off"]
    assert [entry["part"] for entry in broken] == [name]
    assert all(entry["exc_info"] for entry in broken)


@pytest.fixture
def fault(middle: Middle) -> RuntimeError:
    """Raised for whoever wants the connection next."""
    fault = RuntimeError("nobody expected this")
    middle.connection.faults.append(fault)
    return fault


async def test_the_inbox_goes_on(middle: Middle, body: Body, fault: RuntimeError) -> None:
    node = Node(middle)
    async with kept("inbox", node.inbox.run):
        await asyncio.wait_for(node.inbox.ready(), 5)
        job = middle.job()
        await node.send(middle.release(job))
        await until(lambda: middle.ends(job) == [(COMPLETED, None)])


async def test_the_outbox_goes_on(middle: Middle, fault: RuntimeError) -> None:
    event = Event(new_id(), "machine-1", "node-1", COMPLETED, time.time())
    middle.ledger.end(event, created=event.time, expires=event.time)
    async with kept("outbox", middle.outbox.run):
        await until(lambda: middle.controllers.jobs == [event.job])


async def test_progress_goes_on(middle: Middle, fault: RuntimeError) -> None:
    middle.progress.send(new_id(), TaskProgress("preparing"))
    async with kept("progress", middle.progress.run):
        await until(lambda: middle.controllers.progress)


async def test_heartbeats_go_on(middle: Middle, fault: RuntimeError) -> None:
    node = Node(middle)
    for listener in (node.inbox._own, node.inbox._all):
        listener.ready.set()
    async with kept("heartbeats", node.heartbeats.run):
        await until(lambda: middle.controllers.heartbeats)


async def test_the_runner_goes_on(middle: Middle, body: Body) -> None:
    job, faults = middle.job(), [RuntimeError("nobody expected this")]
    middle.take(job)
    await until(lambda: middle.ends(job) and not middle.executor.task_count)
    middle.clock.passed(job.expires + 1)

    def running() -> float:
        if faults:
            raise faults.pop()
        return clock.running()

    middle.running = running
    async with kept("runner", middle.runner.run):
        await until(lambda: middle.ledger.state_of(job.id) is None)


async def test_what_looks_at_the_providers_goes_on(middle: Middle) -> None:
    middle.ledger._disk = _BrokenDisk()  # type: ignore[assignment]
    async with kept("capabilities", middle.capabilities.run):
        await until(lambda: middle.provider.probes >= 2)


class _BrokenDisk:
    """A disk that can't be looked at once, in a way that nobody expected."""

    failed = False

    def __init__(self) -> None:
        self.broken = False

    async def trouble(self) -> str:
        if not self.broken:
            self.broken = True
            raise RuntimeError("nobody expected this")
        return ""
