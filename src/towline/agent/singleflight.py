"""Work that several tasks want at the same time, done once for all of them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
W = TypeVar("W")


class Flight(Generic[W]):
    """Some work, done once for all who wait for it.

    Attributes:
        wanted: what the first of them wants.
        begun: whether it is under way.
        behind: whether others of the same key have to end before it begins.
        members: those who wait for it.
    """

    def __init__(self, wanted: W) -> None:
        self.wanted = wanted
        self.begun = False
        self.behind = False
        self.members: list[Any] = []
        self.task: asyncio.Task[Any]


def not_begun(flight: Flight[Any]) -> bool:
    """Return whether all that a flight looks at it looks at later: the rule unless given."""
    return not flight.begun


class SingleFlight(Generic[W]):
    """Does the same work once for all who wait for it, and never twice at a time for one key.

    Whoever comes while it is being done waits for the next flight, unless this one serves them:
    what they want may have come to be after it looked (it was put there a moment ago).
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, list[Flight[W]]] = {}

    async def join(
        self,
        key: Hashable,
        wanted: W,
        work: Callable[[Flight[W]], Awaitable[T]],
        *,
        serves: Callable[[Flight[W]], bool] = not_begun,
        member: Any = None,
        joined: Callable[[Flight[W]], None] = lambda _: None,
    ) -> T:
        """Return what `work` returns, or raise what it raises.

        Cancelled, it leaves the others theirs; when the last one is cancelled, so is the work.

        Args:
            key: work of the same key is never done twice at a time.
            wanted: what this one wants.
            serves: returns whether a flight that there is will do.
            member: stands in the flight's `members` for as long as this one waits.
            joined: called with the flight that this one waits for.
        """
        flights = self._flights.setdefault(key, [])
        # A flight without members is being cancelled.
        own = next((flight for flight in flights if flight.members and serves(flight)), None)
        if own is None:
            own = Flight(wanted)
            before = [flight.task for flight in flights]
            own.behind = bool(before)
            own.task = asyncio.create_task(self._do(before, work, own))
            flights.append(own)
            own.task.add_done_callback(functools.partial(self._ended, key, own))
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
        work: Callable[[Flight[W]], Awaitable[T]],
        own: Flight[W],
    ) -> T:
        if before:
            await asyncio.wait(before)
        own.begun = True
        return await work(own)

    def _ended(self, key: Hashable, own: Flight[W], _: asyncio.Task[Any]) -> None:
        flights = self._flights[key]
        flights.remove(own)
        if not flights:
            del self._flights[key]
