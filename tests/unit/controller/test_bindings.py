"""Streams as an endpoint answers with them, and whoever receives them."""

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from towline.controller.auth import Authenticator
from towline.controller.http.binding import Binding
from towline.controller.http.limits import Callers, Limits
from towline.controller.token_keys import TokenKeys
from towline.endpoint import AnyEndpoint, Context, Event, Stream
from towline.endpoints import joining
from towline.errors import Conflict, TooManyRequests
from towline.signature import of_function

SCOPE = {
    **{"type": "http", "method": "GET", "path": "/a", "query_string": b"", "headers": []},
    "state": dict[str, object](),
}


async def test_a_function_that_waits_at_its_yield_is_closed_with_its_stream() -> None:
    closed: list[bool] = []

    async def numbers() -> AsyncIterator[Event[int]]:
        try:
            while True:
                yield Event(1)
        finally:
            closed.append(True)

    # Kept here: nothing but the stream's end is to close it.
    events = numbers()

    async def follow(context: Context) -> AsyncIterator[Event[int]]:
        return events

    signature = of_function("a.b", follow, {}, path="/a", has_body=False)
    endpoint = Stream[[], int](
        follow, signature, int, name="a.b", route="GET /a", documentation="", open=True
    )
    controller: Any = SimpleNamespace(stopping=asyncio.Event())
    authenticator = Authenticator(TokenKeys([b"k" * 32]))
    binding = Binding(endpoint, authenticator, controller, Callers(Limits()))
    sent: list[Message] = []
    full = asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 3:
            # Its client reads no more.
            full.set()
            await asyncio.Event().wait()

    async def receive() -> Message:
        await full.wait()
        return {"type": "http.disconnect"}

    response = await binding(Request(SCOPE, receive))
    async with asyncio.timeout(10):
        await response(SCOPE, receive, send)
    assert sent[2]["body"] == b"data: 1\n\n"
    assert closed == [True]


@pytest.mark.parametrize("endpoint", [joining.join, joining.renew])
async def test_who_asks_too_often_to_come_in_is_refused_before_anything_is_read(
    endpoint: AnyEndpoint,
) -> None:
    controller: Any = SimpleNamespace(joining=None)
    callers = Callers(Limits(joins=0.0, joins_at_once=1))
    authenticator = Authenticator(TokenKeys([b"k" * 32]))
    body, read = json.dumps({"key": "0" * 64, "box": "AA=="}).encode(), 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": body}

    async def ask(endpoint: AnyEndpoint) -> None:
        headers = [(b"content-type", b"application/json")]
        scope = {**SCOPE, "method": endpoint.method, "client": ("192.0.2.7", 1), "headers": headers}
        await Binding(endpoint, authenticator, controller, callers)(Request(scope, receive))

    with pytest.raises(Conflict):
        await ask(endpoint)
    before = read
    with pytest.raises(TooManyRequests, match=r"192\.0\.2\.7"):
        await ask(endpoint)
    assert read == before > 0
    with pytest.raises(Conflict):
        await ask(joining.bundle)
