"""The trail of one controller: its chain of entries, stored in groups, and its checkpoints."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec
import structlog

from towline.broker.answers import NANOSECONDS, WrongLastSequence
from towline.broker.connection import REQUEST_TIMEOUT
from towline.broker.jetstream import JetStream
from towline.broker.repeated import Repeated
from towline.broker.streams import create_in_room, newest_message, stream_exists
from towline.controller.audit.entry import (
    AUDIT,
    AUDITED,
    CHECKPOINT,
    CHECKPOINTS,
    Checkpoint,
    Entry,
    Request,
    digest,
    group_of,
)
from towline.controller.audit.refusals import MOST_KINDS, TOGETHER, Refusals
from towline.errors import BrokerError
from towline.runtime.pauses import Pauses, within
from towline.trust.signing import Signer, stored_on
from towline.wire.job import new_id

if TYPE_CHECKING:
    from towline.runtime.config import Settings

log = structlog.get_logger()

MOST_WAITING = 10_000
"""Entries that wait to be stored; of more it is counted how many were lost."""
GATHERED_FOR = 0.2
"""Seconds for which entries gather before they are stored: each message is synced to the disk."""
LARGEST_GROUP = 256 * 1024
"""Bytes of a group, about: a quarter of what a broker takes that was left as it comes."""
CHECKED_EVERY = 300.0
"""Seconds between the checkpoints of a chain that goes on."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to store a group."""
END_WITHIN = 2.0
"""Seconds for which a controller that ends still stores entries."""
SHARE = 16
"""The audit may take one part in so many of what the journal may."""
SMALLEST = 4 * 1024**2
"""Bytes of the audit: with less there would be none."""
LEFT = 4
"""Where a broker has little room, the audit takes one part in so many of what it has. An eighth of
that is for checkpoints as well, of which no age ends any: 150,000 in 64 MiB."""


class Keeping(msgspec.Struct, frozen=True):
    """How long and how much of the audit is kept.

    Attributes:
        age: seconds.
        size: bytes.
        replicas: copies in a cluster.
    """

    age: float = 90 * 86400.0
    size: int = 512 * 1024**2
    replicas: int = 1


def keeping_of(settings: Settings) -> Keeping:
    """Return how long and how much is kept by the settings.

    Raises:
        InvalidConfiguration: the time is none.
    """
    size = settings.size("retention_size") // SHARE
    return Keeping(settings.seconds("audit_retention"), size, settings.replicas)


class Head(msgspec.Struct, frozen=True):
    """The newest entry of a chain that is stored, by number and hash."""

    chain: str
    controller: str
    number: int = 0
    hash: str = ""
    time: float | None = None


class _Sealed(msgspec.Struct, frozen=True):
    """A group as it is stored, however often that is tried; `head` is the chain's behind it."""

    data: bytes
    message_id: str
    head: Head
    entries: int


class Trail:
    """Stores what was asked of this controller, beside the answers: no answer waits for it.

    Attributes:
        head: how far the chain is stored.
        checkpoint: the newest checkpoint of this controller's own, as it is stored; b"" for none.
        lost: how many requests have no entry, since more waited than there is room for.

    Args:
        controller: the name of this machine.
        keeping: how long and how much is kept.
        attempt_within: seconds after which storing a group counts as failed, and is tried again.
        gathered_for, most_waiting, checked_every, together, most_kinds: see the constants, here and
            in `refusals`.
    """

    def __init__(
        self,
        jetstream: JetStream,
        signer: Signer,
        controller: str,
        keeping: Keeping,
        *,
        gathered_for: float = GATHERED_FOR,
        attempt_within: float = REQUEST_TIMEOUT,
        most_waiting: int = MOST_WAITING,
        checked_every: float = CHECKED_EVERY,
        together: float = TOGETHER,
        most_kinds: int = MOST_KINDS,
    ) -> None:
        self._jetstream = jetstream
        self._signer = signer
        self._keeping = keeping
        self._gathered_for = gathered_for
        self._attempt_within = attempt_within
        self._most_waiting = most_waiting
        self._checked_every = checked_every
        self._refusals = Refusals(self._append, together=together, most=most_kinds)
        self._waiting: deque[Request] = deque()
        self._arrived = asyncio.Event()
        self._group: _Sealed | None = None
        self._unsaid = 0
        self._checked: Head | None = None
        self._checked_at = 0.0
        self._failures = Repeated("audit not stored yet")
        self.head = Head(secrets.token_hex(16), controller)
        self.checkpoint = b""
        self.lost = 0

    async def create(self, replicas: int) -> None:
        """Make the streams where they don't exist; raises `BrokerError` where that fails."""
        # Nobody takes out single messages of these by accident.
        fixed = {
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "num_replicas": replicas,
            "deny_delete": True,
            "deny_purge": True,
        }
        size = max(SMALLEST, self._keeping.size)
        if not await stream_exists(self._jetstream, AUDIT):
            age = int(self._keeping.age * NANOSECONDS)
            config = {**fixed, "name": AUDIT, "subjects": [AUDITED], "max_age": age}
            found = await create_in_room(self._jetstream, config, LEFT * size, LEFT * SMALLEST)
            size = found // LEFT
            # The rest of what there is stays for jobs.
            await self._jetstream.call(f"STREAM.UPDATE.{AUDIT}", {**config, "max_bytes": size})
        if not await stream_exists(self._jetstream, CHECKPOINTS):
            config = {**fixed, "name": CHECKPOINTS, "subjects": [CHECKPOINT]}
            await create_in_room(self._jetstream, config, size // 8, SMALLEST // 8)

    @property
    def waiting(self) -> int:
        """How many entries wait to be stored."""
        return len(self._waiting)

    def add(self, request: Request, origin: str) -> None:
        """Record a request with the next group.

        Of those that failed, or that took no token, a flood becomes few entries: whoever may send
        them must not push out what callers have done.

        Args:
            origin: what counts as one address.
        """
        if request.status < 400 and request.caller:
            self._append(request)
        else:
            self._refusals.add(request, origin, time.monotonic())

    def _append(self, request: Request) -> None:
        if len(self._waiting) >= self._most_waiting:
            self.lost += request.count
            self._unsaid += request.count
            return
        self._waiting.append(request)
        self._arrived.set()

    async def run(self) -> None:
        """Store what arrives, for ever."""
        try:
            while True:
                await within(self._patience(), self._arrived.wait())
                self._arrived.clear()
                self._refusals.look(time.monotonic())
                if self._waiting:
                    await asyncio.sleep(self._gathered_for)
                await self._store_all()
                if self._due() <= 0:
                    await self._check()
        except asyncio.CancelledError:
            await within(END_WITHIN, self._end())
            raise
        finally:
            self._failures.close()

    async def _end(self) -> None:
        self._refusals.close()
        await self._store_all()
        if self._checked is not None and self.head != self._checked:
            await self._check()

    def _patience(self) -> float | None:
        """Return for how long there is nothing to do, unless something arrives; None for ever."""
        moments = [] if self._refusals.next is None else [self._refusals.next - time.monotonic()]
        if self._checked is not None and self.head != self._checked:
            moments.append(self._due())
        return max(0.0, min(moments)) if moments else None

    def _due(self) -> float:
        """Return in how many seconds a checkpoint is to be made."""
        if self._checked is None or self.head == self._checked:
            return self._checked_every
        return self._checked_at + self._checked_every - time.monotonic()

    # Storing

    async def _store_all(self) -> None:
        while self._waiting:
            if self._checked is None:
                # A chain of which no checkpoint says that it began was made up by somebody.
                await self._check()
            if self._group is None:
                self._group = self._next()
            await self._store(self._group)
            self.head = self._group.head
            for _ in range(self._group.entries):
                self._waiting.popleft()
            self._group = None

    def _next(self) -> _Sealed:
        """Return the next group: what waits, as far as it fits."""
        made: list[bytes] = []
        size, head = 0, self.head
        for request in self._waiting:
            fields = msgspec.structs.asdict(request)
            fields["lost"], self._unsaid = self._unsaid, 0
            entry = Entry(
                **fields,
                id=new_id(),
                chain=head.chain,
                controller=head.controller,
                number=head.number + 1,
                previous=head.hash,
                after=head.time,
            )
            data = msgspec.json.encode(entry)
            made.append(data)
            head = Head(head.chain, head.controller, entry.number, digest(data), entry.time)
            size += len(data)
            if size > LARGEST_GROUP:
                break
        sealed = self._signer.seal(group_of(made), stored_on(AUDITED))
        return _Sealed(sealed, os.urandom(12).hex(), head, len(made))

    async def _store(self, sealed: _Sealed) -> None:
        """Store a group, however long that takes."""
        pauses = Pauses(SHORTEST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                await self._jetstream.append(
                    AUDITED,
                    sealed.data,
                    message_id=sealed.message_id,
                    timeout=self._attempt_within,
                )
            except BrokerError as error:
                self._failures.warning(reason=error.details, waiting=len(self._waiting))
            else:
                return
            await pauses.wait()
            try:
                await self.create(self._keeping.replicas)  # somebody may have deleted the stream
            except BrokerError as error:
                log.debug("audit's streams not made", reason=error.details)

    async def _check(self) -> None:
        """Store a checkpoint, however long that takes."""
        pauses = Pauses(SHORTEST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                await self._add_checkpoint()
            except WrongLastSequence:
                continue  # another controller's came first, or an attempt of ours that was stored
            except BrokerError as error:
                self._failures.warning(reason=error.details, waiting=len(self._waiting))
                await pauses.wait()
            else:
                self._checked, self._checked_at = self.head, time.monotonic()
                return

    async def _add_checkpoint(self) -> None:
        found = await newest_message(self._jetstream, CHECKPOINTS, CHECKPOINT)
        head = self.head
        made = Checkpoint(
            chain=head.chain,
            controller=head.controller,
            number=head.number,
            hash=head.hash,
            time=time.time(),
            entered=head.time,
            previous="" if found is None else digest(found.data),
        )
        data = self._signer.seal(made, stored_on(CHECKPOINT))
        await self._jetstream.append(CHECKPOINT, data, last=0 if found is None else found.sequence)
        self.checkpoint = data
