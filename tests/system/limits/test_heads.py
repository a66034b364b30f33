"""Heads of requests that are too large stop nobody else."""

import asyncio

import pytest

from tests.testing.answers import refused
from tests.testing.attack import Sender, meanwhile
from tests.testing.cluster import Cluster

REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n"
MIB = 1024**2


@pytest.mark.parametrize(
    "pieces",
    [
        [REQUEST, b"X-Large: ", *[b"x" * MIB] * 64],
        [REQUEST, *[b"X-Many: %b\r\n" % (b"x" * 1000) * 1000] * 64],
        [b"GET /", *[b"x" * MIB] * 64],
        [b"GET /health?", *[b"x=1&" * 1000] * 64],
    ],
    ids=["one-header", "many-headers", "path", "query"],
)
async def test_64_mb_of_a_head_are_refused_as_soon_as_that_is_seen(
    guarded: Cluster, pieces: list[bytes]
) -> None:
    async with meanwhile(guarded), Sender(guarded) as sender:
        for piece in pieces:
            if not await sender.send(piece):
                break
        assert "larger than 65536 bytes" in refused(await sender.answer(), 431)


async def test_what_follows_a_body_is_no_way_around_that(guarded: Cluster) -> None:
    head = (
        b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\n\r\n1\r\n{\r\n"
    )
    for rest in (b"0\r\nX-Trailer: ", b"1;extension="):
        async with meanwhile(guarded), Sender(guarded) as sender:
            await sender.send(head + rest)
            for _ in range(64):
                if not await sender.send(b"x" * MIB):
                    break
            assert len(await sender.received()) < 1000
            assert not await sender.send(b"x" * MIB)


async def test_a_head_of_many_headers_is_refused(guarded: Cluster) -> None:
    async with Sender(guarded) as sender:
        await sender.send(REQUEST + b"X: y\r\n" * 1000 + b"\r\n")
        assert "more than 100 headers" in refused(await sender.answer(), 431)


async def test_a_long_head_within_the_limits_is_taken_in_whatever_pieces_it_comes(
    guarded: Cluster,
) -> None:
    head = REQUEST + b"X-Long: " + b"x" * 60_000 + b"\r\nConnection: close\r\n\r\n"
    for size in (len(head), 10_000, 1_999):
        async with Sender(guarded) as sender:
            for at in range(0, len(head), size):
                await sender.send(head[at : at + size])
                await asyncio.sleep(0.001)
            assert (await sender.answer()).status_code == 200


async def test_many_requests_that_are_sent_in_one_piece_are_answered(guarded: Cluster) -> None:
    async with Sender(guarded) as sender:
        asked = REQUEST + b"X-Some: " + b"x" * 2000 + b"\r\n\r\n"
        last = REQUEST + b"Connection: close\r\n\r\n"
        await sender.send(asked * 200 + last)
        assert (await sender.received()).count(b"HTTP/1.1 200") == 201


@pytest.mark.parametrize(
    "name",
    [
        *("Prefer", "Accept", "Accept-Encoding", "Authorization", "X-API-Key", "Content-Type"),
        *("Content-Length", "Connection", "Expect", "Idempotency-Key", "Last-Event-ID"),
        *("traceparent", "X-Registry-Auth", "If-None-Match", "Transfer-Encoding", "X-Unknown"),
    ],
)
async def test_16_kb_of_blanks_in_any_header_stall_nobody(guarded: Cluster, name: str) -> None:
    token = guarded.token("admin", subject="attacker").encode()
    path = b"/node/web-01/container/docker/pull"
    for value in (b"a" + b" " * 16_000 + b"b", b"a ," * 5_000, b"\t" * 16_000):
        async with meanwhile(guarded, read=False), Sender(guarded) as sender:
            await sender.send(
                b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n%b: %b\r\n"
                b"Connection: close\r\n\r\n" % (path, token, name.encode(), value)
            )
            assert 400 <= (await sender.answer()).status_code < 500


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"GET /health HTTP/1.1\r\n\r\n", "no Host header"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "more than one Host header"),
    ],
)
async def test_a_request_that_is_for_no_one_host_is_refused(
    guarded: Cluster, head: bytes, words: str
) -> None:
    async with Sender(guarded) as sender:
        await sender.send(head)
        assert words in refused(await sender.answer(), 400)


async def test_http_1_0_needs_no_host(guarded: Cluster) -> None:
    async with Sender(guarded) as sender:
        await sender.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert (await sender.answer()).status_code == 200
