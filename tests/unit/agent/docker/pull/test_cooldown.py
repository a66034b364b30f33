"""Rests of registries, where the broker can't be told of them."""

from typing import Any

import pytest

from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.cooldown import Rests
from towline.agent.docker.pull.faults import Fault, Kind
from towline.agent.docker.pull.order import Order
from towline.broker.clock import Clock
from towline.broker.jetstream import NO_MESSAGE, BrokerRefused
from towline.errors import BrokerUnreachable
from towline.wire.reference import Reference

FAULT = Fault(Kind.RESTING, "toomanyrequests", 30.0)


class Broker:
    """A broker that stores nothing, and has nothing where it answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.connected = False

    async def call(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise BrokerRefused(NO_MESSAGE, "no message found")

    async def append(self, *_: Any, last: int, **__: Any) -> int:
        assert last >= 0
        raise BrokerUnreachable("The broker is out of reach.", "it is stopped")


def attempt() -> Attempt:
    return Attempt(Order(Reference.parse("registry.example/app:1")), 1, lambda *_: None)


@pytest.mark.parametrize("back", [False, True])
async def test_a_node_that_can_tell_nobody_keeps_the_rest_by_itself(back: bool) -> None:
    broker = Broker()
    rests = Rests(broker, "web-01")  # type: ignore[arg-type]
    refused = attempt()
    await rests.ready(refused)
    await rests.failed(refused, FAULT)
    broker.connected = back
    found = await rests._find("registry.example")
    assert found is not None
    assert found[0].until - broker.clock.now() == pytest.approx(30.0, abs=2.0)
    assert not rests.allows(attempt())


async def test_a_second_refusal_makes_that_rest_longer() -> None:
    rests = Rests(Broker(), "web-01")  # type: ignore[arg-type]
    await rests.failed(attempt(), FAULT)
    again = attempt()
    first = await rests._find("registry.example")
    assert first is not None
    again.rested = first[1]
    await rests.failed(again, FAULT)
    second = await rests._find("registry.example")
    assert second is not None
    assert (second[0].row, second[1] != first[1]) == (2, True)
