"""A controller does not start where nodes could see the journal."""

import asyncio

import pytest

from tests.testing.broker import Broker
from tests.testing.stream import connect
from towline.broker.isolation import check_isolated
from towline.broker.settings import Settings
from towline.errors import InvalidConfiguration


async def test_an_account_without_jetstream_is_isolated(broker: Broker) -> None:
    async with connect(Settings([broker.url], broker.logins.nodes)) as nodes:
        await check_isolated(nodes, answers_within=0.5)


async def test_an_account_that_sees_jetstream_is_refused_with_the_mend(broker: Broker) -> None:
    async with connect(Settings([broker.url], broker.credentials)) as nodes:
        with pytest.raises(InvalidConfiguration, match="sees JetStream") as refused:
            await check_isolated(nodes)
    assert "--nodes-credentials" in refused.value.details


async def test_an_agents_login_is_refused_with_the_mend(broker: Broker) -> None:
    async with connect(Settings([broker.url], broker.logins.agents)) as nodes:
        with pytest.raises(InvalidConfiguration, match="may not receive") as refused:
            await check_isolated(nodes, answers_within=0.5)
    assert "not an agent's" in refused.value.details


async def test_nothing_is_sure_while_the_broker_is_away(broker: Broker) -> None:
    broker.stop()
    async with connect(Settings([broker.url], broker.logins.nodes)) as nodes:
        checking = asyncio.create_task(check_isolated(nodes, answers_within=0.5))
        await asyncio.sleep(0.2)
        assert not checking.done()
        await asyncio.to_thread(broker.start)
        async with asyncio.timeout(60):
            await checking
