"""What is appended to a stream stands there once, whatever becomes of its acknowledgement."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from nats.aio.msg import Msg

from tests.testing.broker import Broker
from tests.testing.jobs import a_job
from tests.testing.relay import Relay
from tests.testing.stream import (
    STREAM,
    last_sequence,
    make_stream,
    until,
)
from towline.broker.answers import BrokerRefused, WrongLastSequence
from towline.broker.jetstream import JetStream
from towline.broker.journal import CHANGES, Journal
from towline.errors import BrokerUnreachable

T = TypeVar("T")


async def test_what_is_appended_stands_in_the_stream_at_the_sequence_that_is_returned(
    jetstream: JetStream,
) -> None:
    assert [await jetstream.append("t.a", b"1"), await jetstream.append("t.b", b"2")] == [1, 2]
    assert await last_sequence(jetstream) == 2


async def test_a_message_id_is_stored_once(jetstream: JetStream) -> None:
    assert await jetstream.append("t.a", b"1", message_id="x") == 1
    assert await jetstream.append("t.a", b"1", message_id="x") == 1
    assert await jetstream.append("t.a", b"1", message_id="y") == 2
    assert await last_sequence(jetstream) == 2


async def stored_unacknowledged(
    appending: Awaitable[T], broker: Broker, relay: Relay
) -> asyncio.Task[T]:
    """Let an append reach the broker, and lose its answer with the connection."""
    relay.deafen()
    task = asyncio.ensure_future(appending)
    await until(lambda: broker.last_sequence(STREAM) == 1, "the message stored")
    relay.cut()
    return task


async def test_what_was_stored_though_its_acknowledgement_was_lost_is_not_stored_twice(
    jetstream: JetStream, observer: JetStream, broker: Broker, relay: Relay
) -> None:
    appending = jetstream.append("t.a", b"1", message_id="x", timeout=30)
    assert await (await stored_unacknowledged(appending, broker, relay)) == 1
    assert await last_sequence(observer) == 1


async def test_the_first_of_its_subject_is_refused_for_itself_if_its_acknowledgement_was_lost(
    jetstream: JetStream, observer: JetStream, broker: Broker, relay: Relay
) -> None:
    appending = jetstream.append("t.a", b"1", message_id="x", last=0, timeout=30)
    with pytest.raises(WrongLastSequence):
        await (await stored_unacknowledged(appending, broker, relay))
    assert await last_sequence(observer) == 1


async def test_a_job_is_added_once_though_its_acknowledgement_was_lost(
    jetstream: JetStream, observer: JetStream, broker: Broker, relay: Relay
) -> None:
    job = a_job()
    await make_stream(jetstream, name=CHANGES, subjects=["job.*"])
    relay.deafen()
    adding = asyncio.create_task(Journal(jetstream).add_job(job, timeout=30))
    await until(lambda: broker.last_sequence(CHANGES) == 1, "the job stored")
    relay.cut()
    assert await adding == 1
    assert await Journal(observer).add_job(job) == 1
    _, first, last = await Journal(observer).state(CHANGES)
    assert (first, last) == (1, 1)


async def test_only_the_first_message_of_a_subject_is_stored_where_it_is_to_be_the_first(
    jetstream: JetStream,
) -> None:
    assert await jetstream.append("t.a", b"1", message_id="x", last=0) == 1
    with pytest.raises(WrongLastSequence):
        await jetstream.append("t.a", b"2", message_id="y", last=0)
    assert await jetstream.append("t.b", b"3", message_id="z", last=0) == 2


async def test_of_many_that_append_the_first_message_of_a_subject_one_does(
    jetstream: JetStream, observer: JetStream
) -> None:
    answers = await asyncio.gather(
        *(
            sender.append("t.a", b"%d" % number, message_id=f"id-{number}", last=0)
            for number in range(20)
            for sender in (jetstream, observer)
        ),
        return_exceptions=True,
    )
    stored = [answer for answer in answers if answer == 1]
    refused = [answer for answer in answers if isinstance(answer, BrokerRefused)]
    # The same id from both connections: the second learns of the first one's success.
    assert 1 <= len(stored) <= 2
    assert len(stored) + len(refused) == 40
    assert await last_sequence(observer) == 1


async def test_what_is_appended_while_the_broker_is_away_is_stored_when_it_is_back(
    jetstream: JetStream, broker: Broker
) -> None:
    broker.process.kill()
    await until(lambda: not jetstream.connection.connected, "the loss noticed")
    appending = asyncio.create_task(jetstream.append("t.a", b"1", message_id="x", timeout=60))
    await asyncio.to_thread(broker.start)
    assert await appending == 1


async def test_a_broker_that_stays_away_is_reported_with_the_reason(
    observer: JetStream, broker: Broker
) -> None:
    await make_stream(observer)
    broker.stop()
    await until(lambda: "Errno" in observer.connection.last_error, "an attempt that failed")
    for asking in (observer.append("t.a", b"1", timeout=0.1), observer.call("INFO", timeout=0.1)):
        with pytest.raises(
            BrokerUnreachable, match=r"Connect call failed|Connection ref"
        ) as raised:
            await asking
        assert raised.value.error.startswith("The broker is out of reach: ")


@pytest.mark.parametrize("answer", [b"", b"+OK", b"[]", b"{}", b'{"seq":"x"}', b"\xff"])
async def test_an_acknowledgement_that_cannot_be_read_is_none(
    jetstream: JetStream, answer: bytes
) -> None:
    async def acknowledge(message: Msg) -> None:
        await message.respond(answer)

    await (await jetstream.connection.client()).subscribe("elsewhere", cb=acknowledge)
    with pytest.raises(BrokerUnreachable, match="'elsewhere' can't be read"):
        await jetstream.append("elsewhere", b"1", timeout=0.1)


async def test_what_no_stream_takes_is_refused_with_its_subject(jetstream: JetStream) -> None:
    with pytest.raises(BrokerUnreachable, match="'elsewhere'"):
        await jetstream.append("elsewhere", b"1", timeout=0.1)
