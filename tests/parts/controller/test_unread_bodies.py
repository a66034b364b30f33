"""Requests that are answered before their body has been read, over real connections."""

import asyncio
import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from towline.controller.auth import Authenticator
from towline.controller.http import request as reading
from towline.controller.http.app import Paths, application
from towline.controller.http.binding import Binding
from towline.controller.http.limits import Callers, Limits
from towline.controller.http.middleware import answer
from towline.controller.http.server import Server, bind
from towline.controller.token_keys import TokenKeys
from towline.endpoint import Context, Endpoint
from towline.errors import TowlineError
from towline.signature import of_function

MIB = 1024**2


async def read(request: Request) -> Response:
    body = await reading.read_body(request)
    return answer({"bytes": len(body)})


async def leave_unread(request: Request) -> Response:
    raise TowlineError("Refused before the body was looked at.")


async def guarded(context: Context) -> None:
    """Do nothing."""
    raise AssertionError("nobody has a token")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server with routes that read a body, and that leave it alone."""
    endpoint = Endpoint[..., None](
        guarded,
        of_function("a.b", guarded, {}, path="/guarded", has_body=True),
        None,
        name="a.b",
        route="POST /guarded",
        permission="ship:write",
        documentation="",
    )
    controller: Any = None
    paths: Paths = {
        "/read": {"POST": read},
        "/leave": {"POST": leave_unread},
        "/guarded": {
            "POST": Binding(
                endpoint,
                Authenticator(TokenKeys([b"k" * 32])),
                controller,
                Callers(Limits()),
            )
        },
    }
    listener = bind("127.0.0.1", 0)
    server = Server(application(paths), listener, lambda: None, Limits())
    stopping: Future[None] = Future()

    async def serve() -> None:
        serving = asyncio.create_task(server.run())
        await asyncio.wrap_future(stopping)
        serving.cancel()
        await asyncio.wait([serving])

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    yield listener.getsockname()[1]
    stopping.set_result(None)
    thread.join()


def post(
    connection: http.client.HTTPConnection, path: str, size: int, *, chunked: bool, close: bool
) -> int:
    """Send a whole body, as most clients do, and only then look for an answer."""
    headers = {"Connection": "close"} if close else {}
    chunks = (b"x" * MIB for _ in range(size // MIB))
    if chunked:
        connection.request("POST", path, chunks, headers, encode_chunked=True)
    else:
        headers["Content-Length"] = str(size)
        connection.request("POST", path, chunks, headers)
    response = connection.getresponse()
    response.read()
    return response.status


@pytest.mark.parametrize("close", [True, False], ids=["closes", "keeps"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "sized"])
@pytest.mark.parametrize(
    ("path", "status"),
    [("/read", 413), ("/leave", 500), ("/guarded", 401), ("/nowhere", 404)],
)
def test_a_client_that_sends_30_mb_sees_the_answer(
    port: int, path: str, status: int, chunked: bool, close: bool
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    assert post(connection, path, 30 * MIB, chunked=chunked, close=close) == status
    connection.close()


def test_a_connection_whose_body_was_thrown_away_is_good_for_the_next_request(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(3):
        assert post(connection, "/leave", 2 * MIB, chunked=False, close=False) == 500
        connection.request("POST", "/read", b"1234")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"bytes":4}')
    connection.close()


def test_a_body_without_end_is_not_received_without_end(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        post(connection, "/leave", 2048 * MIB, chunked=True, close=False)
    connection.close()


def test_who_asks_before_sending_is_answered_and_not_waited_for(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", "/leave")
    connection.putheader("Content-Length", str(30 * MIB))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 500
    assert response.getheader("Connection") == "close"
    assert response.read()
    connection.close()
