"""Nodes that are shut out: their logins are taken back, and no task of theirs stays open."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import structlog

from towline.controller.audit.entry import Request
from towline.controller.audit.trail import Trail
from towline.controller.logins import Logins
from towline.controller.member import Member
from towline.controller.members import Members, by_itself, lasts_of
from towline.controller.presence import Presence
from towline.errors import Conflict
from towline.trust.account import FOR_GOOD
from towline.wire.fields import EARLIEST
from towline.wire.member import REMOVED, REVOKED, MemberRecord, MemberState
from towline.wire.node import NodeState

log = structlog.get_logger()

SPARE = 86400
"""Seconds for which is still known that a login was taken back which has ended by itself."""


class Expulsion:
    """Revokes and removes nodes.

    The login comes first: a node that is dropped can't register anew between the two.

    Args:
        logins: None for a broker at which no login can be taken back from here.
        trail: has an entry of what nobody has asked for.
    """

    def __init__(
        self, presence: Presence, members: Members, logins: Logins | None, trail: Trail
    ) -> None:
        self._presence = presence
        self._members = members
        self._logins = logins
        self._trail = trail

    async def revoke(self, member: Member, by: str) -> bool:
        """Make a node's keys worth nothing, for good; to do it again changes nothing.

        Return whether a broker has dropped it by now: otherwise it is sent again until one has.

        Raises:
            Conflict: its login can't be taken back.
            BrokerError: it may or may not be revoked.
        """
        if self._logins is None:
            raise Conflict(
                f"The login of {member.hostname} can't be taken back from here, since this "
                "controller is not started with the broker's keys: take it away at the broker.",
                f"DELETE /agent/{member.hostname} forgets the node then",
            )
        record = self._members.get(member.machine)
        dropped = await self._take_back(member, record, FOR_GOOD)
        now = time.time()
        if record is not None:
            await self._members.change(member.machine, _changed(REVOKED, by, now))
        elif member.revoked is None:
            state = msgspec.structs.replace(member.state, revoked=now, shut_by=by)
            await self._presence.set_state(member, state)
        log.info("node revoked", machine=member.machine, hostname=member.hostname, by=by)
        return dropped

    async def remove(self, member: Member, by: str) -> bool:
        """Forget a node, and make its keys worth nothing; returns as `revoke`.

        One that came by no invite may come back, with a login that is made from now on.

        Raises:
            Conflict: it is here, and its login can't be taken back.
            BrokerError: it may or may not be removed.
        """
        record = self._members.get(member.machine)
        now = time.time()
        dropped = True
        if self._logins is not None:
            before = FOR_GOOD if record is not None else int(now)
            dropped = await self._take_back(member, record, before)
        elif member.here:
            raise Conflict(
                f"{member.hostname} is here, and its login can't be taken back: it would come back "
                "at once.",
                "Stop its agent first",
            )
        if record is None:
            await self._presence.remove(member, NodeState(removed=now, shut_by=by))
        else:
            await self._members.change(member.machine, _changed(REMOVED, by, now))
            await self._presence.remove(member, None)
        log.info("node removed", machine=member.machine, hostname=member.hostname, by=by)
        return dropped

    async def remove_by_itself(self, member: Member, why: str) -> bool:
        """Remove a node that nobody has asked to remove; as `remove`.

        The audit has an entry as if somebody had, whose subject says why.
        """
        by = by_itself(why)
        dropped = await self.remove(member, by)
        self.record(member, by)
        return dropped

    async def replace(self, member: Member, record: MemberRecord) -> MemberRecord:
        """Remove a node, and store a new member that has its name from then on; return that.

        The login comes first here as well. If it is the last that is done, the node is away, as it
        was, and the next machine may take its name.

        Raises:
            Conflict: another machine was faster, the node is not what it was, or its login can't be
                taken back.
            BrokerError: the new one may or may not be stored.
        """
        before = self._members.get(member.machine)
        if self._logins is None or before is None:
            raise Conflict(f"The login of {member.hostname} can't be taken back from here.")
        await self._take_back(member, before, FOR_GOOD)
        await self._presence.remove(member, None)
        stored = await self._members.replace(before, record)
        by = by_itself(f"replaced by {stored.machine}")
        log.info("node replaced", machine=member.machine, hostname=member.hostname, by=by)
        self.record(member, by)
        return stored

    def record(self, member: Member, by: str) -> None:
        """Write into the audit that a controller has removed a node by itself."""
        removal = Request(
            time=max(EARLIEST, time.time()),
            caller=by,
            method="DELETE",
            path=f"/agent/{member.machine}",
            operation="agent.remove",
            target=member.hostname,
            status=200,
        )
        self._trail.add(removal, "")

    async def _take_back(self, member: Member, record: MemberRecord | None, before: int) -> bool:
        assert self._logins is not None
        if record is None:
            keys = self._logins.keys_of(member.machine)
            return await self._logins.revoke(dict.fromkeys(keys, before), {})
        ends = int(time.time() + lasts_of(record)) + SPARE
        return await self._logins.revoke({record.nkey: before}, {record.nkey: ends})


def _changed(state: MemberState, by: str, now: float) -> Callable[[MemberRecord], MemberRecord]:
    def alter(record: MemberRecord) -> MemberRecord:
        if record.state == state:
            return record
        return msgspec.structs.replace(record, state=state, changed=now, changed_by=by)

    return alter
