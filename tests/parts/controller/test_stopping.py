"""A server that is stopped while requests are under way, over real connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tests.testing.answers import error_body
from towline.controller.http import request as reading
from towline.controller.http.app import application
from towline.controller.http.limits import Limits
from towline.controller.http.middleware import answer
from towline.controller.http.server import Server, bind
from towline.errors import TowlineError

PIECE = b"x" * 100_000


async def wait(request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError("nothing ends this but the server")


async def read(request: Request) -> Response:
    return answer({"bytes": len(await reading.read_body(request))})


async def leave_unread(request: Request) -> Response:
    raise TowlineError("Refused before the body was looked at.")


async def flood(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield PIECE
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


class Stopped:
    """A server that is stopped once requests have come."""

    def __init__(self) -> None:
        paths: Any = {
            "/wait": {"GET": wait},
            "/read": {"POST": read},
            "/leave": {"POST": leave_unread},
            "/flood": {"GET": flood},
        }
        self._listener = bind("127.0.0.1", 0)
        self._server = Server(
            application(paths), self._listener, lambda: None, Limits(), stop_within=1
        )
        self._address = self._listener.getsockname()

    async def answers(self, sent: bytes, *, unread: bool) -> bytes:
        """Return what a connection has received by the end of the server, and of itself."""
        serving = asyncio.create_task(self._server.run())
        reader, writer = await asyncio.open_connection(*self._address, limit=1000)
        writer.write(sent)
        received = b""
        if unread:
            await asyncio.sleep(0.5)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    while piece := await reader.read(1000):
                        received += piece
        serving.cancel()
        await asyncio.wait([serving])
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(10**6):
                received += piece
        writer.close()
        return received


HEAD = "Host: x\r\nContent-Length: 30\r\nContent-Type: application/json\r\n\r\n{"


@pytest.mark.parametrize(
    ("request_line", "head", "status"),
    [
        ("GET /wait", "Host: x\r\n\r\n", 503),
        ("POST /read", HEAD, 503),
        ("POST /leave", HEAD, 500),
        ("GET /flood", "Host: x\r\n\r\n", 200),
    ],
)
async def test_what_is_under_way_ends_with_the_server_and_is_answered(
    request_line: str, head: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    sent = f"{request_line} HTTP/1.1\r\n{head}".encode()
    async with asyncio.timeout(30):
        received = await Stopped().answers(sent, unread=status == 200)
    begin, _, body = received.partition(b"\r\n\r\n")
    assert int(begin.split()[1]) == status
    if status != 200:
        assert b"application/json" in begin
        error_body(body, status)
    assert [record for record in caplog.records if record.exc_info] == []
    assert "ASGI" not in caplog.text
