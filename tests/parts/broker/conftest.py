"""A broker, a relay before it, and connections to it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.testing.broker import Broker
from tests.testing.relay import Relay
from tests.testing.stream import make_stream
from towline.broker import connection as broker_module
from towline.broker import consumer as follower_module
from towline.broker.connection import Connection
from towline.broker.settings import Settings


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice silence sooner than is good elsewhere."""
    monkeypatch.setattr(broker_module, "PING_INTERVAL", 0.3)
    monkeypatch.setattr(broker_module, "LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(follower_module, "HEARTBEAT", 0.5)


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
    async with Connection(Settings([relay.url], broker.credentials), "tests") as connection:
        await make_stream(connection)
        yield connection


@pytest.fixture
async def observer(broker: Broker) -> AsyncIterator[Connection]:
    """A connection that nothing is done to unless it is done to the broker."""
    async with Connection(Settings([broker.url], broker.credentials), "observer") as observer:
        yield observer
