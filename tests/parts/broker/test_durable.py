"""A durable follower goes on where the broker knows it to be."""

import asyncio
import contextlib

from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.relay import Relay
from tests.testing.stream import (
    STREAM,
    Following,
    durable,
    fill,
    make_stream,
    until,
    until_answered,
)
from towline.broker.jetstream import JetStream


async def test_preparing_waits_for_the_stream_and_from_then_on_nothing_is_missed(
    observer: JetStream,
) -> None:
    follower = durable(observer, after=None)
    preparing = asyncio.create_task(follower.prepare())
    with capture_logs() as logs:
        await until(lambda: len(logs) >= 2, "two attempts")
    await make_stream(observer)
    await preparing
    await fill(observer, 1, 2)
    async with Following(follower) as following:
        await following.until(2)
    assert following.numbers == [1, 2]


async def test_a_durable_follower_goes_on_where_it_was_in_an_earlier_life(
    jetstream: JetStream,
) -> None:
    await fill(jetstream, 1, 3)
    async with Following(durable(jetstream)) as following:
        await following.until(3)
    await acknowledged(jetstream, 3)
    await fill(jetstream, 4, 5)
    async with Following(durable(jetstream, after=None)) as following:
        await following.until(5)
    assert following.numbers == [4, 5]


async def acknowledged(jetstream: JetStream, sequence: int) -> None:
    """Wait until the broker knows that all up to a message has been acknowledged."""

    async def known() -> bool:
        info = await jetstream.call(f"CONSUMER.INFO.{STREAM}.tests")
        return int(info["ack_floor"]["stream_seq"]) >= sequence

    await until_answered(known)


async def test_a_durable_follower_may_ask_for_other_subjects_and_keeps_its_place(
    jetstream: JetStream,
) -> None:
    await fill(jetstream, 1, 2)
    async with Following(durable(jetstream, subjects=["t.a"])) as following:
        await following.until(2)
    await acknowledged(jetstream, 2)
    await jetstream.append("t.b", b"3")
    await fill(jetstream, 4, 4)
    async with Following(durable(jetstream, subjects=["t.a", "t.b"])) as following:
        await following.until(4)
    assert following.numbers == [3, 4]


async def test_followers_beyond_the_places_take_over_when_one_is_free(
    jetstream: JetStream,
) -> None:
    def one() -> Following:
        return Following(durable(jetstream, batch=1, places=2, retry_full=0.2))

    async def two_wait() -> bool:
        info = await jetstream.call(f"CONSUMER.INFO.{STREAM}.tests")
        return bool(info["num_waiting"] == 2)

    with capture_logs() as logs:
        async with contextlib.AsyncExitStack() as rest:
            async with one() as first, one() as second:
                await until_answered(two_wait)
                third = await rest.enter_async_context(one())
                for number in range(1, 7):
                    await fill(jetstream, number, number)

                def taken() -> list[int]:
                    return sorted(first.numbers + second.numbers + third.numbers)

                await until(lambda: taken() == list(range(1, 7)), "all to be taken")
            await fill(jetstream, 7, 9)
            await third.until(7, 8, 9)
    assert taken() == list(range(1, 10))
    assert not [entry for entry in logs if entry["log_level"] == "warning"]


async def test_a_durable_follower_knows_what_was_acknowledged_before(
    jetstream: JetStream,
) -> None:
    await fill(jetstream, 1, 3)
    fresh = durable(jetstream, after=None)
    await fresh.prepare()
    assert fresh.delivered == 3
    async with Following(fresh) as following:
        await fill(jetstream, 4, 4)
        await following.until(4)
    await acknowledged(jetstream, 4)
    again = durable(jetstream)
    await again.prepare()
    assert again.delivered == 4


async def test_what_is_not_acknowledged_in_time_is_delivered_again(jetstream: JetStream) -> None:
    follower = durable(jetstream, acknowledge_within=0.3)
    async with Following(follower, acknowledge=False) as following:
        await fill(jetstream, 1, 2)
        await until(lambda: following.numbers.count(1) >= 2, "a second delivery")
        for message in list(following.messages):
            await message.acknowledge()
        await acknowledged(jetstream, 2)
    assert set(following.numbers) == {1, 2}


async def test_what_was_not_acknowledged_before_the_connection_was_lost_is_delivered_again(
    jetstream: JetStream, relay: Relay
) -> None:
    follower = durable(jetstream, acknowledge_within=0.5)
    async with Following(follower, acknowledge=False) as following:
        await fill(jetstream, 1, 1)
        await following.until(1)
        relay.cut()
        await following.messages[0].acknowledge()
        await until(lambda: following.numbers.count(1) >= 2, "a second delivery")


async def test_an_acknowledgement_that_the_broker_lost_costs_a_second_delivery_at_most(
    jetstream: JetStream, broker: Broker
) -> None:
    async with Following(durable(jetstream, acknowledge_within=0.5)) as following:
        for number in range(1, 6):
            await fill(jetstream, number, number)
            await following.until(number)
            # The broker keeps positions in memory for some 100 ms before they reach its disk.
            broker.process.kill()
            await asyncio.to_thread(broker.start)
        await fill(jetstream, 6, 6)
        await following.until(6)
        await acknowledged(jetstream, 6)
    assert set(following.numbers) == set(range(1, 7))


async def test_of_a_stream_made_anew_all_is_yielded_to_a_durable_follower_in_its_second_life(
    observer: JetStream,
) -> None:
    await make_stream(observer)
    await durable(observer, after=None).prepare()
    async with Following(durable(observer, after=None)) as following:
        await observer.call(f"STREAM.DELETE.{STREAM}")
        await make_stream(observer)
        await fill(observer, 1, 2)
        await following.until(1, 2)


async def test_a_thousand_may_wait_at_one_durable_consumer(jetstream: JetStream) -> None:
    async def wait() -> None:
        async for _ in durable(jetstream, batch=1):
            pass

    async def all_wait() -> bool:
        info = await jetstream.call(f"CONSUMER.INFO.{STREAM}.tests")
        return bool(info["num_waiting"] == 1000)

    waiting = [asyncio.create_task(wait()) for _ in range(1000)]
    await until_answered(all_wait)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
