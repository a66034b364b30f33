"""What is published on a subject is received, whatever becomes of connections and messages."""

import asyncio
import contextlib
import json
from collections.abc import Callable

import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.relay import Relay
from tests.testing.stream import connect, until
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.listener import Listener, Received
from towline.broker.settings import Settings
from towline.wire.decoding import Unreadable


@pytest.fixture
async def sender(observer: JetStream) -> Client:
    """What publishes, over a connection that nothing is done to."""
    return await observer.connection.client()


async def ready(listener: Listener) -> None:
    async with asyncio.timeout(60):
        await listener.ready.wait()


async def publish_until(client: Client, arrived: Callable[[], object]) -> None:
    """Publish again and again: what is published without a connection is missed."""
    async with asyncio.timeout(60):
        while not arrived():
            await client.publish("a.x", b"again")
            await asyncio.sleep(0.02)


async def test_messages_are_received_in_order_with_subject_body_and_reply(
    connection: Connection, sender: Client
) -> None:
    received: list[Received] = []
    async with Listener(connection, "a.*", received.append) as listener:
        await ready(listener)
        for number in range(1000):
            await sender.publish(f"a.{number % 7}", b"%d" % number, reply=f"r.{number}")
        await sender.publish("b.x", b"elsewhere")
        await until(lambda: len(received) == 1000, "all of them")
    assert received == [
        Received(f"a.{number % 7}", b"%d" % number, f"r.{number}") for number in range(1000)
    ]


async def test_from_ready_on_nothing_is_missed(connection: Connection, sender: Client) -> None:
    for number in range(20):
        received: list[Received] = []
        async with Listener(connection, f"a.{number}", received.append) as listener:
            await ready(listener)
            await sender.publish(f"a.{number}", b"first")
            await until(lambda: len(received) == 1, "the first")  # noqa: B023


async def test_it_is_ready_when_the_server_has_answered_what_was_sent_behind_the_subscription() -> (
    None
):
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {}\r\n")
        while line := await reader.readline():
            lines.append(line.split()[0])
            if lines[-1] == b"PING":
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        server,
        connect(Settings([url]), ping_interval=60.0) as connection,
        Listener(connection, "a", lambda _: None) as listener,
    ):
        await ready(listener)
        assert lines[-2:] == [b"SUB", b"PING"]


async def test_it_receives_again_after_each_loss_of_the_connection(
    connection: Connection, sender: Client, relay: Relay
) -> None:
    received: list[Received] = []
    async with Listener(connection, "a.*", received.append) as listener:
        await ready(listener)
        for count in range(1, 4):
            relay.cut()
            await until(lambda: relay.accepted == count + 1, "another connection")  # noqa: B023
            received.clear()
            await publish_until(sender, lambda: received)


async def test_it_receives_again_after_a_restart_of_the_broker(
    connection: Connection, observer: JetStream, broker: Broker
) -> None:
    received: list[Received] = []
    async with Listener(connection, "a.*", received.append, queue="q") as listener:
        await ready(listener)
        broker.process.kill()
        await until(lambda: not connection.connected, "the loss noticed")
        await until(lambda: not observer.connection.connected, "the loss noticed")
        await asyncio.to_thread(broker.start)
        await publish_until(await observer.connection.client(), lambda: received)
        # There is one subscription, not one more for each connection.
        received.clear()
        await sender_flushed(observer)
        await (await observer.connection.client()).publish("a.x", b"once")
        await until(lambda: any(each.data == b"once" for each in received), "the message")
        await sender_flushed(connection)
    assert [each.data for each in received].count(b"once") == 1


async def sender_flushed(over: JetStream | Connection) -> None:
    connection = over.connection if isinstance(over, JetStream) else over
    await (await connection.client()).flush()


async def test_of_one_queue_each_message_reaches_one_and_without_it_all(
    connection: Connection, observer: JetStream
) -> None:
    received: list[list[bytes]] = [[], [], [], []]
    places = [(connection, "q"), (observer.connection, "q"), (connection, ""), (connection, "p")]
    async with contextlib.AsyncExitStack() as stack:
        for (place, queue), into in zip(places, received, strict=True):

            def receive(message: Received, into: list[bytes] = into) -> None:
                into.append(message.data)

            await ready(await stack.enter_async_context(Listener(place, "a", receive, queue=queue)))
        sender = await connection.client()
        numbers = [b"%d" % number for number in range(200)]
        for number in numbers:
            await sender.publish("a", number)
        one, other, without, alone = received
        await until(lambda: len(one) + len(other) == len(without) == len(alone) == 200, "all")
    assert without == alone == numbers
    assert sorted(one + other) == sorted(numbers)
    assert one
    assert other


async def test_one_that_is_left_leaves_its_queue_to_the_others(
    connection: Connection, observer: JetStream
) -> None:
    left: list[Received] = []
    received: list[Received] = []
    sender = await observer.connection.client()
    async with Listener(observer.connection, "a", received.append, queue="q") as listener:
        await ready(listener)
        for _ in range(10):
            async with Listener(connection, "a", left.append, queue="q") as other:
                await ready(other)
            await (await connection.client()).flush()
            received.clear()
            for _ in range(20):
                await sender.publish("a", b"")
            await until(lambda: len(received) == 20, "all of them")
    assert not left


@pytest.mark.parametrize("ticks", range(12))
async def test_one_that_is_left_while_it_subscribes_leaves_no_subscription(
    connection: Connection, ticks: int
) -> None:
    client = await connection.client()
    before = set(client._subs)
    async with asyncio.timeout(30):
        async with Listener(connection, "a", lambda _: None):
            for _ in range(ticks):
                await asyncio.sleep(0)
    assert set(client._subs) == before


async def test_one_that_is_left_while_the_broker_is_silent_or_away_ends(
    connection: Connection, relay: Relay, broker: Broker
) -> None:
    async with asyncio.timeout(60):
        relay.stall()
        async with Listener(connection, "a", lambda _: None):
            await asyncio.sleep(0)
        await asyncio.to_thread(broker.stop)
        async with Listener(connection, "a", lambda _: None) as listener:
            await asyncio.sleep(0)
    assert not listener.ready.is_set()


FAULTS = [LookupError("x"), asyncio.CancelledError(), TimeoutError(), RecursionError()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_an_error_of_what_receives_is_logged_and_ends_nothing(
    connection: Connection, sender: Client, fault: BaseException
) -> None:
    received = []

    def receive(message: Received) -> None:
        received.append(message.data)
        if message.data == b"bad":
            raise fault

    with capture_logs() as logs:
        async with Listener(connection, "a.*", receive) as listener:
            await ready(listener)
            for data in (b"bad", b"good"):
                await sender.publish("a.x", data)
            await until(lambda: len(received) == 2, "both")
    assert received == [b"bad", b"good"]
    (line,) = [entry for entry in logs if entry["event"] == "message not processed"]
    assert (line["log_level"], line["subject"], line["messages"]) == ("error", "a.x", 1)
    assert line["exc_info"] is fault
    assert fault.__traceback__ is not None
    assert listener.unreadable == 0


def refuse(message: Received) -> None:
    if message.data != b"end":
        raise Unreadable(f"no number: {message.data!r}")


async def test_what_can_t_be_read_is_counted_and_logged_without_flooding(
    connection: Connection, sender: Client
) -> None:
    with capture_logs() as logs:

        def counts() -> list[int]:
            return [each["messages"] for each in logs if each["event"] == "message not readable"]

        async with Listener(connection, "a.*", refuse, log_every=1.0) as listener:
            await ready(listener)
            for number in range(500):
                await sender.publish("a.x", b"%d" % number)
            await until(lambda: sum(counts()) == 500, "the line about the others")
            await sender.publish("a.x", b"late")
            await until(lambda: listener.unreadable == 501, "one more")
    assert counts()[0] == 1
    assert sum(counts()) == 501
    # One for the first, one a second while they came, one for the last.
    assert len(counts()) < 100


async def test_what_is_not_logged_yet_is_logged_when_it_is_left(
    connection: Connection, sender: Client
) -> None:
    with capture_logs() as logs:
        async with Listener(connection, "a.*", refuse) as listener:
            await ready(listener)
            for number in range(10):
                await sender.publish("a.x", b"%d" % number)
            await until(lambda: listener.unreadable == 10, "all of them")
    lines = [each for each in logs if each["event"] == "message not readable"]
    assert [each["messages"] for each in lines] == [1, 9]
    assert [each["reason"] for each in lines] == ["no number: b'0'", "no number: b'9'"]
    assert {each["log_level"] for each in lines} == {"warning"}


def with_headers(headers: bytes) -> bytes:
    return b"HPUB a.x %d %d\r\n%sbody\r\n" % (len(headers), len(headers) + 4, headers)


HOSTILE = {
    "status": with_headers(b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
    "no-responders": with_headers(b"NATS/1.0 503\r\n\r\n"),
    "headers-cut-off": with_headers(b"NATS/1.0"),
    "headers-no-utf-8": with_headers(b"NATS/1.0\r\n\xff: \xff\x00\r\n\r\n"),
    "headers-none": with_headers(b"X"),
    "subject": b"PUB a.\xff\xfe 4\r\nbody\r\n",
    "reply": b"PUB a.x \xff\xfe\x00 4\r\nbody\r\n",
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE)
async def test_a_message_that_the_library_can_t_read_ends_nothing(
    connection: Connection, broker: Broker, relay: Relay, sent: bytes
) -> None:
    received: list[Received] = []
    async with Listener(connection, "a.*", received.append) as listener:
        await ready(listener)
        await publish_raw(broker, sent + b"PUB a.x 3\r\nend\r\n")
        await until(lambda: any(each.data == b"end" for each in received), "the next message")
    assert [each.data for each in received] == [b"body", b"end"]
    assert relay.accepted == 1


async def publish_raw(broker: Broker, sent: bytes) -> None:
    """Send bytes to the broker as a client of our own making."""
    user, _, password = broker.credentials.read_text().partition(":")
    options = {"user": user, "pass": password, "verbose": False, "headers": True}
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(b"CONNECT %s\r\n%sPING\r\n" % (json.dumps(options).encode(), sent))
    async with asyncio.timeout(30):
        while (line := await reader.readline()) and line != b"PONG\r\n":
            assert not line.startswith(b"-ERR"), line
    writer.close()


async def test_a_subscription_that_fails_is_tried_again(broker: Broker, relay: Relay) -> None:
    received: list[Received] = []
    async with connect(Settings([relay.url], broker.credentials), ping_interval=60.0) as connection:
        client = await connection.client()
        # The library's own part of a subscription fails, as often as it is asked for.
        client._status = Client.DRAINING_SUBS
        with capture_logs() as logs:
            async with Listener(connection, "a.*", received.append, retry_every=0.02) as listener:
                await until(
                    lambda: [each["event"] for each in logs].count("not subscribed yet") >= 2,
                    "two attempts",
                )
                assert not listener.ready.is_set()
                client._status = Client.CONNECTED
                await ready(listener)
                await publish_until(client, lambda: received)
