"""Requests end with the answer, in time, or with the connection."""

import asyncio

import pytest
from nats.aio.msg import Msg

from tests.testing.broker import Broker
from tests.testing.relay import Relay
from tests.testing.stream import (
    STREAM,
    connect,
    until,
)
from towline.broker.answers import BrokerRefused
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.errors import BrokerUnreachable

STREAM_NOT_FOUND = 10059


async def test_an_answer_that_is_an_error_has_its_number(jetstream: JetStream) -> None:
    with pytest.raises(BrokerRefused, match="stream not found") as refused:
        await jetstream.call("STREAM.INFO.NOWHERE")
    assert refused.value.number == STREAM_NOT_FOUND


async def test_a_request_that_nobody_answers_ends_in_time(
    jetstream: JetStream, relay: Relay
) -> None:
    relay.deafen()
    with pytest.raises(BrokerUnreachable, match="timeout"):
        await jetstream.call(f"STREAM.INFO.{STREAM}", timeout=0.1)


async def test_a_request_for_which_there_is_no_room_ends_in_time(
    broker: Broker, relay: Relay
) -> None:
    async with connect(Settings([relay.url], broker.credentials), ping_interval=60.0) as connection:
        await connection.client()
        relay.stall()
        filling = asyncio.create_task(connection.publish("much", bytes(1024 * 1024)))
        while (await asyncio.wait([filling], timeout=0.2))[0]:
            filling = asyncio.create_task(connection.publish("much", bytes(1024 * 1024)))
        with pytest.raises(BrokerUnreachable, match="timeout"):
            await asyncio.wait_for(connection.request("question", b"well?", timeout=0.1), 30)
        assert not filling.done()


async def test_a_request_that_is_cancelled_is_cancelled(jetstream: JetStream, relay: Relay) -> None:
    relay.deafen()
    asking = asyncio.create_task(jetstream.call(f"STREAM.INFO.{STREAM}", timeout=60))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asking.cancelled()


@pytest.mark.parametrize("ticks", range(8))
async def test_a_request_that_is_cancelled_as_its_answer_arrives_is_cancelled(
    jetstream: JetStream, ticks: int
) -> None:
    client = await jetstream.connection.client()
    for _ in range(10):
        received = client.stats["in_msgs"]
        asking = asyncio.create_task(jetstream.call("INFO"))
        while client.stats["in_msgs"] == received:
            await asyncio.sleep(0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        if asking.cancel():
            await asyncio.wait([asking])
            assert asking.cancelled()


async def test_what_was_asked_over_a_connection_that_is_lost_fails_at_once(
    jetstream: JetStream, relay: Relay
) -> None:
    relay.deafen()
    asking = [
        asyncio.create_task(jetstream.call(f"STREAM.INFO.{STREAM}", timeout=3600)) for _ in range(3)
    ]
    await asyncio.sleep(0)
    relay.cut()
    for task in asking:
        with pytest.raises(BrokerUnreachable):
            await asyncio.wait_for(task, 60)


async def test_what_is_published_without_a_connection_is_dropped(
    jetstream: JetStream, broker: Broker
) -> None:
    broker.stop()
    await until(lambda: not jetstream.connection.connected, "the loss noticed")
    await jetstream.connection.publish("t.a", b"1")


async def test_what_is_published_can_be_answered_where_it_says(
    connection: Connection, observer: JetStream
) -> None:
    answered = asyncio.Event()

    async def answer(message: Msg) -> None:
        await observer.connection.publish(message.reply, b"yes")

    async def receive(message: Msg) -> None:
        answered.set()

    there = await observer.connection.client()
    await there.subscribe("question", cb=answer)
    await there.flush()
    await (await connection.client()).subscribe("replies", cb=receive)
    await connection.publish("question", b"well?", "replies")
    await asyncio.wait_for(answered.wait(), 60)


async def test_nobody_can_foretell_where_a_request_is_answered(broker: Broker) -> None:
    async with connect(Settings([broker.url], broker.credentials)) as connection:
        client = await connection.client()
        found: list[str] = []

        async def receive(message: Msg) -> None:
            found.append(message.reply.rpartition(".")[2])
            await message.respond(b"yes")

        await client.subscribe("question", cb=receive)
        await asyncio.gather(*(connection.request("question", b"well?") for _ in range(20)))
    assert len({token[:10] for token in found}) == len({token[10:20] for token in found}) == 20
