"""A follower yields all of a stream in order, whatever becomes of the consumer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.relay import Relay
from tests.testing.stream import (
    STREAM,
    Following,
    consumers,
    delete_consumers,
    ephemeral,
    fill,
    make_stream,
    until,
)
from towline.broker.jetstream import JetStream


async def test_a_follower_yields_all_that_is_there_and_all_that_comes_in_order(
    jetstream: JetStream,
) -> None:
    await asyncio.gather(*(fill(jetstream, number, number) for number in range(1200)))
    async with Following(ephemeral(jetstream)) as following:
        await fill(jetstream, 1200, 1210)
        await following.until(1210)
    assert sorted(following.numbers) == list(range(1211))
    assert [message.sequence for message in following.messages] == list(range(1, 1212))
    assert following.messages[0].pending == 1199
    assert following.messages[-1].pending == 0
    assert {message.subject for message in following.messages} == {"t.a"}


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3, 4]), (2, [3, 4])])
async def test_a_follower_begins_where_it_is_asked_to(
    jetstream: JetStream, after: int, expected: list[int]
) -> None:
    await fill(jetstream, 1, 3)
    async with Following(ephemeral(jetstream, after=after)) as following:
        await fill(jetstream, 4, 4)
        await following.until(4)
    assert following.numbers == expected


async def test_the_newest_message_of_each_subject_comes_first_and_again_after_an_interruption(
    jetstream: JetStream, relay: Relay
) -> None:
    for number, subject in enumerate(["t.a", "t.b", "t.a", "t.b"]):
        await jetstream.append(subject, b"%d" % number)
    follower = ephemeral(jetstream, newest=True)
    async with Following(follower) as following:
        await following.until(3)
        assert following.numbers == [2, 3]
        relay.cut()
        await until(lambda: following.numbers[2:] == [2, 3], "the newest once more")
        await jetstream.append("t.a", b"4", timeout=30)
        await following.until(4)
    assert following.numbers == [2, 3, 2, 3, 4]


async def test_a_follower_waits_for_its_stream(observer: JetStream) -> None:
    follower = ephemeral(observer)
    following = Following(follower)
    with capture_logs() as logs:
        entering = asyncio.create_task(following.__aenter__())
        await until(lambda: len(logs) >= 3, "three attempts")
        assert not follower.ready.is_set()
        await make_stream(observer)
        await entering
    await fill(observer, 1, 1)
    await following.until(1)
    await following.__aexit__()


async def disturb_relay(jetstream: JetStream, broker: Broker, relay: Relay) -> None:
    relay.cut()


async def disturb_stall(jetstream: JetStream, broker: Broker, relay: Relay) -> None:
    relay.stall()


async def disturb_broker(jetstream: JetStream, broker: Broker, relay: Relay) -> None:
    broker.process.kill()
    await asyncio.to_thread(broker.start)


async def disturb_consumer(jetstream: JetStream, broker: Broker, relay: Relay) -> None:
    await delete_consumers(jetstream)


@pytest.mark.parametrize(
    "disturb", [disturb_relay, disturb_stall, disturb_broker, disturb_consumer]
)
async def test_a_follower_goes_on_after_any_disturbance_and_misses_nothing(
    jetstream: JetStream,
    observer: JetStream,
    broker: Broker,
    relay: Relay,
    disturb: Callable[[JetStream, Broker, Relay], Awaitable[None]],
) -> None:
    async with Following(ephemeral(jetstream)) as following:
        filling = asyncio.create_task(fill(observer, 1, 600))
        for number in (100, 300, 500):
            await following.until(number)
            await disturb(observer, broker, relay)
        await filling
        await following.until(*range(1, 601))
    assert following.numbers == list(range(1, 601))


async def test_two_interruptions_in_one_moment_are_as_good_as_one(
    jetstream: JetStream, observer: JetStream, relay: Relay
) -> None:
    async with Following(ephemeral(jetstream)) as following:
        await fill(observer, 1, 50)
        await following.until(50)
        await delete_consumers(observer)
        relay.cut()
        await fill(observer, 51, 100)
        await following.until(100)
        relay.cut()
        await delete_consumers(observer)
        await fill(observer, 101, 150)
        await following.until(*range(1, 151))
    assert following.numbers == list(range(1, 151))


@pytest.mark.parametrize("after", [0, 2])
async def test_of_a_stream_that_was_made_anew_all_is_yielded(
    jetstream: JetStream, observer: JetStream, after: int
) -> None:
    await fill(observer, 1, 2)
    async with Following(ephemeral(jetstream, after=after)) as following:
        await fill(observer, 3, 20)
        await following.until(20)
        await observer.call(f"STREAM.DELETE.{STREAM}")
        await make_stream(observer)
        await fill(observer, 31, 33)
        await following.until(33)
    assert [number for number in following.numbers if number > 30] == [31, 32, 33]


async def test_of_a_stream_that_lost_its_end_all_that_comes_is_yielded(
    jetstream: JetStream, observer: JetStream
) -> None:
    await fill(observer, 1, 3)
    async with Following(ephemeral(jetstream, after=20)) as following:
        await fill(observer, 4, 5)
        await following.until(5)
    assert following.numbers == [4, 5]


async def test_a_silent_consumer_is_noticed_while_the_connection_is_well(
    jetstream: JetStream, observer: JetStream, relay: Relay
) -> None:
    """The broker's signs of life are missed where its pings are answered."""
    async with Following(ephemeral(jetstream)) as following:
        await fill(observer, 1, 1)
        await following.until(1)
        client = await jetstream.connection.client()
        # All that the consumer is owed goes to nobody from now on.
        for subscription in list(client._subs.values()):
            if subscription.subject.startswith("_INBOX") and "*" not in subscription.subject:
                await subscription.unsubscribe()
        await fill(observer, 2, 3)
        with capture_logs() as logs:
            await following.until(3)
    assert following.numbers == [1, 2, 3]
    assert relay.accepted == 1
    assert "no sign of life from the consumer" in [entry["event"] for entry in logs]


@pytest.mark.parametrize("reply", ["", "nowhere", "a.b.c.d.1.x.1.1.1"])
async def test_what_no_consumer_delivers_ends_nothing(jetstream: JetStream, reply: str) -> None:
    async with Following(ephemeral(jetstream)) as following:
        await fill(jetstream, 1, 1)
        await following.until(1)
        inbox = (await subscription(jetstream, following.messages[0].origin)).subject
        with capture_logs() as logs:
            await (await jetstream.connection.client()).publish(inbox, b"7", reply=reply)
            await fill(jetstream, 2, 600)
            await following.until(*range(2, 601))
        assert following.follower.sessions == 1
    assert following.numbers == list(range(1, 601))
    assert "delivery not readable" in [entry["event"] for entry in logs]


@pytest.mark.parametrize("ticks", range(4))
async def test_a_follower_that_is_cancelled_as_a_message_arrives_ends(
    jetstream: JetStream, ticks: int
) -> None:
    async with Following(ephemeral(jetstream)) as following:
        await fill(jetstream, 1, 1)
        await following.until(1)
        message = following.messages[0].origin
        (await delivery(jetstream, message))(message)
        for _ in range(ticks):
            await asyncio.sleep(0)
        following.task.cancel()
        await until(following.task.done, "the end of the follower")


async def delivery(jetstream: JetStream, message: Msg) -> Callable[[Msg], None]:
    """Return what is called with each message of the subscription that brought this one."""
    client = await jetstream.connection.client()
    return client._receivers[message.sid]


async def subscription(jetstream: JetStream, message: Msg) -> Any:
    client = await jetstream.connection.client()
    assert message._sid is not None
    return client._subs[message._sid]


async def test_a_delivery_that_is_lost_on_the_way_is_asked_for_again(
    jetstream: JetStream,
) -> None:
    async with Following(ephemeral(jetstream)) as following:
        await fill(jetstream, 1, 1)
        await following.until(1)
        message = following.messages[0].origin
        deliver = await delivery(jetstream, message)

        def lose(message: Msg) -> None:
            if message.data != b"2":
                deliver(message)

        (await jetstream.connection.client())._receivers[message.sid] = lose
        await fill(jetstream, 2, 4)
        await following.until(4)
    assert following.numbers == [1, 2, 3, 4]


async def test_a_lost_connection_is_noticed_before_any_sign_of_life_is_missed(
    jetstream: JetStream, relay: Relay
) -> None:
    patient = ephemeral(jetstream, heartbeat=600.0, pull_expires=3600.0)
    async with Following(patient) as following:
        await fill(jetstream, 1, 1)
        await following.until(1)
        relay.cut()
        await fill(jetstream, 2, 2)
        await following.until(2)


async def test_signs_of_life_and_the_end_of_a_request_leave_the_consumer_as_it_is(
    jetstream: JetStream,
) -> None:
    follower = ephemeral(jetstream, heartbeat=0.1, pull_expires=0.5)
    client = await jetstream.connection.client()
    with capture_logs() as logs:
        async with Following(follower) as following:
            before, received = await consumers(jetstream), client.stats["in_msgs"]
            await until(lambda: client.stats["in_msgs"] >= received + 15, "signs of life")
            assert await consumers(jetstream) == before
            await fill(jetstream, 1, 600)
            await following.until(600)
            assert await consumers(jetstream) == before
    assert following.numbers == list(range(1, 601))
    assert not logs


async def test_a_follower_that_is_left_leaves_no_subscription(jetstream: JetStream) -> None:
    client = await jetstream.connection.client()
    before = len(client._subs)
    for _ in range(3):
        async with Following(ephemeral(jetstream)) as following:
            await fill(jetstream, 1, 1)
            await following.until(1)
    await until(lambda: len(client._subs) <= before + 1, "the end of the subscriptions")
