"""A broker that can't be had is logged, and tried again with pauses."""

import asyncio
import random
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.relay import Relay
from tests.testing.stream import (
    connect,
    make_stream,
    until,
)
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.errors import BrokerUnreachable

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
async def test_credentials_that_are_refused_are_reported_and_tried_again_with_pauses(
    broker: Broker, relay: Relay, tmp_path: Path, credentials: str | None, reason: str
) -> None:
    path = None
    if credentials is not None:
        path = tmp_path / "other-credentials"
        path.write_text(credentials)
    with capture_logs() as logs:
        async with connect(Settings([relay.url], path)) as connection:
            with pytest.raises(BrokerUnreachable) as refused:
                await connection.request("$JS.API.INFO", b"", timeout=0.6)
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
async def test_what_is_no_broker_or_none_for_us_is_reported_and_tried_again_with_pauses(
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
        async with server, connect(Settings([url], credentials)) as connection:
            with pytest.raises(BrokerUnreachable, match=reason):
                await connection.request("$JS.API.INFO", b"", timeout=0.6)
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
    server = await asyncio.start_server(dismiss, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with capture_logs() as logs:
        async with server, connect(Settings([url]), longest_pause=0.3):
            await until(lambda: len(drawn) >= 5, "five attempts")
    assert drawn[:5] == [(0.025, 0.05), (0.05, 0.1), (0.1, 0.2), (0.15, 0.3), (0.15, 0.3)]
    assert welcome == ("broker connected" in [entry["event"] for entry in logs])


async def test_a_broker_that_accepts_and_says_nothing_is_left_again(
    broker: Broker, relay: Relay
) -> None:
    relay.silent = True
    settings = Settings([relay.url], broker.credentials)
    async with connect(settings, connect_timeout=0.2) as connection:
        await until(lambda: relay.accepted >= 4, "four attempts")
        assert relay.open <= 1
        relay.silent = False
        await make_stream(JetStream(connection))
    await until(lambda: relay.open == 0, "the end of all connections")
