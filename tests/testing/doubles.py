"""A connection and providers that fail when a test says so."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tests.testing.controllers import Controllers
from tests.testing.signing import VERIFIER
from towline.agent.asking import Controllers as Believed
from towline.agent.provider import Task
from towline.broker.client import ServerClient
from towline.broker.clock import Clock
from towline.broker.connection import Connection
from towline.broker.listener import Received
from towline.broker.settings import Settings
from towline.errors import BrokerUnreachable
from towline.trust.signing import Verifier, answer_to


class _Subscription(Subscription):
    async def unsubscribe(self, limit: int = 0) -> None:
        """Do nothing: there is no server."""


Callback = Callable[[Msg], None]


class ConnectionDouble(Connection):
    """A connection to controllers without a broker.

    Attributes:
        there: whether it is connected.
        failing: raised for every request while it is set; for those of one job if `failing_job` is.
        gate: requests are answered while it is set.
        junk: returns what is answered in place of what the controllers say, where it is set, given
            what an answer is signed for.
        requests: how many were answered.
        faults: raised one after another for whoever wants the client.
        published: what was published, with its subject.
    """

    def __init__(self, controllers: Controllers | None = None) -> None:
        super().__init__(Settings(["nats://127.0.0.1:1"]), "tests")
        self.controllers = controllers or Controllers()
        self.there = True
        self.failing: Exception | None = None
        self.failing_job: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.requests = 0
        self.junk: Callable[[bytes], bytes] | None = None
        self.faults: list[Exception] = []
        self.callbacks: dict[str, Callback] = {}
        self.published: list[tuple[str, bytes]] = []

    @property
    def connected(self) -> bool:
        return self.there

    async def client(self, timeout: float | None = None) -> ServerClient:
        if self.faults:
            raise self.faults.pop()
        async with asyncio.timeout(timeout):
            while not self.there:
                await asyncio.sleep(0.005)
        return cast(ServerClient, self)

    async def lost(self) -> None:
        while self.there:
            await asyncio.sleep(0.005)

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Msg:
        await self.gate.wait()
        if not self.there:
            raise AWAY
        if self.failing is not None and (self.failing_job or "").encode() in payload:
            raise self.failing
        self.requests += 1
        reply = f"_INBOX.tests.{self.requests}"
        answer = self.controllers.receive(subject, payload, reply)
        if answer is None:
            raise AWAY
        if self.junk is not None:
            answer = self.junk(answer_to(subject, payload, reply))
        return Msg(cast(Client, self), reply, data=answer)

    async def listen(self, subject: str, receive: Callback, queue: str = "") -> Subscription:
        """Subscribe, as a client does it."""
        self.callbacks[subject] = receive
        return _Subscription(cast(Client, self), subject=subject)

    async def flush(self) -> None:
        """Wait for nothing: there is no server."""

    async def deliver(self, received: Received) -> None:
        """Have whoever has subscribed to a subject receive a message."""
        message = Msg(cast(Client, self), received.subject, received.reply, received.data)
        self.callbacks[received.subject](message)

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        if self.there:
            self.published.append((subject, payload))
            self.controllers.receive(subject, payload)


def believed(
    connection: Connection,
    machine: str,
    clock: Clock | None = None,
    verifier: Verifier = VERIFIER,
) -> Believed:
    """Return the controllers as the agent of a machine knows them, by the tests' key or others."""
    return Believed(connection, machine, clock or Clock(), verifier)


AWAY = BrokerUnreachable("The broker is out of reach.", "a test says so")


class ProviderDouble:
    """A provider of a capability that works, or not, as a test says.

    Attributes:
        fault: raised when it is probed.
        probes: how often it was probed.
        hangs: whether a probe never ends.
        served: the tasks for which it was asked.
    """

    def __init__(self, capability: str = "docker") -> None:
        self.capability = capability
        self.offered = True
        self.trouble = ""
        self.fault: Exception | None = None
        self.hangs = False
        self.probes = 0
        self.closed = False
        self.served: list[Task] = []

    async def probe(self) -> None:
        self.probes += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault

    def serve(self, task: Task) -> Any:
        self.served.append(task)
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
