"""Streams as an endpoint answers with them, and whoever receives them."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from starlette.requests import Request
from starlette.types import Message

from towline.controller.auth import Authenticator
from towline.controller.http.binding import Binding
from towline.controller.http.limits import Callers, Limits
from towline.controller.token_keys import TokenKeys
from towline.endpoint import Context, Event, Stream
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
