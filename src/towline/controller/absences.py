"""For how long nodes have been away, as far as one controller has seen it."""

from __future__ import annotations

import asyncio

from towline.broker.connection import Connection
from towline.controller.fleet import Fleet
from towline.controller.presence import LATE

LOOK_EVERY = 0.5
"""Seconds between looks whether this process, or the machine, has stood still."""


class Absences:
    """For how long this controller has seen nodes away, without a gap in which it saw none.

    A node that is cut off from the controllers together with all others, by the end of a broker or
    of this controller, is not away by that: it has its time anew to come back.

    Args:
        nodes: the connection to the nodes' account.
        able: set while this controller has its connections and knows who is here.
        look_every, late: seconds; see the constants, and that of `presence`.
    """

    def __init__(
        self,
        fleet: Fleet,
        nodes: Connection,
        able: asyncio.Event,
        *,
        look_every: float = LOOK_EVERY,
        late: float = LATE,
    ) -> None:
        self._fleet = fleet
        self._nodes = nodes
        self._able = able
        self._look_every = look_every
        self._late = late
        self._since: float | None = None
        """Since when there was no gap, by the clock that nobody sets; None in one."""
        self._looked = 0.0

    async def run(self) -> None:
        """Look out for gaps, for ever."""
        while True:
            await self._able.wait()
            lost = asyncio.create_task(self._nodes.lost())
            self._since = self._looked = self._fleet.clock.running()
            try:
                while not lost.done() and self._able.is_set():
                    await asyncio.wait([lost], timeout=self._look_every)
                    now = self._fleet.clock.running()
                    if self._stood_still(now):
                        self._since = now
                    self._looked = now
            finally:
                lost.cancel()
                self._since = None

    def _stood_still(self, now: float) -> bool:
        return now - self._looked > self._look_every + self._late

    def of(self, machine: str) -> float:
        """Return for how many seconds a node has been away; 0 where it is here, or not known."""
        member, now = self._fleet.get(machine), self._fleet.clock.running()
        if self._since is None or self._stood_still(now) or (member is not None and member.here):
            return 0.0
        heard = 0.0 if member is None or member.received is None else member.received.running
        return now - max(self._since, heard)

    def sees(self, machine: str) -> bool:
        """Return whether a node that is here was heard since the last gap.

        In one all are still taken for here that were, and for some heartbeats after it.
        """
        member, since = self._fleet.get(machine), self._since
        if member is None or not member.here or member.received is None or since is None:
            return False
        return member.received.running >= since and not self._stood_still(
            self._fleet.clock.running()
        )

    def has_left(self, machine: str) -> bool:
        """Return whether a node has said that it ends, and could have been heard ever since."""
        member, since = self._fleet.get(machine), self._since
        if member is None or member.heartbeat is None or member.received is None or since is None:
            return False
        leaves = member.heartbeat.leaving and self.of(machine) > 0
        return leaves and member.received.running >= since
