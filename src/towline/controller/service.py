"""Service: whether this controller may act, and receives what only one of several is to receive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from towline.broker.connection import Connection
from towline.broker.listener import Listener
from towline.controller.jobs.indexer import Indexer
from towline.controller.presence import Presence
from towline.errors import BrokerError

log = structlog.get_logger()

LOOK_EVERY = 0.05
"""Seconds between looks whether the fold has caught up, at the start."""


class Service:
    """Serves nodes while this controller has both its connections, and knows what there is to know.

    A controller that has lost either of them leaves the queue group, so that what nodes send
    reaches another one, gives up its lease, and sends nothing.

    Attributes:
        able: set while it may act.

    Args:
        journal, nodes: the connections.
        listeners: what is subscribed only while there are both connections and the fold has caught
            up: before it may act, since nodes register by one of them.
    """

    def __init__(
        self,
        journal: Connection,
        nodes: Connection,
        indexer: Indexer,
        presence: Presence,
        able: asyncio.Event,
        listeners: Sequence[Listener],
    ) -> None:
        self._journal = journal
        self._nodes = nodes
        self._indexer = indexer
        self._presence = presence
        self._listeners = listeners
        self.able = able

    async def run(self) -> None:
        """Serve whenever that is possible, for ever."""
        while True:
            await self._journal.client()
            await self._nodes.client()
            if self._nodes.clustered:
                # A server that is cut off from the others of its cluster shows by what it doesn't
                # store: then both connections leave it.
                self._nodes.move(self._journal.server)
                if not self._nodes.connected or self._nodes.server != self._journal.server:
                    await asyncio.sleep(LOOK_EVERY)
                    await self._nodes.client()
            lost = [
                asyncio.create_task(self._journal.lost()),
                asyncio.create_task(self._nodes.lost()),
            ]
            try:
                await self._serve(lost)
            finally:
                self.able.clear()
                for task in lost:
                    task.cancel()

    async def _caught_up(self) -> bool:
        """Return whether the fold is where the journal is: also after a while without it."""
        if not self._indexer.caught_up:
            return False
        try:
            await self._indexer.catch_up()
        except BrokerError as error:
            log.info("not serving nodes yet", reason=error.details)
            return False
        return True

    async def _serve(self, lost: list[asyncio.Task[None]]) -> None:
        """Serve until a connection is lost."""
        while not await self._caught_up():
            await asyncio.wait(lost, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            if any(task.done() for task in lost):
                return
        async with contextlib.AsyncExitStack() as stack:
            for listener in self._listeners:
                await stack.enter_async_context(listener)
            settled = asyncio.create_task(self._presence.settled.wait())
            try:
                await asyncio.wait([*lost, settled], return_when=asyncio.FIRST_COMPLETED)
                if settled.done() and not any(task.done() for task in lost):
                    self.able.set()
                    log.info("serving nodes")
                await asyncio.wait(lost, return_when=asyncio.FIRST_COMPLETED)
            finally:
                settled.cancel()
                self.able.clear()
