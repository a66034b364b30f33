"""Work that several tasks want at the same time, done once for all of them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
W = TypeVar("W")


class Round(Generic[W]):
    """One doing of some work, for everybody whom it serves.

    Attributes:
        wanted: what the first of them wanted.
        begun: whether it is under way.
        behind: whether others of the same key have to end before it.
        members: those who wait for it.
    """

    def __init__(self, wanted: W) -> None:
        self.wanted = wanted
        self.begun = False
        self.behind = False
        self.members: list[Any] = []
        self.task: asyncio.Task[Any]


def not_begun(round: Round[Any]) -> bool:
    """Whether a round looks at the world after now: the rule where nothing else is known."""
    return not round.begun


class Together(Generic[W]):
    """Does the same work once for all who wait for it, never twice at a time for one key.

    Whoever comes while it is being done waits for the next round, unless this one serves them:
    what they asked for may have become true after it looked (an image pushed a moment ago).
    """

    def __init__(self) -> None:
        self._rounds: dict[Hashable, list[Round[W]]] = {}

    async def join(
        self,
        key: Hashable,
        wanted: W,
        work: Callable[[Round[W]], Awaitable[T]],
        *,
        serves: Callable[[Round[W]], bool] = not_begun,
        member: Any = None,
        joined: Callable[[Round[W]], None] = lambda _: None,
    ) -> T:
        """Return what `work` returns, or raise what it raises.

        Cancelled, it leaves the others theirs; the last one to leave ends the work.

        Args:
            key: work of the same key is never done twice at a time.
            wanted: what this one wants.
            serves: whether a round that there is will do.
            member: stands in the round's `members` for as long as this one waits.
            joined: told which round it is that this one waits for.
        """
        rounds = self._rounds.setdefault(key, [])
        # A round without members has been left by all, and is being ended.
        own = next((round for round in rounds if round.members and serves(round)), None)
        if own is None:
            own = Round(wanted)
            before = [round.task for round in rounds]
            own.behind = bool(before)
            own.task = asyncio.create_task(self._do(before, work, own))
            rounds.append(own)
            own.task.add_done_callback(functools.partial(self._leave, key, own))
        own.members.append(member)
        try:
            joined(own)
            return cast(T, await asyncio.shield(own.task))
        finally:
            own.members.remove(member)
            if not own.members:
                own.task.cancel()

    async def _do(
        self,
        before: list[asyncio.Task[Any]],
        work: Callable[[Round[W]], Awaitable[T]],
        own: Round[W],
    ) -> T:
        if before:
            await asyncio.wait(before)
        own.begun = True
        return await work(own)

    def _leave(self, key: Hashable, own: Round[W], _: asyncio.Task[Any]) -> None:
        rounds = self._rounds[key]
        rounds.remove(own)
        if not rounds:
            del self._rounds[key]
