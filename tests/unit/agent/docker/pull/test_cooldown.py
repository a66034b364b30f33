"""Cooldowns of registries, where they can't be stored."""

from typing import Any

import pytest

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.cooldown import Cooldowns
from towline.agent.docker.pull.faults import Fault
from towline.agent.docker.pull.order import Order
from towline.broker.answers import NO_MESSAGE, BrokerRefused
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.errors import BrokerUnreachable
from towline.wire.reference import Reference

FAULT = Fault(Kind.BUSY, "toomanyrequests", 30.0)


class Away(Connection):
    """A connection that is there, or not, as a test says."""

    there = False

    @property
    def connected(self) -> bool:
        return self.there


class Broker(JetStream):
    """A broker that stores nothing, and has nothing where it answers."""

    def __init__(self) -> None:
        self.away = Away(Settings(["nats://127.0.0.1:1"]), "tests")
        super().__init__(self.away)

    async def call(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise BrokerRefused(NO_MESSAGE, "no message found")

    async def append(self, *_: Any, last: int | None = None, **__: Any) -> int:
        assert last is not None
        assert last >= 0
        raise BrokerUnreachable("The broker is out of reach.", "it is stopped")


def attempt() -> Attempt:
    return Attempt(Order(Reference.parse("registry.example/app:1")), 1, lambda *_: None)


@pytest.mark.parametrize("back", [False, True])
async def test_a_node_that_can_not_store_a_cooldown_keeps_it_by_itself(back: bool) -> None:
    broker = Broker()
    cooldowns = Cooldowns(broker, "web-01")
    refused = attempt()
    await cooldowns.ready(refused)
    await cooldowns.failed(refused, FAULT)
    broker.away.there = back
    found = await cooldowns._find("registry.example")
    assert found is not None
    assert found[0].until - broker.clock.now() == pytest.approx(30.0, abs=2.0)
    assert not cooldowns.allows(attempt())


async def test_a_second_refusal_makes_that_cooldown_longer() -> None:
    cooldowns = Cooldowns(Broker(), "web-01")
    await cooldowns.failed(attempt(), FAULT)
    again = attempt()
    first = await cooldowns._find("registry.example")
    assert first is not None
    again.cooldown = first[1]
    await cooldowns.failed(again, FAULT)
    second = await cooldowns._find("registry.example")
    assert second is not None
    assert (second[0].row, second[1] != first[1]) == (2, True)
