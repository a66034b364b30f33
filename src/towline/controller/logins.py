"""Which logins of nodes are let in: stored once for all controllers, and put into force."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket, Entry
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.errors import BrokerError, BrokerUnreachable, Conflict
from towline.runtime.part import keep_running
from towline.runtime.pauses import within
from towline.trust.account import AccountRecord, NodesAccount
from towline.trust.claims import NotTrusted

log = structlog.get_logger()

BUCKET, KEY = "accounts", "nodes"
UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
AGAIN_EVERY = 30.0
"""Seconds after which the brokers are sent the account again: one of them may have been away, or
have been sent an older one by a controller that was late."""
RETRY_EVERY = 1.0
MOST_BYTES = 4_000_000
"""How large revocations may make the record, each by some 171 bytes: one of 6.29 MB and more could
still be stored, but would come back, in base64, as an answer that is larger than any may be."""
IN_FORCE_WITHIN = 5.0
"""Seconds for which whoever takes a login back waits until a broker has done so."""


class _Answer(msgspec.Struct):
    """A broker's answer to an account that it was sent.

    Attributes:
        data: what it did; None where it did nothing.
        error: why not.
    """

    data: Any = None
    error: Any = None


def check_taken(data: bytes) -> None:
    """Return if a broker's answer says that it has taken an account.

    Raises:
        BrokerUnreachable: it says something else.
    """
    try:
        answer = msgspec.json.decode(data, type=_Answer)
        taken = answer.data is not None and answer.error is None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        taken = False
    if not taken:
        reason = data.decode(errors="replace")[:500]
        raise BrokerUnreachable("The broker did not take the nodes' account.", reason)


def _size(record: AccountRecord | None) -> int:
    return 0 if record is None else len(msgspec.json.encode(record))


class Logins:
    """Takes nodes' logins back, and has those let in that the fleet's keys have signed.

    The record in the bucket is the truth. Each controller puts it into force: when it has changed,
    whenever this controller has connected, and now and then. When it starts, and when its file of
    the keys that sign logins has changed, it adds the keys that the record lacks, and takes out
    those that the file says are retired.

    Args:
        system: how to log in to the system account.
        account: makes the account.
        again_every, retry_every, in_force_within: seconds; see the constants.
        most_bytes: see the constant.
    """

    def __init__(
        self,
        jetstream: JetStream,
        system: Settings,
        account: NodesAccount,
        *,
        again_every: float = AGAIN_EVERY,
        retry_every: float = RETRY_EVERY,
        in_force_within: float = IN_FORCE_WITHIN,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._bucket = Bucket(jetstream, BUCKET, AccountRecord, max_consumers=1000)
        self._system = system
        self._account = account
        self._again_every = again_every
        self._retry_every = retry_every
        self._in_force_within = in_force_within
        self._most_bytes = most_bytes
        self._newest: AccountRecord | None = None
        self._made = 0
        self._changed = asyncio.Event()
        self._in_force = 0
        self._progress = asyncio.Event()
        self._keys_read = asyncio.Event()
        self._keys_read.set()
        self._lets_in: tuple[str, ...] = ()
        """The public keys whose logins a broker lets in, as far as this controller has sent them.
        """

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist; raises as `Bucket.create`."""
        await self._bucket.create(replicas)

    def keys_of(self, machine: str) -> list[str]:
        """Return the public keys of the logins that `towline trust login` makes for a machine id.

        There is one for each of the keys by which they may have been signed.
        """
        return self._account.of_machine(machine)

    @property
    def keys(self) -> tuple[str, ...]:
        """The public keys whose logins are to be let in, that which signs first."""
        return self._account.keys.public

    @property
    def obstacle(self) -> str:
        """Why what one of several keys has signed may be refused yet; "" where it isn't."""
        missing = [key for key in self.keys if key not in self._lets_in]
        if len(self.keys) == 1 or not missing:
            return ""
        return f"no broker is known to let in what the key {missing[0]} has signed"

    def read_again(self) -> None:
        """Read the keys that sign logins again, and have brokers let in what they have signed.

        Raises:
            InvalidConfiguration: they can't be read; those that there are count on.
        """
        self._account.read_again()
        self._keys_read.set()

    async def run(self) -> None:
        """Put into force what is taken back, at whichever controller, for ever."""
        async with (
            Connection(self._system, "controller of accounts") as system,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(keep_running("logins taken back", self._follow))
            group.create_task(keep_running("nodes' account", lambda: self._enforce(system)))
            group.create_task(keep_running("keys of nodes' logins", self._keep_keys))

    async def revoke(self, revoked: Mapping[str, int], ends: Mapping[str, int]) -> bool:
        """Take logins back; see `NodesAccount.revoke`.

        Return whether a broker has done so already: otherwise it is sent again until one has.

        Raises:
            Conflict: there are so many that no more may be.
            NotTrusted: what stands in the bucket is no controller's of this fleet, and this one
                knows of no record.
            BrokerRefused: they are not taken back.
            BrokerUnreachable: they may or may not be taken back.
        """

        def altered(before: AccountRecord | None) -> AccountRecord:
            record = self._account.revoke(before, revoked, ends)
            if _size(record) > max(self._most_bytes, _size(before)):
                raise Conflict(
                    "So many nodes' logins are taken back that no more can be: the account's "
                    f"record may have {self._most_bytes:,} bytes.",
                    "Those are left out whose logins have ended by themselves, of nodes that "
                    "come and go after two days: try again then, and keep the machine off the "
                    "network until that",
                )
            return record

        record = await self._change(altered)
        assert record is not None
        return await within(self._in_force_within, self._until_in_force(self._account.made(record)))

    async def _change(
        self, alter: Callable[[AccountRecord | None], AccountRecord | None]
    ) -> AccountRecord | None:
        """Store another record; return it, or None where it is to stay as it is.

        Args:
            alter: returns the record for the newest that there is.
        """
        while True:
            entry = await self._bucket.get(KEY)
            record = alter(self._before(entry))
            if record is None:
                return None
            try:
                await self._bucket.put(KEY, record, last=0 if entry is None else entry.sequence)
            except WrongLastSequence:
                continue  # another controller's, or this one's
            self._take(record)
            return record

    def _before(self, entry: Entry[AccountRecord] | None) -> AccountRecord | None:
        """Return the record to go on from, so that nothing is let in again.

        Whoever holds the broker may have put an older one back, or anything.
        """
        stored, made = (None if entry is None else entry.value), 0
        if stored is not None:
            # Without another one, whoever alters it raises the same.
            with contextlib.suppress(NotTrusted):
                made = self._account.made(stored)
        if self._made > made:
            return self._newest
        if entry is not None and stored is None:
            raise NotTrusted(
                "Which logins of nodes were taken back can't be read at the broker.",
                "A controller that runs since before goes on from what it knows. Where none does: "
                "have the broker's backup put back, or remove what stands there, nats stream purge "
                "KV_accounts, and revoke once more whoever is to stay shut out",
            )
        return stored

    async def _keep_keys(self) -> None:
        while True:
            await self._keys_read.wait()
            self._keys_read.clear()
            try:
                record = await self._change(self._account.with_keys)
            except (BrokerError, NotTrusted) as error:
                log.warning("keys of nodes' logins not in the account yet", reason=str(error))
                self._keys_read.set()
                await asyncio.sleep(self._retry_every)
                continue
            if record is not None:
                log.info("keys of nodes' logins stored", keys=self._account.lets_in(record))

    async def _follow(self) -> None:
        async for change in self._bucket.follow():
            try:
                self._take(change.value)
            except NotTrusted as error:
                self._bucket.count_unreadable(change.key, error)

    def _take(self, record: AccountRecord) -> None:
        made = self._account.made(record)
        if made > self._made:
            self._newest, self._made = record, made
            self._changed.set()

    async def _until_in_force(self, made: int) -> None:
        while self._in_force < made:
            self._progress.clear()
            await self._progress.wait()

    async def _enforce(self, system: Connection) -> None:
        while True:
            await system.client()
            self._changed.clear()
            pause = self._again_every
            if self._newest is not None:
                try:
                    await self._send(system, self._newest)
                except BrokerError as error:
                    log.warning("logins not taken back yet", reason=error.details)
                    pause = self._retry_every
            await self._wait(system, pause)

    async def _wait(self, system: Connection, seconds: float) -> None:
        """Wait until there is something to send, or a new connection to send it over."""
        causes = [asyncio.create_task(each) for each in (self._changed.wait(), system.lost())]
        try:
            await asyncio.wait(causes, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in causes:
                task.cancel()

    async def _send(self, system: Connection, record: AccountRecord) -> None:
        reply = await system.request(UPDATE, record.jwt.encode())
        check_taken(reply.data)
        made = self._account.made(record)
        if made >= self._in_force:
            self._in_force, self._lets_in = made, self._account.lets_in(record)
        self._progress.set()
