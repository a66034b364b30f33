"""A job as the broker delivers it to this node: claimed if any node may have it, acknowledged."""

from __future__ import annotations

import asyncio
import time

import structlog

from towline.broker.answers import BrokerRefused
from towline.broker.consumer import Message
from towline.broker.journal import Journal
from towline.errors import BrokerUnreachable
from towline.wire.event import CLAIMED, Event
from towline.wire.job import Job
from towline.wire.subjects import cancelling_subject
from towline.wire.target import ANY

log = structlog.get_logger()

LATE = 5.0
"""Seconds after which a job has waited for its node: it may have been cancelled meanwhile."""
EXTEND_EVERY = 5.0
"""Seconds between signs to the broker that a read goes on; it waits 10 s for one."""
RETRY_EVERY = 0.5


class Claims:
    """Claims jobs that any node may run for this one.

    Args:
        retry_every: seconds between attempts while the broker can't be asked.
    """

    def __init__(
        self, journal: Journal, machine: str, hostname: str, *, retry_every: float = RETRY_EVERY
    ) -> None:
        self._journal = journal
        self._machine = machine
        self._hostname = hostname
        self._retry_every = retry_every

    async def claim(self, job: Job) -> bool:
        """Make a job this node's own; return False where another one has it.

        Its subject keeps one claim for good, so that a second delivery to another node, after an
        acknowledgement that was lost, is no second run.
        """
        claim = Event(job.id, self._machine, self._hostname, CLAIMED, time.time())
        while True:
            try:
                return await self._journal.claim(claim) == self._machine
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("claim not made yet", job=job.id, reason=error.details)
                await asyncio.sleep(self._retry_every)

    def late(self, job: Job) -> bool:
        """Return whether a job has waited for its node, and may have been cancelled meanwhile."""
        return self._journal.jetstream.clock.now() - job.created > LATE

    async def cancelled_by(self, job: Job) -> str | None:
        """Return who has cancelled a job, None if nobody has.

        The cancellation of a job that has waited comes right behind it, when it has begun.
        """
        try:
            event = await self._journal.last_event(cancelling_subject(job.id))
        except (BrokerUnreachable, BrokerRefused) as error:
            # Then the cancellation stops it when it comes.
            log.warning("not known whether cancelled", job=job.id, reason=error.details)
            return None
        return None if event is None else str((event.data or {}).get("caller", "?"))


class Delivery:
    """A job that this node was given.

    Attributes:
        job: the job.
        sequence: its place in the journal; None where other nodes could be delivered it too.

    Args:
        claims: what claims it for this node.
        message: what delivered it; None where it was read from the ledger.
    """

    def __init__(self, job: Job, claims: Claims, message: Message | None = None) -> None:
        self.job = job
        self._claims = claims
        self._message = message
        self._shared = job.target == str(ANY)
        self._late = message is not None and not self._shared and claims.late(job)
        self.sequence = None if message is None or self._shared else message.sequence

    @property
    def needs_leave(self) -> bool:
        """Whether it may turn out that this node is not to begin it."""
        return self._shared or self._late

    async def leave(self) -> bool:
        """Return whether this node may begin it: False where another one has it."""
        return not self._shared or await self._claims.claim(self.job)

    async def cancelled_by(self) -> str | None:
        """Return who has cancelled it while it waited for this node, None if nobody has."""
        return await self._claims.cancelled_by(self.job) if self._late else None

    async def acknowledge(self) -> None:
        """Have the broker not deliver it again."""
        if self._message is not None:
            await self._message.acknowledge()

    async def refuse(self) -> None:
        """Have the broker deliver it again, to another node if there is one."""
        if self._message is not None:
            await self._message.refuse()

    async def extend(self) -> None:
        """Keep the broker from delivering it again, for as long as this goes on."""
        while self._message is not None:
            await asyncio.sleep(EXTEND_EVERY)
            await self._message.extend()
