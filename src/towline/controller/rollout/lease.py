"""Leases: what one controller does at a time, and another soon after it has died."""

from __future__ import annotations

import time

import msgspec
import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.clock import running
from towline.broker.jetstream import JetStream
from towline.errors import BrokerError
from towline.wire.job import new_id

log = structlog.get_logger()

BUCKET = "leases"
KEPT = 6.0
"""Seconds after which the broker forgets a lease that was not renewed."""
MARGIN = 1.0
"""Seconds before that, from which on its holder counts it as over."""
ANSWER_WITHIN = 2.0
"""Seconds that the broker has to answer: a lease that is late is worth nothing."""


class _Holder(msgspec.Struct, frozen=True):
    """Who has a lease.

    Attributes:
        holder: an id that is drawn anew at each start of a controller.
        since: when it started, in seconds since 1970.
    """

    holder: str
    since: float


class Lease:
    """A lease of one name, which at most one controller has.

    A controller that stalls may act a moment longer than it has the lease: what must not be done
    twice needs a condition of its own at the broker.

    Args:
        name: what the lease is for.
        kept, margin: seconds; see the constants.
    """

    def __init__(
        self,
        jetstream: JetStream,
        name: str,
        *,
        kept: float = KEPT,
        margin: float = MARGIN,
    ) -> None:
        self._bucket = Bucket(jetstream, BUCKET, _Holder, storage="memory", max_age=kept)
        self._name = name
        self._lasts = kept - margin
        self._self = _Holder(new_id(), time.time())
        self._sequence = 0
        self._until = 0.0

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist. In memory: a lease lasts for seconds only."""
        await self._bucket.create(replicas)

    @property
    def valid(self) -> bool:
        """Whether this controller has the lease just now."""
        return running() < self._until

    async def take(self) -> bool:
        """Take or renew the lease; return whether this controller has it then."""
        began = running()
        # One that may have run out is taken as if it had never been ours.
        last = self._sequence if self.valid else 0
        try:
            try:
                self._sequence = await self._write(last)
            except WrongLastSequence:
                self._until = 0.0
                # Perhaps our own, stored by an attempt whose acknowledgement was lost.
                entry = await self._bucket.get(self._name, timeout=ANSWER_WITHIN)
                if entry is None or entry.value != self._self:
                    return False
                self._sequence = await self._write(entry.sequence)
        except BrokerError as error:
            log.warning("lease not taken", lease=self._name, reason=error.details)
        else:
            self._until = began + self._lasts
        return self.valid

    async def _write(self, last: int) -> int:
        return await self._bucket.put(self._name, self._self, last=last, timeout=ANSWER_WITHIN)

    async def give_back(self) -> None:
        """Let another controller take the lease at once, where this one has it."""
        if not self.valid:
            return
        self._until = 0.0
        try:
            await self._bucket.purge(self._name, up_to=self._sequence, timeout=ANSWER_WITHIN)
        except BrokerError as error:
            log.warning("lease not given back", lease=self._name, reason=error.details)
