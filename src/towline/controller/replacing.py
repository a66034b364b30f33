"""New machines that take the name of one that is away, where their invite lets them."""

from __future__ import annotations

import time

import msgspec

from towline.controller.absences import Absences
from towline.controller.expulsion import Expulsion
from towline.controller.fleet import Fleet
from towline.controller.invites import Invite
from towline.controller.member import Member
from towline.controller.members import Members
from towline.errors import Conflict
from towline.wire.member import ACCEPTED, MemberRecord

AWAY_FOR = 30.0
"""Seconds after which a node's name may be taken that has not said that it leaves: longer than
agents take to come back after a broker or a controller has ended."""
STARTS_WITHIN = 300.0
"""Seconds for which a machine that has just come in keeps its name without having been here: its
agent is still to be started."""


class Replacing:
    """Removes a node that is away, and gives its name to another machine of the same invite.

    Args:
        away_for, starts_within: seconds; see the constants.
    """

    def __init__(
        self,
        fleet: Fleet,
        members: Members,
        absences: Absences,
        expulsion: Expulsion,
        *,
        away_for: float = AWAY_FOR,
        starts_within: float = STARTS_WITHIN,
    ) -> None:
        self._fleet = fleet
        self._members = members
        self._absences = absences
        self._expulsion = expulsion
        self._away_for = away_for
        self._starts_within = starts_within

    def find(self, taken: MemberRecord | None, invite: Invite) -> Member | None:
        """Return the node in whose place a machine comes in; None where there is none.

        Args:
            taken: who has the name now.
            invite: that of the machine.

        Raises:
            Conflict: it is here, or not known to be away.
        """
        if taken is None or not invite.replace or taken.invite != invite.id:
            return None
        member = self._fleet.get(taken.machine) or self._members.unseen(taken.machine)
        if taken.state != ACCEPTED or member is None:
            return None
        if member.here:
            raise Conflict(
                f"The node {taken.hostname!r} is here: none takes its name.",
                "Stop its agent first, or name this machine with --hostname",
            )
        seen = self._absences.of(member.machine)
        if self._fleet.get(member.machine) is None:
            # No heartbeat of it counts, whether it is yet to be started or to register anew.
            if min(seen, time.time() - taken.changed) <= self._starts_within:
                raise Conflict(
                    f"The machine that has come in as {taken.hostname!r} has "
                    f"{self._starts_within / 60:.0f} minutes to start its agent.",
                    "Name this machine with --hostname, or try again after that",
                )
        elif seen <= (0.0 if self._absences.has_left(member.machine) else self._away_for):
            raise Conflict(
                f"The node {taken.hostname!r} has not been away for {self._away_for:.0f} seconds, "
                "as far as this controller knows.",
                "Name this machine with --hostname, or try again after that",
            )
        return member

    async def replace(self, member: Member, record: MemberRecord) -> MemberRecord:
        """Store a new member in the place of a node that was found; raises as `Expulsion`'s."""
        named = msgspec.structs.replace(record, replaces=member.machine)
        return await self._expulsion.replace(member, named)
