"""A broker, a relay before it, and connections to it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.testing.broker import Broker
from tests.testing.relay import Relay
from tests.testing.stream import connect, make_stream
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def relay(broker: Broker) -> AsyncIterator[Relay]:
    async with Relay(broker.port) as relay:
        yield relay


@pytest.fixture
async def connection(broker: Broker, relay: Relay) -> AsyncIterator[Connection]:
    """A connection through the relay, to a broker that has the stream."""
    async with connect(Settings([relay.url], broker.credentials), "tests") as connection:
        await make_stream(JetStream(connection))
        yield connection


@pytest.fixture
def jetstream(connection: Connection) -> JetStream:
    """What is stored, over the connection through the relay."""
    return JetStream(connection)


@pytest.fixture
async def observer(broker: Broker) -> AsyncIterator[JetStream]:
    """What is stored, over a connection that nothing is done to unless it is done to the broker."""
    async with connect(Settings([broker.url], broker.credentials), "observer") as connection:
        yield JetStream(connection)
