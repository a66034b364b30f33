"""A broker, a journal and providers that fail when a test says so."""

import asyncio
from typing import Any, cast

from towline.agent.provider import Task
from towline.broker.clock import Clock
from towline.broker.connection import Connection
from towline.broker.journal import Journal
from towline.errors import BrokerUnreachable
from towline.wire.event import Event


class BrokerDouble:
    """As much of a connection as parts look at beside the journal."""

    def __init__(self) -> None:
        self.connected = True
        self.clock = Clock()


class JournalDouble(Journal):
    """A journal in memory.

    Attributes:
        events: what was stored, in this order.
        failing: raised for every event while it is set; for those of one job if `failing_job` is.
        gate: events are stored while it is set.
    """

    def __init__(self) -> None:
        self.double = BrokerDouble()
        super().__init__(cast(Connection, self.double))
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


async def turns(count: int = 20) -> None:
    """Let everything that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)
