"""A connection returns by itself, however it was lost, and ends when it is left."""

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable

import nats.errors
import pytest
import uvloop
from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.ports import free_port
from tests.testing.relay import Relay
from tests.testing.stream import (
    connect,
    fill,
    last_sequence,
    make_stream,
    until,
    until_answered,
)
from towline.broker.client import ServerClient
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings


def cut(relay: Relay) -> None:
    relay.cut()


def protocol_error(relay: Relay) -> None:
    relay.inject(b"NONSENSE\r\n")


def stall(relay: Relay) -> None:
    relay.stall()


@pytest.mark.parametrize("fault", [cut, protocol_error, stall])
async def test_a_connection_returns_by_itself_however_it_was_lost(
    broker: Broker, relay: Relay, fault: Callable[[Relay], None]
) -> None:
    changes: list[bool] = []
    settings = Settings([relay.url], broker.credentials)
    async with connect(settings, on_change=changes.append) as connection:
        for count in range(1, 4):
            await make_stream(JetStream(connection))
            assert changes == [True, False] * (count - 1) + [True]
            assert relay.accepted == count
            fault(relay)
            await until(lambda: len(changes) == 2 * count + 1, "another connection")  # noqa: B023
    assert not connection.connected


async def test_a_protocol_error_of_the_server_is_reported(
    connection: Connection, relay: Relay
) -> None:
    with capture_logs() as logs:
        relay.inject(b"NONSENSE\r\n")
        await until(lambda: relay.accepted == 2, "another connection")
    (lost,) = [entry for entry in logs if entry["event"] == "broker connection lost"]
    assert "unknown protocol operation" in lost["reason"].lower()


async def test_a_stall_is_noticed_though_more_waits_to_be_sent_than_any_buffer_holds(
    connection: Connection, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connection.client()
    relay.stall()
    sending = asyncio.create_task(overfill(client.publish))
    await until(lambda: relay.accepted == 2, "another connection")
    assert await JetStream(connection).append("t.a", b"1", timeout=30) == 1
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await sending
    del client
    gc.collect()  # reports tasks that ended with an error which nobody has seen
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def overfill(publish: Callable[[str, bytes], Awaitable[None]]) -> None:
    for _ in range(64):
        await publish("elsewhere", bytes(1024 * 1024))


async def test_a_broker_that_was_killed_is_found_again_with_all_that_it_had(
    jetstream: JetStream, broker: Broker
) -> None:
    await fill(jetstream, 1, 20)
    for _ in range(2):
        broker.process.kill()
        await asyncio.to_thread(broker.start)

        async def has_all() -> bool:
            return await last_sequence(jetstream) == 20

        await until_answered(has_all)
    await fill(jetstream, 20, 21)
    assert await last_sequence(jetstream) == 21


async def test_a_listener_that_raises_costs_nothing_but_a_line_in_the_log(
    broker: Broker, relay: Relay
) -> None:
    changes: list[bool] = []

    def raising(connected: bool) -> None:
        changes.append(connected)
        raise LookupError("a fault of the listener")

    with capture_logs() as logs:
        settings = Settings([relay.url], broker.credentials)
        async with connect(settings, on_change=raising) as connection:
            await make_stream(JetStream(connection))
            relay.cut()
            await until(lambda: len(changes) == 3, "another connection")
            assert await JetStream(connection).append("t.a", b"1") == 1
    assert changes == [True, False, True]
    assert [entry["log_level"] for entry in logs].count("error") == 3


async def test_of_several_brokers_one_that_is_there_is_found(broker: Broker) -> None:
    dead = [f"nats://127.0.0.1:{free_port()}" for _ in range(2)]
    settings = Settings([*dead, broker.url], broker.credentials)
    async with connect(settings) as connection:
        await asyncio.wait_for(make_stream(JetStream(connection)), 60)


@pytest.mark.parametrize("when", ["connecting", "connected", "stalled"])
async def test_leaving_ends_the_connection_whatever_its_state(
    broker: Broker, relay: Relay, when: str
) -> None:
    relay.silent = when == "connecting"
    async with connect(Settings([relay.url], broker.credentials)) as connection:
        await until(lambda: relay.accepted == 1, "an attempt")
        if when != "connecting":
            await make_stream(JetStream(connection))
        if when == "stalled":
            relay.stall()
    await until(lambda: relay.open == 0, "the end of the connection")
    assert relay.accepted == 1


@pytest.mark.parametrize("ticks", range(0, 60, 3))
async def test_a_connection_that_is_left_while_it_connects_ends(
    broker: Broker, relay: Relay, ticks: int
) -> None:
    async with asyncio.timeout(30):
        async with connect(Settings([relay.url], broker.credentials)):
            for _ in range(ticks):
                await asyncio.sleep(0)
    await until(lambda: relay.open == 0, "the end of the connection")


async def test_nobody_waits_to_send_over_a_connection_that_is_lost(
    relay: Relay, broker: Broker
) -> None:
    settings = Settings([relay.url], broker.credentials)
    async with connect(settings) as connection:
        await connection.client()
        relay.stall()
        sending = asyncio.create_task(send_much(connection))
        await asyncio.sleep(0.1)
        assert not sending.done()
        relay.cut()
        await until(lambda: relay.accepted == 2, "another connection")
        done, _ = await asyncio.wait([sending], timeout=5)
        assert done


async def send_much(connection: Connection) -> None:
    """Send more than any buffer on the way takes."""
    for _ in range(64):
        await connection.publish("much", bytes(1024 * 1024))


def test_a_closed_transport_is_a_lost_connection_for_whoever_publishes(broker: Broker) -> None:
    # With the event loop of controllers and agents, which raises where another only logs.
    async def publish() -> None:
        async with connect(Settings([broker.url], broker.credentials)) as connection:
            client = await connection.client()
            flusher = client._flusher_task
            assert flusher is not None
            flusher.cancel()
            await asyncio.wait([flusher])
            assert isinstance(client, ServerClient)
            writer = client._writer()
            assert writer is not None
            writer.transport.abort()
            assert client.is_connected
            with pytest.raises(ConnectionResetError):
                await client.publish("anything", b"anything")
            await connection.publish("anything", b"anything")
            await connection.lost()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(publish())


async def test_a_check_gives_up_a_server_that_does_not_answer(broker: Broker, relay: Relay) -> None:
    async with connect(Settings([relay.url], broker.credentials), ping_interval=60.0) as connection:
        first = await connection.client()
        await connection.check()
        assert connection.connected
        relay.stall()
        await asyncio.wait_for(connection.check(), 30)
        await until(lambda: connection.connected, "another connection")
        assert await connection.client() is not first


async def test_a_check_ends_with_its_connection(broker: Broker, relay: Relay) -> None:
    async with connect(Settings([relay.url], broker.credentials), ping_interval=60.0) as connection:
        client = await connection.client()
        assert isinstance(client, ServerClient)
        relay.stall()
        checking = asyncio.create_task(connection.check())
        await asyncio.sleep(0.05)
        client.drop()
        await asyncio.wait_for(checking, 3)


async def test_a_pong_for_which_nobody_waits_any_longer_ends_nothing(
    broker: Broker, relay: Relay
) -> None:
    async with connect(Settings([relay.url], broker.credentials), ping_interval=60.0) as connection:
        client = await connection.client()
        relay.stall()
        with pytest.raises(nats.errors.FlushTimeoutError):
            await client.flush(1)
        cancelled = asyncio.create_task(client.flush())
        await asyncio.sleep(0.05)
        cancelled.cancel()
        relay.resume()
        await client.flush()
        assert await connection.client() is client


async def test_no_ping_is_sent_where_another_is_answered_meanwhile(broker: Broker) -> None:
    async with connect(Settings([broker.url], broker.credentials), ping_interval=0.2) as connection:
        client = await connection.client()
        for _ in range(20):
            await connection.check()
            await asyncio.sleep(0.05)
        # The server answers each of them.
        assert client._pongs_received == 20


async def test_a_check_says_when_the_next_one_comes_for_as_long_as_its_connection_lasts(
    broker: Broker, relay: Relay
) -> None:
    async with connect(Settings([relay.url], broker.credentials), ping_interval=0.2) as connection:
        first = await connection.client()
        await connection.check(60.0)
        # One may be on its way.
        await asyncio.sleep(0.5)
        known = first._pongs_received
        await asyncio.sleep(1.0)
        assert first._pongs_received == known
        relay.cut()
        await until(lambda: relay.accepted == 2, "another connection")
        second = await connection.client()
        await until(lambda: second._pongs_received > 1, "pings")


async def test_an_idle_connection_is_asked_at_each_interval(broker: Broker) -> None:
    async with connect(Settings([broker.url], broker.credentials), ping_interval=0.2) as connection:
        client = await connection.client()
        for _ in range(20):
            await asyncio.sleep(0.2)
        assert client._pongs_received > 15


async def test_nobody_finds_a_client_of_a_connection_that_was_left(broker: Broker) -> None:
    async with connect(Settings([broker.url], broker.credentials)) as connection:
        await connection.client()
    waiting = asyncio.create_task(connection.client())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_connection_that_is_renewed_loses_nothing_that_was_sent_over_it(
    broker: Broker, relay: Relay
) -> None:
    settings = Settings([relay.url], broker.credentials)
    async with (
        connect(Settings([broker.url], broker.credentials)) as other,
        connect(settings) as connection,
    ):
        received = await (await other.client()).subscribe("sent")
        await (await other.client()).flush()
        before = await connection.client()
        for _ in range(1000):
            await before.publish("sent", b"x" * 10_000)
        connection.renew()
        await until(lambda: received.pending_msgs == 1000, "all that was sent")
        await until(lambda: relay.accepted == 2 and connection.connected, "another connection")
        assert await connection.client() is not before
