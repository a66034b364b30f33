"""The connection to the broker, and following its streams, whatever becomes of both."""

import asyncio
import contextlib
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.ports import free_port
from tests.testing.process import wait_until
from tests.testing.relay import Relay
from towline.broker import connection as broker_module
from towline.broker import consumer as follower_module
from towline.broker.connection import BrokerRefused, Connection, WrongLastSequence
from towline.broker.consumer import Follower, Message
from towline.broker.journal import Journal
from towline.broker.settings import Settings
from towline.broker.streams import create_stream
from towline.errors import BrokerUnreachable
from towline.wire.event import Event

STREAM = "TESTS"
STREAM_NOT_FOUND = 10059

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice silence sooner than is good elsewhere."""
    monkeypatch.setattr(broker_module, "PING_INTERVAL", 0.3)
    monkeypatch.setattr(broker_module, "LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(follower_module, "HEARTBEAT", 0.5)


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


async def until_answered(ask: Callable[[], Awaitable[bool]]) -> None:
    """Ask the broker until it says yes, and bear with it while it can't answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(BrokerUnreachable, BrokerRefused):
                if await ask():
                    return


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
        self.task: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> "Following":
        self.task = asyncio.create_task(self._follow())
        await until(self.follower.ready.is_set, "the follower's consumer")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await until(self.task.done, "the end of the follower")

    async def _follow(self) -> None:
        async for message in self.follower:
            self.messages.append(message)
            if self._acknowledge:
                await message.acknowledge()

    @property
    def numbers(self) -> list[int]:
        return [int(message.data) for message in self.messages]

    async def until(self, *numbers: int) -> None:
        await until(lambda: {*numbers} <= {*self.numbers}, f"messages up to {numbers[-1]}")


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
    with pytest.raises(WrongLastSequence):
        await (await stored_unacknowledged(appending, broker, relay))
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
    with pytest.raises(WrongLastSequence):
        await connection.append("t.a", b"2", message_id="y", first=True)
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
    await until(lambda: "Errno" in observer.last_error, "an attempt that failed")
    for asking in (observer.append("t.a", b"1", timeout=0.1), observer.call("INFO", timeout=0.1)):
        with pytest.raises(BrokerUnreachable, match=r"Connect call failed|Connection ref") as told:
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


@pytest.mark.parametrize("ticks", range(8))
async def test_a_request_that_is_cancelled_as_its_answer_arrives_is_cancelled(
    connection: Connection, ticks: int
) -> None:
    client = await connection.client()
    for _ in range(10):
        received = client.stats["in_msgs"]
        asking = asyncio.create_task(connection.call("INFO"))
        while client.stats["in_msgs"] == received:
            await asyncio.sleep(0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        if asking.cancel():
            await asyncio.wait([asking])
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
    connection: Connection, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connection.client()
    relay.stall()
    sending = asyncio.create_task(overfill(client.publish))
    await until(lambda: relay.accepted == 2, "another connection")
    assert await connection.append("t.a", b"1", timeout=30) == 1
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await sending
    del client
    gc.collect()  # tells of tasks that ended with an error which nobody has seen
    assert not [record for record in caplog.records if record.name == "asyncio"]


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

        async def has_all() -> bool:
            return await last_sequence(connection) == 20

        await until_answered(has_all)
    await fill(connection, 20, 21)
    assert await last_sequence(connection) == 21


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
        (b"INFO {}\r\n", "ended the connection at once|unexpected EOF"),
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


@pytest.mark.parametrize("welcome", [False, True])
async def test_pauses_between_attempts_double_up_to_a_bound_and_are_drawn_at_random(
    monkeypatch: pytest.MonkeyPatch, welcome: bool
) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    async def dismiss(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if welcome:
            writer.write(b"INFO {}\r\n")
            await reader.readuntil(b"PING\r\n")
            writer.write(b"PONG\r\n")
        writer.close()

    monkeypatch.setattr(random, "uniform", uniform)
    monkeypatch.setattr(broker_module, "LONGEST_PAUSE", 0.3)
    server = await asyncio.start_server(dismiss, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with capture_logs() as logs:
        async with server, Connection(Settings([url]), "tests"):
            await until(lambda: len(drawn) >= 5, "five attempts")
    assert drawn[:5] == [(0.025, 0.05), (0.05, 0.1), (0.1, 0.2), (0.15, 0.3), (0.15, 0.3)]
    assert welcome == ("broker connected" in [entry["event"] for entry in logs])


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


# Following


def ephemeral(connection: Connection, **more: Any) -> Follower:
    return Follower(connection, STREAM, **more)


def durable(connection: Connection, **more: Any) -> Follower:
    return Follower(connection, STREAM, durable="tests", **more)


Make = Callable[..., Follower]


async def consumers(connection: Connection) -> list[str]:
    answer = await connection.call(f"CONSUMER.NAMES.{STREAM}")
    return list(answer["consumers"] or [])


async def delete_consumers(connection: Connection) -> None:
    for name in await consumers(connection):
        await connection.call(f"CONSUMER.DELETE.{STREAM}.{name}")


@pytest.mark.parametrize("make", [ephemeral, durable])
async def test_a_follower_yields_all_that_is_there_and_all_that_comes_in_order(
    connection: Connection, make: Make
) -> None:
    await asyncio.gather(*(fill(connection, number, number) for number in range(1200)))
    async with Following(make(connection)) as following:
        await fill(connection, 1200, 1210)
        await following.until(1210)
    assert sorted(following.numbers) == list(range(1211))
    assert [message.sequence for message in following.messages] == list(range(1, 1212))
    assert following.messages[0].pending == 1199
    assert following.messages[-1].pending == 0
    assert {message.subject for message in following.messages} == {"t.a"}


@pytest.mark.parametrize("make", [ephemeral, durable])
@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3, 4]), (2, [3, 4]), (None, [4])])
async def test_a_follower_begins_where_it_is_told_to(
    connection: Connection, make: Make, after: int | None, expected: list[int]
) -> None:
    await fill(connection, 1, 3)
    async with Following(make(connection, after=after)) as following:
        await fill(connection, 4, 4)
        await following.until(4)
    assert following.numbers == expected


@pytest.mark.parametrize("make", [ephemeral, durable])
async def test_a_follower_has_only_the_subjects_that_it_asked_for(
    connection: Connection, make: Make
) -> None:
    for number, subject in enumerate(["t.a", "t.b.x", "t.c", "t.b.y", "t.a"]):
        await connection.append(subject, b"%d" % number)
    async with Following(make(connection, subjects=["t.b.*", "t.c"])) as following:
        await following.until(3)
    assert following.numbers == [1, 2, 3]
    async with Following(ephemeral(connection, subjects=["t.a"])) as following:
        await following.until(4)
    assert following.numbers == [0, 4]


async def test_the_newest_message_of_each_subject_comes_first_and_again_after_an_interruption(
    connection: Connection, relay: Relay
) -> None:
    for number, subject in enumerate(["t.a", "t.b", "t.a", "t.b"]):
        await connection.append(subject, b"%d" % number)
    follower = ephemeral(connection, subjects=["t.>"], newest=True)
    async with Following(follower) as following:
        await following.until(3)
        assert following.numbers == [2, 3]
        relay.cut()
        await until(lambda: following.numbers[2:] == [2, 3], "the newest once more")
        await connection.append("t.a", b"4", timeout=30)
        await following.until(4)
    assert following.numbers == [2, 3, 2, 3, 4]


@pytest.mark.parametrize("make", [ephemeral, durable])
async def test_a_follower_waits_for_its_stream(observer: Connection, make: Make) -> None:
    follower = make(observer)
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


async def test_preparing_waits_for_the_stream_and_from_then_on_nothing_is_missed(
    observer: Connection,
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
    connection: Connection,
) -> None:
    await fill(connection, 1, 3)
    async with Following(durable(connection)) as following:
        await following.until(3)
    await acknowledged(connection, 3)
    await fill(connection, 4, 5)
    async with Following(durable(connection, after=None)) as following:
        await following.until(5)
    assert following.numbers == [4, 5]


async def acknowledged(connection: Connection, sequence: int) -> None:
    """Wait until the broker knows that all up to a message has been acknowledged."""

    async def known() -> bool:
        info = await connection.call(f"CONSUMER.INFO.{STREAM}.tests")
        return int(info["ack_floor"]["stream_seq"]) >= sequence

    await until_answered(known)


async def test_a_durable_follower_may_ask_for_other_subjects_and_keeps_its_place(
    connection: Connection,
) -> None:
    await fill(connection, 1, 2)
    async with Following(durable(connection, subjects=["t.a"])) as following:
        await following.until(2)
    await acknowledged(connection, 2)
    await connection.append("t.b", b"3")
    await fill(connection, 4, 4)
    async with Following(durable(connection, subjects=["t.a", "t.b"])) as following:
        await following.until(4)
    assert following.numbers == [3, 4]


async def test_followers_beyond_the_places_take_over_when_one_is_free(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towline.broker.consumer.TURNED_AWAY", 0.2)

    def one() -> Following:
        return Following(durable(connection, batch=1, places=2))

    async def two_wait() -> bool:
        info = await connection.call(f"CONSUMER.INFO.{STREAM}.tests")
        return bool(info["num_waiting"] == 2)

    with capture_logs() as logs:
        async with contextlib.AsyncExitStack() as rest:
            async with one() as first, one() as second:
                await until_answered(two_wait)
                third = await rest.enter_async_context(one())
                for number in range(1, 7):
                    await fill(connection, number, number)

                def taken() -> list[int]:
                    return sorted(first.numbers + second.numbers + third.numbers)

                await until(lambda: taken() == list(range(1, 7)), "all to be taken")
            await fill(connection, 7, 9)
            await third.until(7, 8, 9)
    assert taken() == list(range(1, 10))
    assert not [entry for entry in logs if entry["log_level"] == "warning"]


async def test_a_durable_follower_knows_what_was_acknowledged_before(
    connection: Connection,
) -> None:
    await fill(connection, 1, 3)
    fresh = durable(connection, after=None)
    await fresh.prepare()
    assert fresh.delivered == 3
    async with Following(fresh) as following:
        await fill(connection, 4, 4)
        await following.until(4)
    await acknowledged(connection, 4)
    again = durable(connection)
    await again.prepare()
    assert again.delivered == 4


async def test_what_is_not_acknowledged_in_time_is_delivered_again(connection: Connection) -> None:
    follower = durable(connection, acknowledge_within=0.3)
    async with Following(follower, acknowledge=False) as following:
        await fill(connection, 1, 2)
        await until(lambda: following.numbers.count(1) >= 2, "a second delivery")
        for message in list(following.messages):
            await message.acknowledge()
        await acknowledged(connection, 2)
    assert set(following.numbers) == {1, 2}


async def test_what_was_not_acknowledged_before_the_connection_was_lost_is_delivered_again(
    connection: Connection, relay: Relay
) -> None:
    follower = durable(connection, acknowledge_within=0.5)
    async with Following(follower, acknowledge=False) as following:
        await fill(connection, 1, 1)
        await following.until(1)
        relay.cut()
        await following.messages[0].acknowledge()
        await until(lambda: following.numbers.count(1) >= 2, "a second delivery")


async def test_an_acknowledgement_that_the_broker_lost_costs_a_second_delivery_at_most(
    connection: Connection, broker: Broker
) -> None:
    async with Following(durable(connection, acknowledge_within=0.5)) as following:
        for number in range(1, 6):
            await fill(connection, number, number)
            await following.until(number)
            # The broker keeps positions in memory for some 100 ms before they reach its disk.
            broker.process.kill()
            await asyncio.to_thread(broker.start)
        await fill(connection, 6, 6)
        await following.until(6)
        await acknowledged(connection, 6)
    assert set(following.numbers) == set(range(1, 7))


async def disturb_relay(connection: Connection, broker: Broker, relay: Relay) -> None:
    relay.cut()


async def disturb_stall(connection: Connection, broker: Broker, relay: Relay) -> None:
    relay.stall()


async def disturb_broker(connection: Connection, broker: Broker, relay: Relay) -> None:
    broker.process.kill()
    await asyncio.to_thread(broker.start)


async def disturb_consumer(connection: Connection, broker: Broker, relay: Relay) -> None:
    await delete_consumers(connection)


@pytest.mark.parametrize("make", [ephemeral, durable])
@pytest.mark.parametrize(
    "disturb", [disturb_relay, disturb_stall, disturb_broker, disturb_consumer]
)
async def test_a_follower_goes_on_whatever_happens_and_misses_nothing(
    connection: Connection,
    observer: Connection,
    broker: Broker,
    relay: Relay,
    make: Make,
    disturb: Callable[[Connection, Broker, Relay], Awaitable[None]],
) -> None:
    async with Following(make(connection, acknowledge_within=0.5)) as following:
        filling = asyncio.create_task(fill(observer, 1, 600))
        for number in (100, 300, 500):
            await following.until(number)
            await disturb(observer, broker, relay)
        await filling
        await following.until(*range(1, 601))
    # A durable one may be given again what it acknowledged over a connection that was lost.
    assert make is durable or following.numbers == list(range(1, 601))


@pytest.mark.parametrize("make", [ephemeral, durable])
async def test_two_interruptions_in_one_moment_are_as_good_as_one(
    connection: Connection, observer: Connection, relay: Relay, make: Make
) -> None:
    async with Following(make(connection, acknowledge_within=0.5)) as following:
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
    assert make is durable or following.numbers == list(range(1, 151))


@pytest.mark.parametrize("make", [ephemeral, durable])
@pytest.mark.parametrize("after", [0, None, 2])
async def test_of_a_stream_that_was_made_anew_all_is_yielded(
    connection: Connection, observer: Connection, make: Make, after: int | None
) -> None:
    await fill(observer, 1, 2)
    async with Following(make(connection, after=after)) as following:
        await fill(observer, 3, 20)
        await following.until(20)
        await observer.call(f"STREAM.DELETE.{STREAM}")
        await make_stream(observer)
        await fill(observer, 31, 33)
        await following.until(33)
    assert [number for number in following.numbers if number > 30] == [31, 32, 33]


async def test_of_a_stream_made_anew_all_is_yielded_to_a_durable_follower_in_its_second_life(
    observer: Connection,
) -> None:
    await make_stream(observer)
    await durable(observer, after=None).prepare()
    async with Following(durable(observer, after=None)) as following:
        await observer.call(f"STREAM.DELETE.{STREAM}")
        await make_stream(observer)
        await fill(observer, 1, 2)
        await following.until(1, 2)


async def test_of_a_stream_that_lost_its_end_all_that_comes_is_yielded(
    connection: Connection, observer: Connection
) -> None:
    await fill(observer, 1, 3)
    async with Following(ephemeral(connection, after=20)) as following:
        await fill(observer, 4, 5)
        await following.until(5)
    assert following.numbers == [4, 5]


async def test_a_silent_consumer_is_noticed_while_the_connection_is_well(
    connection: Connection, observer: Connection, relay: Relay
) -> None:
    """The broker's signs of life are missed where its pings are answered."""
    async with Following(ephemeral(connection)) as following:
        await fill(observer, 1, 1)
        await following.until(1)
        client = await connection.client()
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


async def test_a_thousand_may_wait_at_one_durable_consumer(connection: Connection) -> None:
    async def wait() -> None:
        async for _ in durable(connection, batch=1):
            pass

    async def all_wait() -> bool:
        info = await connection.call(f"CONSUMER.INFO.{STREAM}.tests")
        return bool(info["num_waiting"] == 1000)

    waiting = [asyncio.create_task(wait()) for _ in range(1000)]
    await until_answered(all_wait)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


@pytest.mark.parametrize("ticks", range(4))
@pytest.mark.parametrize("make", [ephemeral, durable])
async def test_a_follower_that_is_cancelled_as_a_message_arrives_ends(
    connection: Connection, make: Make, ticks: int
) -> None:
    async with Following(make(connection)) as following:
        await fill(connection, 1, 1)
        await following.until(1)
        message = following.messages[0].origin
        await (await delivery(connection, message))(message)
        for _ in range(ticks):
            await asyncio.sleep(0)
        following.task.cancel()
        await until(following.task.done, "the end of the follower")


async def delivery(connection: Connection, message: Msg) -> Callable[[Msg], Awaitable[None]]:
    """Return what is called with each message of the subscription that brought this one."""
    deliver: Callable[[Msg], Awaitable[None]] = (await subscription(connection, message))._cb
    return deliver


async def subscription(connection: Connection, message: Msg) -> Any:
    client = await connection.client()
    assert message._sid is not None
    return client._subs[message._sid]


async def test_a_delivery_that_is_lost_on_the_way_is_asked_for_again(
    connection: Connection,
) -> None:
    async with Following(ephemeral(connection)) as following:
        await fill(connection, 1, 1)
        await following.until(1)
        message = following.messages[0].origin
        deliver = await delivery(connection, message)

        async def lose(message: Msg) -> None:
            if message.data != b"2":
                await deliver(message)

        (await subscription(connection, message))._cb = lose
        await fill(connection, 2, 4)
        await following.until(4)
    assert following.numbers == [1, 2, 3, 4]


@pytest.mark.parametrize("ticks", range(0, 60, 3))
async def test_a_connection_that_is_left_while_it_connects_ends(
    broker: Broker, relay: Relay, ticks: int
) -> None:
    async with asyncio.timeout(30):
        async with Connection(Settings([relay.url], broker.credentials), "tests"):
            for _ in range(ticks):
                await asyncio.sleep(0)
    await until(lambda: relay.open == 0, "the end of the connection")


async def test_a_lost_connection_is_noticed_before_any_sign_of_life_is_missed(
    connection: Connection, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "HEARTBEAT", 600.0)
    monkeypatch.setattr(follower_module, "PULL_EXPIRES", 3600.0)
    async with Following(ephemeral(connection)) as following:
        await fill(connection, 1, 1)
        await following.until(1)
        relay.cut()
        await fill(connection, 2, 2)
        await following.until(2)


async def test_signs_of_life_and_the_end_of_a_request_leave_the_consumer_as_it_is(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "HEARTBEAT", 0.1)
    monkeypatch.setattr(follower_module, "PULL_EXPIRES", 0.5)
    client = await connection.client()
    with capture_logs() as logs:
        async with Following(ephemeral(connection)) as following:
            before, received = await consumers(connection), client.stats["in_msgs"]
            await until(lambda: client.stats["in_msgs"] >= received + 15, "signs of life")
            assert await consumers(connection) == before
            await fill(connection, 1, 600)
            await following.until(600)
            assert await consumers(connection) == before
    assert following.numbers == list(range(1, 601))
    assert not logs


async def test_a_follower_that_is_left_leaves_no_subscription(connection: Connection) -> None:
    client = await connection.client()
    before = len(client._subs)
    for _ in range(3):
        async with Following(ephemeral(connection)) as following:
            await fill(connection, 1, 1)
            await following.until(1)
    await until(lambda: len(client._subs) <= before + 1, "the end of the subscriptions")
