"""Connections that end, or whose clients take nothing, while requests are under way on them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from towline.controller.http.app import Paths, application
from towline.controller.http.limits import Limits
from towline.controller.http.server import Server, bind

LARGE = b"x" * 32 * 1024**2


class Serving:
    """A server that takes one connection of an address.

    Attributes:
        begun, ended: set when a stream has begun, and when it has ended.
    """

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        limits = Limits(connections_of_address=1, idle=0.2, stuck=0.2, look_every=0.05)
        self._listener = bind("127.0.0.1", 0)
        paths: Paths = {
            "/stream": {"GET": self._stream},
            "/large": {"GET": self._large},
            "/size": {"POST": self._size},
        }
        self._server = Server(
            application(paths), self._listener, lambda: None, limits, stop_within=1
        )
        self._task = asyncio.create_task(self._server.run())

    async def close(self) -> None:
        """Stop the server."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def connect(self) -> socket.socket:
        """Return a connection that receives little before it is read from."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, self._listener.getsockname())
        return client

    async def _stream(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            self.begun.set()
            try:
                yield b"piece"
                await asyncio.Event().wait()
            finally:
                self.ended.set()

        return StreamingResponse(pieces())

    async def _large(self, request: Request) -> Response:
        return Response(LARGE)

    async def _size(self, request: Request) -> Response:
        return Response(f"{len(await request.body())} bytes")


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """A server."""
    found = Serving()
    yield found
    await found.close()


def asked(path: str, *more: str) -> bytes:
    """Return a request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *more, "", ""]).encode()


@pytest.mark.parametrize(
    "behind",
    [b"", asked("/large"), 2 * asked("/large"), asked("/large") + b"no HTTP\r\n\r\n"],
    ids=["nothing", "one", "two", "one and nonsense"],
)
async def test_a_stream_ends_with_its_connection_whatever_was_sent_behind_it(
    serving: Serving, behind: bytes
) -> None:
    with contextlib.closing(await serving.connect()) as client:
        client.send(asked("/stream") + behind)
        async with asyncio.timeout(20):
            await serving.begun.wait()
            client.close()
            await serving.ended.wait()


@pytest.mark.parametrize("more", [(), ("Connection: close",)], ids=["kept", "closed"])
async def test_a_client_that_takes_nothing_of_a_whole_answer_is_given_up(
    serving: Serving, more: tuple[str, ...]
) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.closing(await serving.connect()) as client:
        client.send(asked("/large", *more))
        async with asyncio.timeout(20):
            while True:
                # Another connection is taken once that one is gone.
                other = await serving.connect()
                with contextlib.closing(other), contextlib.suppress(ConnectionError):
                    await loop.sock_sendall(other, asked("/nothing", "Connection: close"))
                    if b" 404 " in await loop.sock_recv(other, 100):
                        return
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("piece", [b"x", b"x" * 4, b"x" * 1000])
async def test_a_body_is_taken_in_chunks_however_small(serving: Serving, piece: bytes) -> None:
    loop, size = asyncio.get_running_loop(), 100_000
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    head = b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with contextlib.closing(await serving.connect()) as client:
        async with asyncio.timeout(60):
            await loop.sock_sendall(client, head + size // len(piece) * chunk + b"0\r\n\r\n")
            answer = b""
            while b"bytes" not in answer:
                received = await loop.sock_recv(client, 1000)
                assert received, answer
                answer += received
    assert b"\r\n100000 bytes" in answer
