"""The inventory that a node sends: what changes, and all of it when asked."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from tests.testing.doubles import ConnectionDouble, until
from towline.agent.inventory import InventorySender
from towline.wire.inventory import ImageHeld, Inventory

START = "0123456789abcdef"
WHOLE = [
    Inventory(START, "h", images=[ImageHeld(name)], part=n, parts=2) for n, name in enumerate("ab")
]
CHANGE = Inventory(START, "i", "h", gone=["a"])


class Held:
    """What a provider finds: what a test says."""

    def __init__(self) -> None:
        self.hash = "h"
        self.found: asyncio.Queue[Inventory] = asyncio.Queue()

    def whole(self) -> list[Inventory]:
        return WHOLE

    async def follow(self, changed: Callable[[Inventory], Awaitable[None]]) -> None:
        while True:
            await changed(await self.found.get())


def sent(connection: ConnectionDouble) -> list[Inventory]:
    assert {subject for subject, _ in connection.published} <= {"inventory.m"}
    return [msgspec.json.decode(body, type=Inventory) for _, body in connection.published]


async def test_what_changes_is_sent_once_the_node_is_known() -> None:
    connection, held, here = ConnectionDouble(), Held(), asyncio.Event()
    sender = InventorySender(connection, "m", held, here)
    running = asyncio.create_task(sender.run())
    held.found.put_nowait(CHANGE)
    await asyncio.sleep(0.02)
    assert not connection.published
    here.set()
    await until(lambda: sent(connection) == [CHANGE])
    running.cancel()


async def test_several_who_ask_for_all_are_answered_together() -> None:
    connection, here = ConnectionDouble(), asyncio.Event()
    here.set()
    sender = InventorySender(connection, "m", Held(), here, pace=0.05)
    running = asyncio.create_task(sender.run())
    sender.recount()
    await until(lambda: sent(connection) == WHOLE)
    for _ in range(3):
        sender.recount()
    await until(lambda: sent(connection) == WHOLE * 2)
    await asyncio.sleep(0.1)
    assert sent(connection) == WHOLE * 2
    running.cancel()
