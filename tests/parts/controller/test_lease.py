"""A lease on a real broker: one controller has it, and another soon after that is gone."""

import asyncio

import pytest

from tests.testing.broker import Broker
from tests.testing.stream import until
from towline.broker.jetstream import JetStream
from towline.controller.rollout.lease import BUCKET, Lease

NAME = "waves"


@pytest.fixture
async def leases(jetstream: JetStream) -> list[Lease]:
    """Two controllers' leases of one name."""
    leases = [Lease(jetstream, NAME, kept=2.0, margin=0.5) for _ in range(2)]
    await leases[0].create(1)
    return leases


async def test_one_controller_has_it_and_renews_it(leases: list[Lease]) -> None:
    one, other = leases
    assert not one.valid
    assert await one.take()
    assert not await other.take()
    assert await one.take()
    assert (one.valid, other.valid) == (True, False)


async def test_of_many_that_take_it_at_once_one_gets_it(jetstream: JetStream) -> None:
    leases = [Lease(jetstream, NAME) for _ in range(20)]
    await leases[0].create(1)
    taken = await asyncio.gather(*(lease.take() for lease in leases))
    assert taken.count(True) == 1
    assert [lease.valid for lease in leases] == taken


async def test_who_does_not_renew_it_counts_it_as_over_before_another_takes_it(
    leases: list[Lease],
) -> None:
    one, other = leases
    assert await one.take()
    while not await other.take():
        await asyncio.sleep(0.05)
    assert not one.valid
    assert not await one.take()


async def test_who_gives_it_back_lets_another_take_it_at_once(leases: list[Lease]) -> None:
    one, other = leases
    assert await one.take()
    await one.give_back()
    assert not one.valid
    assert await other.take()
    await one.give_back()
    assert not await one.take()


async def test_a_controller_that_lost_the_acknowledgement_has_it_all_the_same(
    leases: list[Lease],
) -> None:
    one, _ = leases
    assert await one.take()
    one._sequence = 0
    assert await one.take()


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"holder": 7}'])
async def test_what_can_t_be_read_is_nobody_s_lease(
    leases: list[Lease], own_broker: Broker, data: bytes
) -> None:
    await asyncio.to_thread(own_broker.publish, f"$KV.{BUCKET}.{NAME}", data)
    one, other = leases
    assert await one.take()
    assert not await other.take()


async def test_a_broker_that_is_away_ends_no_controller(
    leases: list[Lease], own_broker: Broker, jetstream: JetStream
) -> None:
    one, other = leases
    assert await one.take()
    await asyncio.to_thread(own_broker.stop)
    await until(lambda: not jetstream.connection.connected, "the loss")
    assert not await other.take()
    await one.give_back()
