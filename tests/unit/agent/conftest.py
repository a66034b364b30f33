"""An agent's middle, from the ledger to the outbox, without a broker."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.testing.doubles import DeliveryDouble, JournalDouble, ProviderDouble
from towline.agent.capabilities import Capabilities
from towline.agent.executor import Executor
from towline.agent.ledger import Ledger
from towline.agent.node import Node
from towline.agent.outbox import Outbox
from towline.agent.progress import ProgressSender
from towline.agent.reads import Reads
from towline.agent.runner import Runner
from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.operation import Effect, catalog, operation
from towline.wire.job import Job, new_id


class Done(msgspec.Struct):
    """What the operations of these tests return."""

    what: Any = None
    changed: bool = False


class Body:
    """What the operations of these tests do: they begin, wait for a gate, and return or raise.

    Attributes:
        do: called with the node at the end; what it returns is in the result.
        begun: how often one was begun.
        gate: they wait for it.
    """

    def __init__(self) -> None:
        self.do: Callable[[Any], Any] = lambda node: None
        self.begun = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, node: Any) -> Done:
        """Run one."""
        self.begun += 1
        await self.gate.wait()
        return Done(self.do(node))


@pytest.fixture
def body() -> Iterator[Body]:
    made = Body()

    async def work(node: Any) -> Done:
        return await made.run(node)

    for effect in Effect:
        operation(
            f"test.{effect.value}",
            f"POST test/{effect.value}",
            permission="test:write",
            effect=effect,
            requires="docker",
        )(work)
    yield made
    for effect in Effect:
        catalog.remove(f"test.{effect.value}")


class Middle:
    """The parts between inbox and journal, on a ledger of their own.

    Attributes:
        clock: what the node's clock shows, in seconds since 1970.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = time.time
        self.journal = JournalDouble()
        self.provider = ProviderDouble()
        self.ledger = Ledger(path, retry_every=0.01)
        self.outbox = Outbox(self.journal, self.ledger, retry_every=0.01)
        self.capabilities = Capabilities(self.ledger, [self.provider], lambda: None)
        broker = Connection(Settings(["nats://127.0.0.1:1"]), "tests")
        clock = self.journal.jetstream.clock
        self.executor = Executor(
            Node("machine-1", "node-1", [self.provider]),
            self.capabilities,
            clock,
            self.outbox,
            ProgressSender(broker, "machine-1"),
            announced_after=0.05,
            wall_clock=lambda: self.clock(),
        )
        self.runner = Runner(self.ledger, self.executor, self.outbox, clock)
        self.reads = Reads(self.executor, self.outbox, clock)

    def job(self, effect: Effect = Effect.CONVERGE, **more: Any) -> Job:
        """Return a job for this node, which expires in an hour unless `more` says otherwise."""
        now = time.time()
        fields = {"created": now, "expires": now + 3600, "target": "node-1", **more}
        return Job(new_id(), f"test.{effect.value}", {}, caller="tests", **fields)

    def deliver(self, job: Job) -> DeliveryDouble:
        """Give a job to the runner."""
        delivery = DeliveryDouble(job)
        self.runner.take(delivery)
        return delivery

    def ends(self, job: Job) -> list[tuple[str, str | None]]:
        """Return the kinds and errors of the events of a job, in the journal."""
        return [(event.kind, event.error) for event in self.journal.events if event.job == job.id]


@pytest.fixture
async def middle(tmp_path: Path, body: Body) -> Any:
    made = Middle(tmp_path / "ledger.sqlite")
    with made.ledger:
        yield made
        await made.runner.close()
        await made.outbox.close()
