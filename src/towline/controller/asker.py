"""Whether whoever has sent a request still waits for its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from towline.runtime.pauses import within

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
"""Returns the next message of a request's client, as ASGI has them."""

GONE = "http.disconnect"

_receive: ContextVar[Receive | None] = ContextVar("receive", default=None)


@contextlib.contextmanager
def asking(receive: Receive) -> Iterator[None]:
    """Have `while_asked`, in the block, end when a client hangs up whose request has been read."""
    token = _receive.set(receive)
    try:
        yield
    finally:
        _receive.reset(token)


async def while_asked(seconds: float, awaited: Awaitable[object]) -> bool:
    """Await something for so long at most, and not longer than somebody waits for the answer.

    Returns:
        whether it came in time. If not, it was cancelled.
    """
    receive = _receive.get()
    if receive is None:
        return await within(seconds, awaited)
    work, gone = asyncio.ensure_future(awaited), asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait({work, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return False
        await work
        return True
    finally:
        for each in (work, gone):
            each.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != GONE:
        pass  # what is left of a body that nobody reads
