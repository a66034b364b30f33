"""A controller and an agent in this process, on a real broker, and who means them harm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs

from tests.testing.broker import Broker, Logins
from tests.testing.messages import MACHINE, OTHER
from tests.testing.operations import Done, registered
from tests.testing.own_broker import OwnBroker
from tests.testing.signing import SIGNER, VERIFIER
from towline.agent.agent import Agent
from towline.agent.host.provider import HostProvider
from towline.agent.ledger import Ledger
from towline.agent.trust_files import TrustFiles
from towline.broker.connection import Connection
from towline.broker.journal import Retention
from towline.broker.seal import Seal
from towline.broker.settings import Settings
from towline.broker.settings import login as how_to_log_in
from towline.controller.controller import Controller
from towline.controller.jobs.index import Index
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submission import Submission
from towline.controller.options import Options
from towline.controller.permissions import Bounds
from towline.controller.token_keys import TokenKeys
from towline.operation import Effect, catalog
from towline.runtime.keys import KEY_BYTES, NodeKey, Vault
from towline.trust.keys import JOURNAL_LOGIN, NODES_LOGIN
from towline.wire.target import ALL

ALLOWED_LINES = 60
"""Lines that the log may have grown by, however many messages there were."""
BROKEN = ("broke off", "part ended", "not processed", "not folded", "not taken", "not stored")
"""What the log says where something was not expected."""


class Work:
    """What nodes do: it is counted, and held back while a test wants that."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self, node: Any) -> Done:
        """Run one task."""
        self.ran.append(node.job.id)
        await self.free.wait()
        return Done()


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    """The operations `test.read` and `test.converge`."""
    work = Work()

    async def run(node: Any) -> Done:
        return await work(node)

    with registered(run, Effect.CONVERGE, Effect.READ):
        yield work


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged."""
    with capture_logs() as logs:
        yield logs


class System:
    """A controller and an agent at work.

    Attributes:
        broker: what they talk through.
        logs: what they have logged.
        directory: holds the index and the ledger.
        keys: sign the tokens that the controller takes.
        seal: marks what the controller stores.
    """

    def __init__(
        self, broker: Broker, work: Work, logs: list[MutableMapping[str, Any]], directory: Path
    ) -> None:
        self.broker = broker
        self.work = work
        self.logs = logs
        self.directory = directory
        self.keys = TokenKeys([os.urandom(32)])
        self.seal = Seal()

    @property
    def logins(self) -> Logins | OwnLogins:
        """What the parts log in with."""
        return self.broker.logins

    def settings(self, login: Path) -> Settings:
        """Return how somebody with a login reaches the broker."""
        return Settings([self.broker.url], login)

    @contextlib.asynccontextmanager
    async def controller(self) -> AsyncIterator[Controller]:
        """Run a controller."""
        journal, nodes = self.settings(self.logins.credentials), self.settings(self.logins.nodes)
        options = Options(
            host="127.0.0.1",
            port=0,
            broker=journal,
            nodes=nodes,
            index=self.directory / "index.sqlite",
            keys=self.keys,
            signer=SIGNER,
            vault=Vault([os.urandom(KEY_BYTES)], self.directory / "key"),
            roles={},
            wait=10.0,
            longest_wait=60.0,
            expires=3600.0,
            retention=Retention(size=256 * 1024**2),
            heartbeat=0.5,
            seal=self.seal,
        )
        with Index(options.index) as index:
            async with Connection(journal, "journal") as one, Connection(nodes, "nodes") as other:
                controller = Controller(options, one, other, index)
                async with self._while(controller.run()):
                    async with asyncio.timeout(60):
                        await controller.ready()
                    yield controller

    @contextlib.asynccontextmanager
    async def agent(self, **more: Any) -> AsyncIterator[Agent]:
        """Run an agent."""
        with Ledger(self.directory / "ledger.sqlite") as ledger:
            settings = self.settings(self.logins.agents)
            agent = Agent(
                settings,
                ledger,
                machine=MACHINE,
                hostname="web-01",
                labels=[],
                providers=[HostProvider],
                interval=0.5,
                key=NodeKey(os.urandom(KEY_BYTES)),
                trust=TrustFiles(settings, lambda: VERIFIER),
                **more,
            )
            async with self._while(agent.run()):
                yield agent

    @contextlib.asynccontextmanager
    async def _while(self, part: Any) -> AsyncIterator[None]:
        running = asyncio.create_task(part)
        try:
            yield
            assert not running.done(), "it has ended"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def do(
        self, controller: Controller, effect: str = "converge", wait: float = 60.0
    ) -> JobState:
        """Have all nodes do something."""
        known = catalog.get(f"test.{effect}")
        assert known is not None
        request = Submission(known, {}, ALL, "ann", Bounds("ann", "any", None))
        return await controller.submitter.submit(request, wait=wait)

    async def works(self, controller: Controller) -> None:
        """See that both kinds of operations still work, that one node is known, and the log."""
        for effect in ("converge", "read"):
            # One whose heartbeats were late behind so many messages would not be waited for.
            await here(controller)
            async with asyncio.timeout(60):
                state = await self.do(controller, effect)
            assert {task.status for task in state.tasks.values()} == {"ok"}
        assert [member.machine for member in controller.fleet.members()] == [MACHINE]
        assert [each for each in self.logs if any(word in each["event"] for word in BROKEN)] == []

    @contextlib.asynccontextmanager
    async def client(self, login: Path) -> AsyncIterator[Client]:
        """A connection of somebody else's with a login of these."""
        settings = self.settings(login)
        client = await nats.connect(settings.urls, allow_reconnect=False, **how_to_log_in(settings))
        try:
            yield client
        finally:
            await client.close()


class OwnLogins:
    """Logins of the same names, each part's own: agents have that of `MACHINE`."""

    def __init__(self, broker: OwnBroker, directory: Path) -> None:
        self.credentials, self.nodes = map(broker.trust.path, (JOURNAL_LOGIN, NODES_LOGIN))
        self.agents, self.other = (directory / f"{name}.creds" for name in (MACHINE, OTHER))
        for path in (self.agents, self.other):
            path.touch(0o600)
            path.write_text(broker.trust.node_login(path.stem))


class OwnSystem(System):
    """The same on `towline broker`, where each node has a login of its own.

    Attributes:
        other: the login of another node, `OTHER`.
    """

    def __init__(self, broker: OwnBroker, *more: Any) -> None:
        super().__init__(broker, *more)
        self._own, self._ca = OwnLogins(broker, self.directory), broker.ca
        self.other = self._own.other
        self.seal = Seal(broker.trust.stored_key())

    @property
    def logins(self) -> OwnLogins:
        """What the parts log in with."""
        return self._own

    def settings(self, login: Path) -> Settings:
        """Return how somebody with a login reaches the broker."""
        return Settings([self.broker.url], login, self._ca)


@pytest.fixture
def own_system(
    tmp_path: Path, work: Work, logs: list[MutableMapping[str, Any]]
) -> Iterator[OwnSystem]:
    """A broker of Towline's own, with nobody there yet."""
    with OwnBroker(tmp_path) as broker:
        yield OwnSystem(broker, work, logs, tmp_path)


@pytest.fixture
def system(tmp_path: Path, work: Work, logs: list[MutableMapping[str, Any]]) -> Iterator[System]:
    """A broker, with nobody there yet."""
    with Broker(tmp_path) as broker:
        yield System(broker, work, logs, tmp_path)


async def until(predicate: Callable[[], Any], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 180
    while not predicate():
        assert time.monotonic() < deadline, f"not within three minutes: {what}"
        await asyncio.sleep(0.02)


async def here(controller: Controller) -> None:
    """Wait until the node is here."""
    await until(lambda: controller.fleet.is_here(MACHINE), "the node to be here")
