"""The inventory: what a provider finds on the node is sent as it changes, and in whole when asked.

Nothing of it is kept: what gets lost on its way a controller misses by the hash in the next
heartbeat, and asks for.
"""

from __future__ import annotations

import asyncio

import msgspec

from towline.agent.provider import HeldInventory
from towline.broker.connection import Connection
from towline.wire.inventory import Inventory
from towline.wire.subjects import inventory_subject

PACE = 1.0
"""Seconds between two whole inventories, at least: several controllers may ask together."""


class InventorySender:
    """Sends the inventory of a node's provider.

    Args:
        here: set once the fleet knows that this node is here.
        pace: seconds; see the constant.
    """

    def __init__(
        self,
        connection: Connection,
        machine: str,
        inventory: HeldInventory,
        here: asyncio.Event,
        *,
        pace: float = PACE,
    ) -> None:
        self._connection = connection
        self._subject = inventory_subject(machine)
        self._inventory = inventory
        self._here = here
        self._pace = pace
        self._asked = asyncio.Event()

    def recount(self) -> None:
        """Send all that the node has."""
        self._asked.set()

    async def run(self) -> None:
        """Send what there is to send, for ever."""
        # What is said before that is of a node that nobody knows.
        await self._here.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._inventory.follow(self._send))
            group.create_task(self._answer())

    async def _answer(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            for message in self._inventory.whole():
                await self._send(message)
            await asyncio.sleep(self._pace)

    async def _send(self, message: Inventory) -> None:
        await self._connection.publish(self._subject, msgspec.json.encode(message))
