"""A controller that is told of inventories, by a clock that tests move."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from tests.testing.doubles import ConnectionDouble
from tests.testing.signing import SIGNER, opened
from tests.unit.controller.inventory.node import START
from towline.broker.listener import Received
from towline.controller.budget import Budget
from towline.controller.fleet import Fleet
from towline.controller.inventory.inventories import Inventories
from towline.controller.jobs.index import SCHEMA, Index
from towline.controller.moment import LocalClock
from towline.wire import messages
from towline.wire.inventory import ImageHeld, Inventory, hash_of
from towline.wire.node import Heartbeat, Registration
from towline.wire.release import Recount

NOW = 1_700_000_000.0


class InMemory(Index):
    """An index without a file."""

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:", isolation_level=None)
        database.executescript(SCHEMA)
        return database


class World:
    """A controller and the nodes that it knows.

    Attributes:
        changed: what those were told who want to know of changes.

    Args:
        machines: of the nodes that are registered; their hostnames, too.
        file: of the index; None for one that is not kept.
    """

    def __init__(self, *machines: str, file: Path | None = None, now: float = 1000.0) -> None:
        self.now = now
        clock = LocalClock(lambda: self.now, lambda: NOW + self.now)
        self.fleet, self.connection = Fleet(clock), ConnectionDouble()
        self.index = InMemory(Path("nowhere")) if file is None else Index(file)
        self.fleet_known = asyncio.Event()
        self.inventories = Inventories(
            *(self.connection, SIGNER, self.fleet, Budget(), self.index, self.fleet_known),
            clock=lambda: self.now,
        )
        self.changed: list[set[str]] = []
        self.inventories.subscribe(self.changed.append)
        for machine in machines or ("m1",):
            self.fleet.register(Registration(machine, machine, "0.2.0", NOW))

    def say(self, *said: Inventory, machine: str = "m1") -> None:
        """Have messages of a node arrive."""
        for each in said:
            received = Received(f"inventory.{machine}", msgspec.json.encode(each), "")
            self.inventories._receive(received)

    def beat(self, hash: str = "", machine: str = "m1", start: str = START, **more: Any) -> None:
        """Have a heartbeat of a node arrive."""
        self.fleet.receive(machine, Heartbeat(start, 5.0, inventory=hash, **more))

    def have(self, machine: str, *images: ImageHeld) -> None:
        """Have a node be here and say that it has these images."""
        self.beat(machine=machine)
        self.say(Inventory(START, hash_of(images), "", [*images]), machine=machine)

    async def asked(self, after: float = 0.0) -> list[str]:
        """Return the machines that are asked after so many seconds, by what was sent to each."""
        self.now += after
        for machine in self.inventories._to_be_asked(1000):
            await self.inventories._ask_one(machine)
        found = []
        for subject, data in self.connection.published:
            machine = subject.split(".")[1]
            assert isinstance(messages.order(opened(data), machine), Recount)
            found.append(machine)
        self.connection.published.clear()
        return found
