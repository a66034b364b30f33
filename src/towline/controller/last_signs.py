"""When each node was heard last, kept for controllers that are started anew."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Iterable

import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.broker.repeated import Repeated
from towline.controller.fleet import AHEAD, Fleet
from towline.controller.member import Member
from towline.errors import BrokerError
from towline.wire.node import Signs

log = structlog.get_logger()

BUCKET = "signs"
SHARES = 16
"""Values that hold the signs of all nodes: of 10,000 each has some 30 kB."""
LOOK_EVERY = 5.0
"""Seconds within which is kept when a node was heard last that is away now."""
KEEP_EVERY = 60.0
"""Seconds by which what is kept of nodes that are here may be behind: of those that go while no
controller is there, no more is known. It makes for as many writes a minute as there are shares."""
EARLIER = 1.0
"""Seconds by which what is kept of a node that is away may be behind."""


class LastSigns:
    """Keeps when each node was heard last, and learns what other controllers have kept.

    The latest counts, whoever has kept it, so controllers need not agree on who does: one keeps a
    share where it knows something later, and of two that do so at once the broker takes one.

    Args:
        able: set while this controller has its connections and knows who is here.
        look_every, keep_every: seconds; see the constants.
    """

    def __init__(
        self,
        fleet: Fleet,
        jetstream: JetStream,
        able: asyncio.Event,
        *,
        look_every: float = LOOK_EVERY,
        keep_every: float = KEEP_EVERY,
    ) -> None:
        self._fleet = fleet
        self._able = able
        self._look_every = look_every
        self._keep_every = keep_every
        self._bucket = Bucket(jetstream, BUCKET, Signs)
        self._kept: dict[str, tuple[Signs, int]] = {}
        """By share, with its place in the bucket."""
        self.known = asyncio.Event()
        """Set once all that is kept has been read."""
        self._failures = Repeated("last signs of nodes not kept")

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist; raises as `Bucket.create`."""
        await self._bucket.create(replicas)

    async def run(self) -> None:
        """Keep and learn, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._keep())

    async def _follow(self) -> None:
        async for change in self._bucket.follow(all_read=self.known.set):
            self._kept[change.key] = change.value, change.sequence
            for machine, heard in change.value.heard.items():
                self._fleet.heard(machine, heard)

    async def _keep(self) -> None:
        await self.known.wait()
        try:
            while True:
                await asyncio.sleep(self._look_every * random.uniform(0.5, 1.0))
                await self._able.wait()
                for share, members in self._shares().items():
                    await asyncio.sleep(0)  # others have their turn between two of them
                    await self._look(share, members)
        finally:
            self._failures.close()

    def _shares(self) -> dict[str, list[Member]]:
        found: dict[str, list[Member]] = {}
        for member in self._fleet.members():
            found.setdefault(str(zlib.crc32(member.machine.encode()) % SHARES), []).append(member)
        return found

    async def _look(self, share: str, members: list[Member]) -> None:
        """Keep a share again where something later is known of one of its nodes."""
        kept, sequence = self._kept.get(share, (Signs(), 0))
        if not self._is_behind(kept, members):
            return
        heard = {each.machine: round(sign, 3) for each in members if (sign := each.sign)}
        try:
            sequence = await self._bucket.put(share, Signs(heard), last=sequence)
        except WrongLastSequence:
            return  # another controller was first: what it has kept is on its way here
        except BrokerError as error:
            self._failures.warning(reason=str(error))
            return
        if sequence > self._kept.get(share, (Signs(), 0))[1]:
            self._kept[share] = Signs(heard), sequence

    def _is_behind(self, kept: Signs, members: Iterable[Member]) -> bool:
        wrong = self._fleet.clock.wall() + AHEAD
        for member in members:
            sign, known = member.sign, kept.heard.get(member.machine, 0.0)
            if sign is None:
                continue
            if known > wrong or sign - known > (self._keep_every if member.here else EARLIER):
                return True
        return False
