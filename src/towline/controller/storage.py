"""What controllers keep at the broker: made where it is absent, also after the broker lost it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from towline.broker.connection import Connection
from towline.errors import TowlineError
from towline.runtime.pauses import Pauses

log = structlog.get_logger()

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between attempts to make what is missing, at first and at most."""


class Storage:
    """The streams and buckets that the parts of a controller need.

    Args:
        create: make one of them each where it doesn't exist, in this order.
    """

    def __init__(
        self, connection: Connection, create: Sequence[Callable[[], Awaitable[None]]]
    ) -> None:
        self._connection = connection
        self._create = create
        self.ready = asyncio.Event()
        """Set once all of them exist."""

    async def make(self) -> None:
        """Make what doesn't exist, however long the broker takes to allow it."""
        pauses = Pauses(SHORTEST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                for create in self._create:
                    await create()
            except TowlineError as error:
                log.warning("journal not made yet", reason=error.details)
                await pauses.wait()
                continue
            self.ready.set()
            return

    async def run(self) -> None:
        """Make what doesn't exist, at each new connection, for ever.

        The broker keeps some of it in memory only.
        """
        while True:
            await self._connection.client()
            await self.make()
            await self._connection.lost()
