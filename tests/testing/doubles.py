"""A broker, a journal and providers that fail when a test says so."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from towline.agent.delivery import Claims, Delivery

from towline.agent.provider import Task
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal
from towline.broker.settings import Settings
from towline.errors import BrokerUnreachable
from towline.wire.event import Event
from towline.wire.job import Job


class ConnectionDouble(Connection):
    """A connection that is always there, and that nothing is asked over."""

    def __init__(self) -> None:
        super().__init__(Settings(["nats://127.0.0.1:1"]), "tests")

    @property
    def connected(self) -> bool:
        return True


class JournalDouble(Journal):
    """A journal in memory.

    Attributes:
        events: what was stored, in this order.
        failing: raised for every event while it is set; for those of one job if `failing_job` is.
        gate: events are stored while it is set.
    """

    def __init__(self) -> None:
        super().__init__(JetStream(ConnectionDouble()))
        self.events: list[Event] = []
        self.failing: Exception | None = None
        self.failing_job: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def add_event(self, event: Event, *, timeout: float = 5.0) -> None:
        await self.gate.wait()
        if self.failing is not None and self.failing_job in (None, event.job):
            raise self.failing
        self.events.append(event)

    @property
    def jobs(self) -> list[str]:
        """The jobs of the events."""
        return [event.job for event in self.events]


AWAY = BrokerUnreachable("The broker is out of reach.", "a test says so")


class ProviderDouble:
    """A provider of a capability that works, or not, as a test says.

    Attributes:
        fault: raised when it is probed.
        probes: how often it was probed.
        hangs: whether a probe never ends.
    """

    def __init__(self, capability: str = "docker") -> None:
        self.capability = capability
        self.offered = True
        self.trouble = ""
        self.fault: Exception | None = None
        self.hangs = False
        self.probes = 0
        self.closed = False

    async def probe(self) -> None:
        self.probes += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault

    def serve(self, task: Task) -> Any:
        return self

    async def close(self) -> None:
        self.closed = True
        if self.fault is not None:
            raise self.fault


async def until(holds: Callable[[], object]) -> None:
    """Wait until something has come about."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


class DeliveryDouble(Delivery):
    """A delivery that a test decides about.

    Attributes:
        acknowledged, refused: how often it was.
        leave_given: what the node is answered when it asks for leave.
        canceller: who has cancelled the job while it waited.
        asks: set once leave was asked for.
    """

    def __init__(self, job: Job, *, needs_leave: bool = False) -> None:
        super().__init__(job, cast(Claims, None))
        self._needs_leave = needs_leave
        self.acknowledged = 0
        self.refused = 0
        self.leave_given = True
        self.canceller: str | None = None
        self.asks = asyncio.Event()

    @property
    def needs_leave(self) -> bool:
        return self._needs_leave

    async def leave(self) -> bool:
        self.asks.set()
        return self.leave_given

    async def cancelled_by(self) -> str | None:
        return self.canceller

    async def acknowledge(self) -> None:
        self.acknowledged += 1

    async def refuse(self) -> None:
        self.refused += 1

    async def extend(self) -> None:
        await asyncio.Event().wait()
