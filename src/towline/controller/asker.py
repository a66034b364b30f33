"""Whether whoever has sent a request still waits for its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from contextvars import ContextVar

from towline.runtime.pauses import within


class Asker:
    """A client, as long as its connection is there."""

    def __init__(self) -> None:
        self._gone = False
        self._waits: set[asyncio.Timeout] = set()

    def leave(self) -> None:
        """Break off all that waits for it: it has hung up."""
        self._gone = True
        for wait in self._waits:
            _break_off(wait)

    async def wait(self, seconds: float, awaited: Awaitable[object]) -> bool:
        """Await something as `while_asked` does."""
        try:
            async with asyncio.timeout(seconds) as wait:
                self._waits.add(wait)
                try:
                    if self._gone:
                        _break_off(wait)
                    await awaited
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            return False
        return True


def _break_off(wait: asyncio.Timeout) -> None:
    # One whose time is over, or that was broken off a moment ago, refuses another moment.
    if not wait.expired():
        wait.reschedule(asyncio.get_running_loop().time())


_asker: ContextVar[Asker | None] = ContextVar("asker", default=None)


@contextlib.contextmanager
def asking(asker: Asker | None) -> Iterator[None]:
    """Have `while_asked`, in the block, end when a client hangs up; None for one that can't."""
    token = _asker.set(asker)
    try:
        yield
    finally:
        _asker.reset(token)


async def while_asked(seconds: float, awaited: Awaitable[object]) -> bool:
    """Await something for so long at most, and not longer than somebody waits for the answer.

    Returns:
        whether it came in time. If not, it was cancelled.
    """
    asker = _asker.get()
    if asker is None:
        return await within(seconds, awaited)
    return await asker.wait(seconds, awaited)
