"""The nodes that came in by an invite, as all controllers know them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable

import msgspec
import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket, Entry
from towline.broker.jetstream import JetStream
from towline.controller.fleet import Fleet
from towline.controller.member import Member
from towline.errors import BrokerError, BrokerUnreachable, Conflict, InvalidRequest, NotFound
from towline.runtime.pauses import within
from towline.trust.joining import fingerprint_of
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.member import (
    ACCEPTED,
    NAMELESS,
    PENDING,
    REMOVED,
    MemberRecord,
    MemberState,
)
from towline.wire.node import Registration

log = structlog.get_logger()

BUCKET = "members"
MAX_FOLLOWERS = 1000
"""Controllers that may follow the bucket at a time."""
KNOWN_WITHIN = 5.0
"""Seconds that a request waits for a controller that was just started to know them."""
REMEMBERED_FOR = 86400.0
"""Seconds for which is kept that a node was removed or rejected: it learns of it meanwhile, and all
controllers do."""
PRUNED_AT_ONCE = 100
"""Records of such nodes that are forgotten whenever one changes, at most."""
LASTS = 30 * 86400.0
LASTS_EPHEMERAL = 86400.0
"""Seconds for which a node's login lasts, and one's that is removed when it is away."""


def lasts_of(record: MemberRecord) -> float:
    """Return for how many seconds each login of a member lasts."""
    return LASTS if record.ephemeral is None else LASTS_EPHEMERAL


def by_itself(why: str) -> str:
    """Return by whom it is that a controller does something which nobody has asked for."""
    return f"controller ({why})"


def _key(hostname: str) -> str:
    # The key is the name, so that the broker itself lets no two members have the same.
    return hashlib.sha256(hostname.lower().encode()).hexdigest()


class Members:
    """The records of members: stored once for all controllers, and followed by each.

    Args:
        fleet: learns of each record.
    """

    def __init__(self, jetstream: JetStream, fleet: Fleet) -> None:
        self._bucket = Bucket(jetstream, BUCKET, MemberRecord, max_consumers=MAX_FOLLOWERS)
        self._fleet = fleet
        self._records: dict[str, MemberRecord] = {}
        self._sequences: dict[str, int] = {}
        """The places in the bucket of these records."""
        self._owners: dict[str, str] = {}
        """Machine ids by the keys of the bucket."""
        self._holders: dict[str, set[str]] = {}
        """Whose a key was, as far as this controller knows, when it was followed last and since."""
        self._unsettled: dict[str, tuple[MemberRecord, int]] = {}
        """What was followed of keys whose holders of before may still count here."""
        self._listeners: list[Callable[[MemberRecord], None]] = []
        self.known = asyncio.Event()
        """Set once this controller has read all records that were there when it was started."""

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist; raises as `Bucket.create`."""
        await self._bucket.create(replicas)

    async def run(self) -> None:
        """Learn of all members, and of each change at whichever controller, for ever."""
        async for change in self._bucket.follow(self._all_read):
            try:
                record = messages.checked_member(change.value)
                self._take(change.key, record, change.sequence)
                self._unsettled[change.key] = (record, change.sequence)
            except Unreadable as error:
                self._bucket.count_unreadable(change.key, error)
            if change.live:
                self._settle()
                await self._prune()

    def subscribe(self, changed: Callable[[MemberRecord], None]) -> None:
        """Have `changed` called with each record as it becomes known, at this controller too."""
        self._listeners.append(changed)

    def _settle(self) -> None:
        """Learn who is removed because another has the name: no message may ever have said so.

        It waits until all is read that was there: whoever was renamed may come later.
        """
        for key, (record, sequence) in self._unsettled.items():
            holders = self._holders.get(key, set())
            for machine in holders - {record.machine}:
                before = self._records.get(machine)
                if before is not None and _has(before, key) and self._sequences[machine] < sequence:
                    self._learn_removed(before, record, sequence)
            holders -= {each for each in holders if self._sequences.get(each, 0) < sequence}
        self._unsettled.clear()

    def _all_read(self) -> None:
        self._settle()
        self.known.set()

    def _take(self, key: str, record: MemberRecord, sequence: int) -> None:
        self._owners[key] = record.machine
        self._holders.setdefault(key, set()).add(record.machine)
        if sequence <= self._sequences.get(record.machine, 0):
            return
        if record.replaces is not None:
            before = self._records.get(record.replaces)
            if before is not None:
                self._learn_removed(before, record, sequence)
            else:
                self._fleet.shut(record.replaces, _replaced_by(record))
        self._learn(record, sequence)

    def _learn_removed(self, before: MemberRecord, record: MemberRecord, sequence: int) -> None:
        # Nothing of it is kept but that another has its name; what is still on its way is older.
        by = _replaced_by(record) if record.replaces == before.machine else ""
        removed = msgspec.structs.replace(
            before, state=REMOVED, changed=record.created, changed_by=by
        )
        self._learn(removed, sequence - 1)

    def _learn(self, record: MemberRecord, sequence: int) -> None:
        self._sequences[record.machine] = sequence
        self._records[record.machine] = record
        self._fleet.enrol(record)
        for changed in self._listeners:
            changed(record)

    # Questions

    async def until_known(self) -> None:
        """Wait until it is known which members there are.

        Raises:
            BrokerUnreachable: that takes too long.
        """
        if not await within(KNOWN_WITHIN, self.known.wait()):
            raise BrokerUnreachable(
                "This controller does not know yet which nodes there are: "
                "try again in a few seconds.",
                "It was started a moment ago, or the broker is out of reach",
            )

    def get(self, machine: str) -> MemberRecord | None:
        """Return the record of a machine id; None where it is no member's."""
        return self._records.get(machine)

    def named(self, hostname: str) -> MemberRecord | None:
        """Return the member of this hostname, None where the name is free."""
        key = _key(hostname)
        record = self._records.get(self._owners.get(key, ""))
        return record if record is not None and _has(record, key) else None

    def unseen(self, name: str) -> Member | None:
        """Return the node of a hostname or machine id that was let in and has never registered.

        It has its login all the same, and its name. None for any other.
        """
        record = self.get(name) or self.named(name)
        if record is None or record.state in NAMELESS or self._fleet.get(record.machine):
            return None
        found = Member(
            Registration(
                record.machine, record.hostname, "", record.created, record.created, record.labels
            )
        )
        found.record = record
        return found

    def all(self) -> list[MemberRecord]:
        """Return all records but those of removed nodes, by hostname."""
        found = [record for record in self._records.values() if record.state != REMOVED]
        return sorted(found, key=lambda record: record.hostname)

    def ephemeral(self) -> list[MemberRecord]:
        """Return those that are in, and are removed when they are away for too long."""
        return [
            record
            for record in self._records.values()
            if record.ephemeral is not None and record.state == ACCEPTED
        ]

    # Changes

    async def add(self, record: MemberRecord) -> MemberRecord:
        """Store a new member; return its record, which may be an earlier one of this machine.

        Raises:
            Conflict: another member has its hostname.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        key = _key(record.hostname)
        return await self._put(key, record, await self._bucket.get(key))

    async def replace(self, before: MemberRecord, record: MemberRecord) -> MemberRecord:
        """Store a new member in the place of another one, whose name it takes.

        Args:
            before: the other one, which is in.

        Raises:
            Conflict: the name belongs to a third by now, or the other one was revoked.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        key = _key(before.hostname)
        while True:
            entry = await self._bucket.get(key)
            found = None if entry is None else entry.value
            if entry is None or found is None or not _has(found, key):
                # The other one was removed or renamed meanwhile.
                return await self._put(key, record, entry)
            if (found.machine, found.state) != (before.machine, ACCEPTED):
                return self._found(key, record, found, entry.sequence)
            try:
                sequence = await self._bucket.put(key, record, last=entry.sequence)
            except WrongLastSequence:
                continue  # another machine's, or another change of the same record
            self._take(key, record, sequence)
            return record

    async def change(
        self, machine: str, alter: Callable[[MemberRecord], MemberRecord]
    ) -> MemberRecord:
        """Store what `alter` makes of a member's newest record; return that.

        Args:
            alter: it may be called again with a newer record, and may raise to leave it as it is.
                Another hostname takes the place of the old one.

        Raises:
            NotFound: it is no member's machine id.
            Conflict: another member has the new hostname, or this one got another a moment ago.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        while True:
            known = self.get(machine)
            if known is None:
                raise NotFound(f"No node that came by an invite has the machine id {machine!r}.")
            key = _key(known.hostname)
            entry = await self._bucket.get(key)
            record = None if entry is None else entry.value
            if entry is None or record is None or record.machine != machine:
                raise Conflict(
                    f"The node {known.hostname!r} was renamed or removed a moment ago.", "Try again"
                )
            altered = alter(record)
            renamed = _key(altered.hostname)
            if renamed != key:
                stored = await self._put(renamed, altered, await self._bucket.get(renamed))
                # Until this is done the old name leads nowhere: the newer record counts.
                await self._bucket.purge(key, up_to=entry.sequence)
                return stored
            if altered == record:
                return record
            try:
                sequence = await self._bucket.put(key, altered, last=entry.sequence)
            except WrongLastSequence:
                continue
            self._take(key, altered, sequence)
            return altered

    def fingerprint(self, record: MemberRecord) -> str:
        """Return by what people compare a machine's keys with those that it shows."""
        return fingerprint_of(record)

    def pending(self) -> list[MemberRecord]:
        """Return the machines that wait to be let in, the first first."""
        found = [record for record in self.all() if record.state == PENDING]
        return sorted(found, key=lambda record: record.created)

    async def decide(
        self, name: str, state: MemberState, by: str, fingerprint: str | None = None
    ) -> MemberRecord:
        """Let a machine in that waits, or turn it away; return its record.

        Args:
            name: its hostname or machine id.
            state: `accepted` or `rejected`.
            by: who decides so.
            fingerprint: of the keys that it is to have; None for any.

        Raises:
            NotFound: no such machine waits.
            InvalidRequest: it has other keys.
            BrokerError: it may or may not be decided.
        """
        await self.until_known()
        known = self.get(name) or self.named(name)

        def decided(record: MemberRecord) -> MemberRecord:
            if record.state != PENDING:
                raise _none_waits(name)
            shown = fingerprint_of(record)
            if fingerprint not in (None, shown):
                raise InvalidRequest(
                    f"{record.hostname} has another fingerprint: {shown}.",
                    "Compare it with what the machine itself shows; if it differs, reject it",
                )
            return msgspec.structs.replace(record, state=state, changed=time.time(), changed_by=by)

        if known is None:
            raise _none_waits(name)
        record = await self.change(known.machine, decided)
        log.info(f"node {state}", machine=record.machine, hostname=record.hostname, by=by)
        return record

    async def _put(
        self, key: str, record: MemberRecord, entry: Entry[MemberRecord] | None
    ) -> MemberRecord:
        found = None if entry is None else entry.value
        last = 0
        if entry is not None and found is not None:
            last = entry.sequence
            # One that was renamed since then has left its old name behind for a moment.
            renamed = last < self._sequences.get(found.machine, 0)
            if _has(self._records[found.machine] if renamed else found, key):
                return self._found(key, record, found, last)
        try:
            sequence = await self._bucket.put(key, record, last=last)
        except WrongLastSequence as error:
            # Another machine's, or an attempt of this one whose acknowledgement was lost.
            entry = await self._bucket.get(key)
            if entry is None or entry.value is None:
                raise _taken(record.hostname) from error
            return self._found(key, record, entry.value, entry.sequence)
        self._take(key, record, sequence)
        return record

    def _found(
        self, key: str, record: MemberRecord, found: MemberRecord, sequence: int
    ) -> MemberRecord:
        """Return what another attempt has stored for the machine, under the name that it wants."""
        if found.machine != record.machine:
            raise _taken(record.hostname)
        self._take(key, found, sequence)
        return found

    async def _prune(self) -> None:
        """Forget nodes that were removed or rejected, here and at the broker.

        Another controller may come first.
        """
        before = time.time() - REMEMBERED_FOR
        over = [
            record
            for record in self._records.values()
            if record.state in NAMELESS and record.changed < before
        ]
        try:
            for record in over[:PRUNED_AT_ONCE]:
                key, sequence = _key(record.hostname), self._sequences[record.machine]
                # Another machine may just have taken the name, at whichever controller.
                await self._bucket.purge(key, up_to=sequence)
                if self._sequences[record.machine] != sequence:
                    continue
                if self._owners.get(key) == record.machine:
                    del self._owners[key], self._holders[key]
                del self._records[record.machine], self._sequences[record.machine]
                self._fleet.forget(record.machine)
                if record.replaces is not None and record.replaces not in self._records:
                    self._fleet.forget(record.replaces)
        except BrokerError as error:
            log.warning("removed nodes not forgotten yet", reason=error.details)


def _replaced_by(record: MemberRecord) -> str:
    return by_itself(f"replaced by {record.machine}")


def _none_waits(name: str) -> NotFound:
    return NotFound(
        f"No machine called {name!r} waits to be let in.",
        "GET /agent/pending shows those that do",
    )


def _has(record: MemberRecord, key: str) -> bool:
    return record.state not in NAMELESS and _key(record.hostname) == key


def _taken(hostname: str) -> Conflict:
    return Conflict(
        f"Another node is called {hostname!r}.",
        "Choose another name, or remove that node; GET /agent shows them",
    )
