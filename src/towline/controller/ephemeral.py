"""Nodes that are removed when they have been away for as long as their invite says."""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from towline.broker.repeated import Repeated
from towline.controller.absences import Absences
from towline.controller.expulsion import Expulsion
from towline.controller.fleet import Fleet
from towline.controller.members import Members
from towline.controller.moment import Moment
from towline.controller.rollout.lease import Lease
from towline.errors import TowlineError
from towline.units import show_duration
from towline.wire.member import ACCEPTED, MemberRecord

log = structlog.get_logger()

LOOK_EVERY = 5.0
"""Seconds between looks for nodes that have come, gone, or been away for long enough."""
NOTED_AFTER = 30.0
"""Seconds after which is kept that a node is away: most are back before, as after a restart."""
KEPT_FOR = 15.0
"""Seconds for which that has been kept of a node that is removed: three looks of those controllers
that may see it here."""
SEEN_FOR = 600.0
"""Seconds for which the controller that removes a node has seen it away itself, where it may be
away for that long: whatever became of controllers and brokers, a node has so long to come back. One
whose login has ended meanwhile asks for a new one every five minutes at most."""


class Ephemeral:
    """Removes ephemeral nodes: whichever controller has the lease just now.

    When a node was here last is kept in its record while it is away: controllers that are started
    anew don't give it all of its time again. A controller that sees it here takes that out of the
    record, which is a sign of life for those that don't: where servers of a cluster are cut off
    from each other, some may hear a node and others not.

    Args:
        lease: which controller does it. It is taken only when there is something to do.
        look_every, noted_after, kept_for, seen_for: seconds; see the constants.
    """

    def __init__(
        self,
        fleet: Fleet,
        members: Members,
        absences: Absences,
        expulsion: Expulsion,
        lease: Lease,
        *,
        look_every: float = LOOK_EVERY,
        noted_after: float = NOTED_AFTER,
        kept_for: float = KEPT_FOR,
        seen_for: float = SEEN_FOR,
    ) -> None:
        self._fleet = fleet
        self._members = members
        self._absences = absences
        self._expulsion = expulsion
        self._lease = lease
        self._look_every = look_every
        self._noted_after = noted_after
        self._kept_for = kept_for
        self._seen_for = seen_for
        self._signs: dict[str, Moment] = {}
        """When a record last was one of a node that is here, by machine id."""
        self._kept: dict[str, Moment] = {}
        """Since when it is one of a node that is away."""
        self._failures = Repeated("ephemeral node not looked after")
        members.subscribe(self._recorded)

    def _recorded(self, record: MemberRecord) -> None:
        if record.ephemeral is None or record.state != ACCEPTED:
            self._signs.pop(record.machine, None)
            self._kept.pop(record.machine, None)
        elif record.left is None:
            self._signs[record.machine] = self._fleet.clock.moment()
            self._kept.pop(record.machine, None)
        else:
            self._kept.setdefault(record.machine, self._fleet.clock.moment())

    async def run(self) -> None:
        """Remove nodes when their time is over, for ever."""
        try:
            while True:
                await asyncio.sleep(self._look_every)
                due = [each for each in self._members.ephemeral() if self._is_due(each)]
                away = []
                for record in due:
                    if self._fleet.is_here(record.machine):
                        await self._look_after(record)
                    else:
                        away.append(record)
                # Of several controllers that miss a node one does something.
                for record in away:
                    if not self._lease.valid and not await self._lease.take():
                        break
                    await self._look_after(record)
        finally:
            self._failures.close()
            await self._lease.give_back()

    def _is_due(self, record: MemberRecord) -> bool:
        return self._left(record) != record.left or self._is_over(record)

    def _left(self, record: MemberRecord) -> float | None:
        """Return what is to be kept of when a node was here last; None for one that is here."""
        member, now = self._fleet.get(record.machine), time.time()
        if member is not None and member.here:
            return None if self._absences.sees(record.machine) else record.left
        seen = self._seen(record.machine)
        if seen < self._noted_after or now - record.changed < self._noted_after:
            return record.left
        if member is not None and member.received is not None:
            sign = self._signs.get(record.machine, member.received)
            return max(member.received.time, sign.time, record.left or 0.0)
        # Nobody has seen it since it came in, or since this controller was started.
        return record.left or max(record.changed, now - seen)

    def _seen(self, machine: str) -> float:
        """Return for how many seconds no controller has been known to see a node here."""
        away, sign = self._absences.of(machine), self._signs.get(machine)
        return away if sign is None else min(away, sign.age)

    def _is_over(self, record: MemberRecord) -> bool:
        kept = self._kept.get(record.machine)
        if record.ephemeral is None or record.left is None or kept is None:
            return False
        # Of one that is not registered no heartbeat counts: it may have to register anew.
        known = self._fleet.get(record.machine) is not None
        least = min(record.ephemeral, self._seen_for) if known else self._seen_for
        away = time.time() - record.left
        long_enough = away > record.ephemeral and self._seen(record.machine) > least
        return long_enough and kept.age > self._kept_for

    async def _look_after(self, record: MemberRecord) -> None:
        machine = record.machine
        try:
            if self._left(record) != record.left:
                record = await self._members.change(machine, self._noted)
            # It may have come back while others were removed.
            if self._is_over(record):
                await self._remove(record)
        except TowlineError as error:
            self._failures.warning(machine=machine, reason=str(error))

    def _noted(self, record: MemberRecord) -> MemberRecord:
        if record.state != ACCEPTED:
            return record
        return msgspec.structs.replace(record, left=self._left(record))

    async def _remove(self, record: MemberRecord) -> None:
        member = self._fleet.get(record.machine) or self._members.unseen(record.machine)
        if member is None or record.ephemeral is None:
            return
        log.info("ephemeral node away for too long", machine=record.machine)
        await self._expulsion.remove_by_itself(
            member, f"away for {show_duration(record.ephemeral)}"
        )
