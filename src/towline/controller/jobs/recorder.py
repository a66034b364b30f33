"""Storing in groups: what arrives while one group is stored is the next one. No timer."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec
import structlog

from towline.broker.answers import BrokerRefused
from towline.errors import BrokerUnreachable
from towline.runtime.part import notify
from towline.wire.messages import MOST_IN_GROUP

log = structlog.get_logger()

T = TypeVar("T")

LARGEST_GROUP = 512 * 1024
"""Bytes of a group, about: half of what a broker takes that was left as it comes."""


class _Entry(msgspec.Struct, Generic[T]):
    value: T
    size: int
    places: int
    done: Callable[[Exception | None], None]


class Recorder(Generic[T]):
    """Appends values to the journal, together with whatever came while the last append went on.

    Args:
        append: stores values as one message, with a message id.
    """

    def __init__(self, append: Callable[[Sequence[T], str], Awaitable[int]]) -> None:
        self._append = append
        self._waiting: deque[_Entry[T]] = deque()
        self._arrived = asyncio.Event()

    def add(
        self, value: T, size: int, done: Callable[[Exception | None], None], *, places: int = 1
    ) -> None:
        """Store a value with the next group.

        Args:
            size: its bytes, about.
            done: called when it is stored, or with the error for which it isn't, or may not be.
            places: how many jobs and events it is.
        """
        self._waiting.append(_Entry(value, size, places, done))
        self._arrived.set()

    def store(self, value: T, size: int, *, places: int = 1) -> asyncio.Future[None]:
        """Store a value with the next group; return what is done when it is stored.

        Raises, where that is awaited:
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            if stored.done():
                return
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(error)

        self.add(value, size, done, places=places)
        return stored

    async def run(self) -> None:
        """Store what arrives, for ever."""
        group: list[_Entry[T]] = []
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    group = self._take()
                    await self._store(group)
                    group = []
        finally:
            error = BrokerUnreachable("The controller has ended.", "try again at another one")
            for entry in [*group, *self._waiting]:
                entry.done(error)
            self._waiting.clear()

    def _take(self) -> list[_Entry[T]]:
        """Return the next group: the first that waits, and what fits behind it."""
        group = [self._waiting.popleft()]
        size, places = group[0].size, group[0].places
        while self._waiting:
            size += self._waiting[0].size
            places += self._waiting[0].places
            if size > LARGEST_GROUP or places > MOST_IN_GROUP:
                break
            group.append(self._waiting.popleft())
        return group

    async def _store(self, group: list[_Entry[T]]) -> None:
        error: Exception | None = None
        try:
            await self._append([entry.value for entry in group], os.urandom(12).hex())
        except BrokerUnreachable as unreachable:
            error = unreachable
        except Exception as refused:
            if len(group) > 1:
                # Perhaps for one of them: that one alone is refused then.
                middle = len(group) // 2
                await self._store(group[:middle])
                await self._store(group[middle:])
                return
            if not isinstance(refused, BrokerRefused):
                log.exception("group not stored", entries=len(group))
            error = refused
        notify([entry.done for entry in group], error)
