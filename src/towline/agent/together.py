"""Work that several tasks want at the same time, done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class _Round:
    """One doing of some work, for everybody who came before it began."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self.task = asyncio.create_task(work)
        self.open = True
        self.waiting = 0


class Together:
    """Does the same work once for all who wait for it, never twice at a time.

    Whoever comes while it is being done waits for the next round: what they asked for may have
    become true after this one looked (an image pushed a moment ago).
    """

    def __init__(self) -> None:
        self._rounds: dict[Hashable, list[_Round]] = {}

    async def join(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns, or raise what it raises; `key` says which work is the same.

        Cancelled, it leaves the others theirs; the last one to leave ends the work.
        """
        rounds = self._rounds.setdefault(key, [])
        if rounds and rounds[-1].open:
            own = rounds[-1]
        else:
            own = _Round(self._do(rounds[-1].task if rounds else None, work, lambda: own))
            rounds.append(own)
            own.task.add_done_callback(lambda _: self._leave(key, own))
        own.waiting += 1
        try:
            return cast(T, await asyncio.shield(own.task))
        finally:
            own.waiting -= 1
            if not own.waiting:
                own.open = False
                own.task.cancel()

    async def _do(
        self,
        before: asyncio.Task[Any] | None,
        work: Callable[[], Awaitable[T]],
        own: Callable[[], _Round],
    ) -> T:
        if before is not None:
            await asyncio.wait([before])
        own().open = False
        return await work()

    def _leave(self, key: Hashable, own: _Round) -> None:
        rounds = self._rounds[key]
        rounds.remove(own)
        if not rounds:
            del self._rounds[key]
