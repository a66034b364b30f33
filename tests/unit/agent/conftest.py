"""An agent's middle, from what is released to what is reported, without a broker."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.testing.controllers import Controllers
from tests.testing.doubles import ConnectionDouble, ProviderDouble, believed
from towline.agent.capabilities import Capabilities
from towline.agent.executor import Executor
from towline.agent.ledger import Ledger
from towline.agent.node import Node
from towline.agent.outbox import Outbox
from towline.agent.progress import ProgressSender
from towline.agent.reads import Reads
from towline.agent.runner import Runner
from towline.broker.clock import Clock, running
from towline.operation import Effect, catalog, operation
from towline.wire.job import Job, new_id
from towline.wire.release import Cancellation, Release


class Done(msgspec.Struct):
    """What the operations of these tests return."""

    what: Any = None
    changed: bool = False


class Body:
    """What the operations of these tests do: they begin, wait for a gate, and return or raise.

    Attributes:
        do: called with the node at the end; what it returns, or what that returns when it is
            awaited, is in the result.
        begun: how often one was begun.
        gate: they wait for it.
    """

    def __init__(self) -> None:
        self.do: Callable[[Any], Any] = lambda node: None
        self.begun = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._defined: list[str] = []

    def define(self, name: str, effect: Effect, function: Any) -> None:
        """Make a function the operation `test.NAME`, until the test ends."""
        decorate = operation(
            f"test.{name}",
            f"POST test/{name}",
            permission="test:write",
            effect=effect,
            requires="docker",
        )
        decorate(function)
        self._defined.append(f"test.{name}")

    def close(self) -> None:
        """Forget the operations."""
        for name in self._defined:
            catalog.remove(name)

    async def run(self, node: Any) -> Done:
        """Run one."""
        self.begun += 1
        await self.gate.wait()
        result = self.do(node)
        return Done(await result if asyncio.iscoroutine(result) else result)


@pytest.fixture
def body() -> Iterator[Body]:
    made = Body()

    async def work(node: Any) -> Done:
        return await made.run(node)

    for effect in Effect:
        made.define(effect.value, effect, work)
    yield made
    made.close()


class Middle:
    """The parts between inbox and controllers, on a ledger of their own.

    Attributes:
        wall_clock: what the node's clock shows, in seconds since 1970.
        running: returns the seconds since the machine was started.
        facts: what is known of the machine, by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall_clock = time.time
        self.controllers = Controllers()
        self.connection = ConnectionDouble(self.controllers)
        self.provider = ProviderDouble()
        self.ledger = Ledger(path, retry_every=0.01)
        self.ledger.born = self.ledger.born or 1_000_000_000.0
        self.running = running
        self.facts = {"hostname": "node-1", "interface.primary": "eth0", "custom.odd": "a b"}
        self.clock = Clock(lambda: self.running())
        self.clock.observe(time.time(), running())
        self.believed = believed(self.connection, "machine-1", self.clock)
        self.outbox = Outbox(
            self.connection,
            "machine-1",
            self.ledger,
            self.believed,
            shortest_pause=0.01,
            longest_pause=0.02,
        )
        self.capabilities = Capabilities(self.ledger, [self.provider], lambda: None)
        self.progress = ProgressSender(self.connection, "machine-1")
        self.executor = Executor(
            Node("machine-1", "node-1", [self.provider]),
            self.capabilities,
            self.clock,
            self.outbox,
            self.progress,
            lambda: self.facts,
            announced_after=0.05,
            wall_clock=lambda: self.wall_clock(),
        )
        self.runner = Runner(self.ledger, self.executor, self.outbox, self.clock, forget_every=0.02)
        self.reads = Reads(self.connection, self.executor)

    def job(self, effect: Effect = Effect.CONVERGE, **more: Any) -> Job:
        """Return a job for this node, which expires in an hour unless `more` says otherwise."""
        now = time.time()
        fields = {"created": now, "expires": now + 3600, "target": "node-1", **more}
        name = f"test.{effect.value}"
        return Job(new_id(), name, {}, caller="tests", effect=effect.value, **fields)

    def release(self, job: Job, **more: Any) -> Release:
        """Return the release of a job to this node; `more` are fields of it."""
        fields = {"expires": job.expires, **more}
        return Release(job.id, "machine-1", time.time(), job=job, **fields)

    def take(self, job: Job, **more: Any) -> Release:
        """Give a job to the runner, as it is released."""
        release = self.release(job, **more)
        self.runner.take(release)
        return release

    def cancel(self, job: Job, caller: str = "ann") -> None:
        """Have the runner cancel a job."""
        now = time.time()
        order = Cancellation(job.id, "machine-1", caller, now, job.created, job.expires)
        self.runner.cancel(order)

    def ends(self, job: Job) -> list[tuple[str, str | None]]:
        """Return the kinds and errors of the events of a job that the controllers have stored."""
        return self.controllers.ends(job.id)


@pytest.fixture
async def middle(tmp_path: Path, body: Body) -> Any:
    made = Middle(tmp_path / "ledger.sqlite")
    with made.ledger:
        yield made
        await made.runner.close()
        await made.outbox.close()
