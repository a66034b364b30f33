"""A broker of a test's own, and a connection to it as a controller has one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.testing.broker import Broker
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def jetstream(own_broker: Broker) -> AsyncIterator[JetStream]:
    settings = Settings([own_broker.url], own_broker.credentials)
    async with Connection(settings, "tests") as connection:
        yield JetStream(connection)
