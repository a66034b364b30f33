"""A node notices that its broker is gone, whatever it was about to say."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.testing.broker import Broker
from tests.testing.controllers import Controllers, attached
from tests.testing.doubles import ProviderDouble, believed
from tests.testing.relay import Relay
from tests.testing.stream import connect, until
from towline.agent.capabilities import Capabilities
from towline.agent.heartbeat import Heartbeats
from towline.agent.host.facts import gather
from towline.agent.host.survey import Survey
from towline.agent.ledger import Ledger
from towline.agent.questions import ControllerQuestions
from towline.broker.connection import Connection
from towline.broker.settings import Settings

INTERVAL = 600.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


@contextlib.asynccontextmanager
async def heartbeats(
    connection: Connection, path: Path, subscribed: asyncio.Event
) -> AsyncIterator[Heartbeats]:
    """Heartbeats that are sent hardly ever."""

    async def until_subscribed() -> None:
        await subscribed.wait()

    async def taken() -> None:
        pass

    controllers = believed(connection, "a")
    with Ledger(path) as ledger:
        made = Heartbeats(
            connection,
            "a",
            "host-a",
            [],
            start="0123456789abcdef",
            after="",
            controllers=controllers,
            questions=ControllerQuestions(controllers, "a"),
            ledger=ledger,
            capabilities=Capabilities(ledger, [ProviderDouble()], lambda: None),
            survey=Survey(gather, lambda: None),
            running_tasks=lambda: 0,
            public_key="a2V5",
            subscribed=until_subscribed,
            taken=taken,
            interval=INTERVAL,
            send_within=0.2,
        )
        running = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            running.cancel()
            await asyncio.wait([running])


async def fill(connection: Connection) -> None:
    """Publish until there is no room."""
    for _ in range(64):
        await connection.publish("much", bytes(1024 * 1024))


@pytest.mark.parametrize("state", ["not subscribed", "not registered", "beating", "without room"])
async def test_a_node_notices_that_its_broker_is_gone(
    broker: Broker, tmp_path: Path, state: str
) -> None:
    controllers, subscribed = Controllers(), asyncio.Event()
    controllers.interval = INTERVAL
    if state != "not subscribed":
        subscribed.set()
    async with contextlib.AsyncExitStack() as stack:
        if state != "not registered":
            await stack.enter_async_context(attached(broker, controllers))
        relay = await stack.enter_async_context(Relay(broker.port))
        connection = await stack.enter_async_context(
            connect(Settings([relay.url], broker.logins.agents))
        )
        made = await stack.enter_async_context(
            heartbeats(connection, tmp_path / "ledger.sqlite", subscribed)
        )
        client = await connection.client()
        if state in ("beating", "without room"):
            # The answer to what is sent with the first one.
            await until(lambda: made.sent.is_set() and client._pongs_received > 0, "a heartbeat")
        relay.stall()
        if state == "without room":
            filling = asyncio.create_task(fill(connection))
            await asyncio.sleep(0.1)
            assert not filling.done()
        made.send_now()
        await until(lambda: relay.accepted == 2, "another connection")


async def test_a_node_leaves_also_where_there_is_no_room_to_say_so(
    broker: Broker, tmp_path: Path
) -> None:
    subscribed = asyncio.Event()
    async with (
        Relay(broker.port) as relay,
        connect(Settings([relay.url], broker.logins.agents), ping_interval=60.0) as connection,
        heartbeats(connection, tmp_path / "ledger.sqlite", subscribed) as made,
    ):
        await connection.client()
        relay.stall()
        filling = asyncio.create_task(fill(connection))
        await asyncio.sleep(0.1)
        assert not filling.done()
        await asyncio.wait_for(made.close(), 10)
