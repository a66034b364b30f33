"""The connection to the broker, and following its streams, whatever becomes of both."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from tests.parts.broker import Broker
from tests.parts.ports import free_port
from tests.parts.process import wait_until
from tests.parts.relay import Relay
from towline import broker as broker_module
from towline import journal as journal_module
from towline.broker import BrokerRefused, Connection, Settings
from towline.errors import BrokerUnreachable
from towline.job import Event
from towline.journal import (
    STREAM_NOT_FOUND,
    WRONG_LAST_SEQUENCE,
    Follower,
    Journal,
    Message,
    create_stream,
)

STREAM = "TESTS"

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice silence sooner than is good elsewhere."""
    monkeypatch.setattr(broker_module, "PING_INTERVAL", 0.3)
    monkeypatch.setattr(broker_module, "LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(journal_module, "HEARTBEAT", 0.5)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def relay(broker: Broker) -> AsyncIterator[Relay]:
    async with Relay(broker.port) as relay:
        yield relay


@pytest.fixture
async def connection(broker: Broker, relay: Relay) -> AsyncIterator[Connection]:
    """A connection through the relay, to a broker that has the stream."""
    async with Connection(Settings([relay.url], broker.credentials), "tests") as connection:
        await make_stream(connection)
        yield connection


@pytest.fixture
async def observer(broker: Broker) -> AsyncIterator[Connection]:
    """A connection that nothing happens to unless it happens to the broker."""
    async with Connection(Settings([broker.url], broker.credentials), "observer") as observer:
        yield observer


async def make_stream(connection: Connection, **more: Any) -> None:
    config = {"name": STREAM, "subjects": ["t.>"], "max_consumers": 100, **more}
    await create_stream(connection, config)


async def until(predicate: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, predicate, what=what)


async def last_sequence(connection: Connection) -> int:
    answer = await connection.call(f"STREAM.INFO.{STREAM}")
    return int(answer["state"]["last_seq"])


async def fill(connection: Connection, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await connection.append("t.a", b"%d" % number, message_id=f"id-{number}", timeout=30)


class Following:
    """A follower at work: what it has yielded, as it comes."""

    def __init__(self, follower: Follower, *, acknowledge: bool = True) -> None:
        self.follower = follower
        self.messages: list[Message] = []
        self._acknowledge = acknowledge
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Following":
        self._task = asyncio.create_task(self._follow())
        await asyncio.wait_for(self.follower.ready.wait(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self) -> None:
        async for message in self.follower:
            self.messages.append(message)
            if self._acknowledge:
                await message.acknowledge()

    @property
    def numbers(self) -> list[int]:
        return [int(message.data) for message in self.messages]

    async def until(self, number: int) -> None:
        await until(lambda: number in self.numbers, f"message {number}")


# Appending


async def test_what_is_appended_stands_in_the_stream_at_the_sequence_that_is_told(
    connection: Connection,
) -> None:
    assert [await connection.append("t.a", b"1"), await connection.append("t.b", b"2")] == [1, 2]
    assert await last_sequence(connection) == 2


async def test_a_message_id_is_stored_once(connection: Connection) -> None:
    assert await connection.append("t.a", b"1", message_id="x") == 1
    assert await connection.append("t.a", b"1", message_id="x") == 1
    assert await connection.append("t.a", b"1", message_id="y") == 2
    assert await last_sequence(connection) == 2


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
    connection: Connection, observer: Connection, broker: Broker, relay: Relay
) -> None:
    appending = connection.append("t.a", b"1", message_id="x", timeout=30)
    assert await (await stored_unacknowledged(appending, broker, relay)) == 1
    assert await last_sequence(observer) == 1


async def test_the_first_of_its_subject_is_refused_for_itself_if_its_acknowledgement_was_lost(
    connection: Connection, observer: Connection, broker: Broker, relay: Relay
) -> None:
    appending = connection.append("t.a", b"1", message_id="x", first=True, timeout=30)
    with pytest.raises(BrokerRefused) as refused:
        await (await stored_unacknowledged(appending, broker, relay))
    assert refused.value.number in WRONG_LAST_SEQUENCE
    assert await last_sequence(observer) == 1


async def test_an_event_is_added_once_though_its_acknowledgement_was_lost(
    connection: Connection, observer: Connection, broker: Broker, relay: Relay
) -> None:
    event = Event("0199", "t", "web-01", "completed", 1.0)
    await make_stream(connection, name="EVENTS", subjects=["event.>"])
    relay.deafen()
    adding = asyncio.create_task(Journal(connection).add_event(event, timeout=30))
    await until(lambda: broker.last_sequence("EVENTS") == 1, "the event stored")
    relay.cut()
    await adding
    await Journal(observer).add_event(event)
    assert await Journal(observer).last_sequence("EVENTS") == 1


async def test_only_the_first_message_of_a_subject_is_stored_where_it_is_to_be_the_first(
    connection: Connection,
) -> None:
    assert await connection.append("t.a", b"1", message_id="x", first=True) == 1
    with pytest.raises(BrokerRefused) as refused:
        await connection.append("t.a", b"2", message_id="y", first=True)
    assert refused.value.number in WRONG_LAST_SEQUENCE
    assert await connection.append("t.b", b"3", message_id="z", first=True) == 2


async def test_of_many_that_append_the_first_message_of_a_subject_one_does(
    connection: Connection, observer: Connection
) -> None:
    answers = await asyncio.gather(
        *(
            sender.append("t.a", b"%d" % number, message_id=f"id-{number}", first=True)
            for number in range(20)
            for sender in (connection, observer)
        ),
        return_exceptions=True,
    )
    stored = [answer for answer in answers if answer == 1]
    refused = [answer for answer in answers if isinstance(answer, BrokerRefused)]
    # The same id from both connections: the second is told of the first one's success.
    assert 1 <= len(stored) <= 2
    assert len(stored) + len(refused) == 40
    assert await last_sequence(observer) == 1


async def test_what_is_appended_while_the_broker_is_away_is_stored_when_it_is_back(
    connection: Connection, broker: Broker
) -> None:
    broker.process.kill()
    await until(lambda: not connection.connected, "the loss noticed")
    appending = asyncio.create_task(connection.append("t.a", b"1", message_id="x", timeout=60))
    await asyncio.to_thread(broker.start)
    assert await appending == 1


async def test_a_broker_that_stays_away_is_told_with_the_reason(
    observer: Connection, broker: Broker
) -> None:
    await make_stream(observer)
    broker.stop()
    await until(lambda: "failed" in observer.last_error, "an attempt that failed")
    for asking in (observer.append("t.a", b"1", timeout=0.1), observer.call("INFO", timeout=0.1)):
        with pytest.raises(BrokerUnreachable, match=f"Connect call failed.*{broker.port}") as told:
            await asking
        assert told.value.error == "The broker is out of reach."


async def test_what_no_stream_takes_is_refused_with_its_subject(connection: Connection) -> None:
    with pytest.raises(BrokerUnreachable, match="'elsewhere'"):
        await connection.append("elsewhere", b"1", timeout=0.1)


async def test_an_answer_that_is_an_error_tells_its_number(connection: Connection) -> None:
    with pytest.raises(BrokerRefused, match="stream not found") as refused:
        await connection.call("STREAM.INFO.NOWHERE")
    assert refused.value.number == STREAM_NOT_FOUND


async def test_a_request_that_nobody_answers_ends_in_time(
    connection: Connection, relay: Relay
) -> None:
    relay.deafen()
    with pytest.raises(BrokerUnreachable, match="timeout"):
        await connection.call(f"STREAM.INFO.{STREAM}", timeout=0.1)


async def test_a_request_that_is_cancelled_is_cancelled(
    connection: Connection, relay: Relay
) -> None:
    relay.deafen()
    asking = asyncio.create_task(connection.call(f"STREAM.INFO.{STREAM}", timeout=60))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asking.cancelled()


async def test_what_was_asked_over_a_connection_that_is_lost_fails_at_once(
    connection: Connection, relay: Relay
) -> None:
    relay.deafen()
    asking = [
        asyncio.create_task(connection.call(f"STREAM.INFO.{STREAM}", timeout=3600))
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    relay.cut()
    for task in asking:
        with pytest.raises(BrokerUnreachable):
            await asyncio.wait_for(task, 60)


async def test_what_is_published_without_a_connection_is_dropped(
    connection: Connection, broker: Broker
) -> None:
    broker.stop()
    await until(lambda: not connection.connected, "the loss noticed")
    await connection.publish("t.a", b"1")


# Losing the connection


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
    async with Connection(settings, "tests", changes.append) as connection:
        for count in range(1, 4):
            await make_stream(connection)
            assert changes == [True, False] * (count - 1) + [True]
            assert relay.accepted == count
            fault(relay)
            await until(lambda: len(changes) == 2 * count + 1, "another connection")  # noqa: B023
    assert not connection.connected


async def test_a_protocol_error_of_the_server_is_told(connection: Connection, relay: Relay) -> None:
    with capture_logs() as logs:
        relay.inject(b"NONSENSE\r\n")
        await until(lambda: relay.accepted == 2, "another connection")
    (lost,) = [entry for entry in logs if entry["event"] == "broker connection lost"]
    assert "unknown protocol operation" in lost["reason"].lower()


async def test_a_stall_is_noticed_though_more_waits_to_be_sent_than_any_buffer_holds(
    connection: Connection, relay: Relay
) -> None:
    client = await connection.client()
    relay.stall()
    sending = asyncio.create_task(overfill(client.publish))
    await until(lambda: relay.accepted == 2, "another connection")
    assert await connection.append("t.a", b"1", timeout=30) == 1
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await sending


async def overfill(publish: Callable[[str, bytes], Awaitable[None]]) -> None:
    for _ in range(64):
        await publish("elsewhere", bytes(1024 * 1024))


async def test_a_broker_that_was_killed_is_found_again_with_all_that_it_had(
    connection: Connection, broker: Broker
) -> None:
    await fill(connection, 1, 20)
    for _ in range(2):
        broker.process.kill()
        await asyncio.to_thread(broker.start)
        assert await last_sequence_in_time(connection) == 20
    await fill(connection, 20, 21)
    assert await last_sequence(connection) == 21


async def last_sequence_in_time(connection: Connection) -> int:
    """Ask until the broker is back and has found its streams."""
    while True:
        with contextlib.suppress(BrokerUnreachable, BrokerRefused):
            return await last_sequence(connection)


async def test_a_listener_that_raises_costs_nothing_but_a_line_in_the_log(
    broker: Broker, relay: Relay
) -> None:
    heard: list[bool] = []

    def raising(connected: bool) -> None:
        heard.append(connected)
        raise LookupError("a fault of the listener")

    with capture_logs() as logs:
        async with Connection(
            Settings([relay.url], broker.credentials), "tests", raising
        ) as connection:
            await make_stream(connection)
            relay.cut()
            await until(lambda: len(heard) == 3, "another connection")
            assert await connection.append("t.a", b"1") == 1
    assert heard == [True, False, True]
    assert [entry["log_level"] for entry in logs].count("error") == 3


async def test_of_several_brokers_one_that_is_there_is_found(broker: Broker) -> None:
    dead = [f"nats://127.0.0.1:{free_port()}" for _ in range(2)]
    settings = Settings([*dead, broker.url], broker.credentials)
    async with Connection(settings, "tests") as connection:
        await asyncio.wait_for(make_stream(connection), 60)


# Not getting a connection

# In 0.6 s, with pauses of at least 25, 50, 100, 200 and then 250 ms; without them it is hundreds.
MOST_ATTEMPTS = 8


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        ("tests:wrong", "authorization violation"),
        (None, "authorization violation"),
        ("SU" + "A" * 56, "authorization violation"),
        ("-----BEGIN NATS USER JWT-----\neyJh.e30.c2ln\n", "authorization violation"),
    ],
    ids=["password", "none", "seed", "creds"],
)
async def test_credentials_that_are_refused_are_told_and_tried_again_with_pauses(
    broker: Broker, relay: Relay, tmp_path: Path, credentials: str | None, reason: str
) -> None:
    path = None
    if credentials is not None:
        path = tmp_path / "other-credentials"
        path.write_text(credentials)
    with capture_logs() as logs:
        async with Connection(Settings([relay.url], path), "tests") as connection:
            with pytest.raises(BrokerUnreachable) as refused:
                await connection.call("INFO", timeout=0.6)
            tried = relay.accepted
            await until(lambda: relay.accepted >= 3, "another attempt")
    assert reason in refused.value.details.lower()
    assert tried <= MOST_ATTEMPTS
    assert credentials is None or credentials not in str(logs)
    assert {entry["log_level"] for entry in logs} == {"warning"}


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"", "INFO"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "INFO"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "INFO"),
        (b"INFO {\r\n", "json"),
        (b"INFO []\r\n", "NATS: "),
        (b"INFO {}\r\n", "ended the connection at once"),
        (b"INFO {}\r\nPONG\r\n", "NATS: "),
        (b"INFO {}\r\n-ERR 'maximum connections exceeded'\r\n", "maximum connections exceeded"),
        (b'INFO {"nonce":"x","auth_required":true}\r\n', "NATS: "),
    ],
)
async def test_what_is_no_broker_or_none_for_us_is_told_and_tried_again_with_pauses(
    tmp_path: Path, greeting: bytes, reason: str
) -> None:
    attempts = 0

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.write(greeting)
        writer.write_eof()
        await reader.read()
        writer.close()

    credentials = tmp_path / "credentials"
    credentials.write_text("-----BEGIN NATS USER JWT-----\neyJh.e30.c2ln\n")
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"nats://user:hidden@127.0.0.1:{port}"
    with capture_logs() as logs:
        async with server, Connection(Settings([url], credentials), "tests") as connection:
            with pytest.raises(BrokerUnreachable, match=reason):
                await connection.call("INFO", timeout=0.6)
            tried = attempts
            await until(lambda: attempts >= 3, "another attempt")
    assert tried <= MOST_ATTEMPTS
    assert "hidden" not in str(logs)
    assert "eyJh" not in str(logs)


async def test_pauses_between_attempts_double_up_to_a_bound_and_are_drawn_at_random(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    monkeypatch.setattr(broker_module, "LONGEST_PAUSE", 0.3)
    async with Connection(Settings([f"nats://127.0.0.1:{free_port()}"]), "tests"):
        await until(lambda: len(drawn) >= 5, "five attempts")
    assert drawn[:5] == [(0.025, 0.05), (0.05, 0.1), (0.1, 0.2), (0.15, 0.3), (0.15, 0.3)]


async def test_a_broker_that_accepts_and_says_nothing_is_left_again(
    broker: Broker, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "CONNECT_TIMEOUT", 0.2)
    relay.silent = True
    async with Connection(Settings([relay.url], broker.credentials), "tests") as connection:
        await until(lambda: relay.accepted >= 4, "four attempts")
        assert relay.open <= 1
        relay.silent = False
        await make_stream(connection)
    await until(lambda: relay.open == 0, "the end of all connections")


@pytest.mark.parametrize("when", ["connecting", "connected", "stalled"])
async def test_leaving_ends_the_connection_whatever_its_state(
    broker: Broker, relay: Relay, when: str
) -> None:
    relay.silent = when == "connecting"
    async with Connection(Settings([relay.url], broker.credentials), "tests") as connection:
        await until(lambda: relay.accepted == 1, "an attempt")
        if when != "connecting":
            await make_stream(connection)
        if when == "stalled":
            relay.stall()
    await until(lambda: relay.open == 0, "the end of the connection")
    assert relay.accepted == 1
