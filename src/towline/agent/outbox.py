"""The outbox: events leave the ledger for the journal, each until it is stored."""

from __future__ import annotations

import asyncio
import sqlite3

import structlog

from towline.agent.ledger import Ledger
from towline.broker.connection import BrokerRefused
from towline.broker.journal import Journal
from towline.errors import BrokerUnreachable
from towline.wire.event import Event

log = structlog.get_logger()

DELIVER_WITHIN = 60.0
"""Seconds that an event may take to the broker, which has those of all the fleet to store."""
BATCH = 64
RETRY_EVERY = 0.5
LEDGER_RETRY_EVERY = 1.0


class Outbox:
    """Delivers the events of this node's tasks.

    Args:
        deliver_within: seconds that an event may take to the broker.
        retry_every: seconds between attempts to deliver.
        ledger_retry_every: seconds between attempts to write to the ledger.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        *,
        deliver_within: float = DELIVER_WITHIN,
        retry_every: float = RETRY_EVERY,
        ledger_retry_every: float = LEDGER_RETRY_EVERY,
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._deliver_within = deliver_within
        self._retry_every = retry_every
        self._ledger_retry_every = ledger_retry_every
        self._waiting = asyncio.Event()

    def connected(self) -> None:
        """Deliver what waits: the broker is there."""
        self._waiting.set()

    async def run(self) -> None:
        """Deliver events from the ledger, for ever."""
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            try:
                await self.flush()
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("events wait in the ledger", reason=error.details)
                await asyncio.sleep(self._retry_every)
                self._waiting.set()

    async def flush(self, within: float | None = None) -> None:
        """Deliver all events that the ledger has.

        Args:
            within: seconds that each may take, if not as ever.

        Raises:
            BrokerUnreachable, BrokerRefused: some could not be delivered, and stay in the ledger.
        """
        timeout = self._deliver_within if within is None else within
        while events := self._ledger.undelivered(BATCH):
            # Sent in order and all at once; each is stored once, and folding minds no order.
            await asyncio.gather(
                *(self._journal.add_event(event, timeout=timeout) for _, event in events)
            )
            for number, _ in events:
                self._ledger.delivered(number)

    async def end(self, event: Event) -> None:
        """Record the end of a task in the ledger, however long that takes, and deliver it.

        Both at once: should the ledger lose it, the broker has it first and keeps no second one.
        """
        while True:
            sending = asyncio.create_task(self._send(event))
            try:
                number = self._ledger.end(event)
                await self._ledger.commit()
            except sqlite3.Error as error:
                log.error("end of task not recorded yet", job=event.job, reason=str(error))
                await asyncio.sleep(self._ledger_retry_every)
                continue
            if await sending:
                self._ledger.delivered(number)
            else:
                self._waiting.set()
            return

    def step(self, event: Event) -> None:
        """Record a step of a task in the ledger, to be delivered like its end."""
        try:
            self._ledger.tell(event)
        except sqlite3.Error as error:
            # Its end will wait until there is room; this step is in the log only.
            log.error(
                "step not recorded",
                job=event.job,
                step=event.step,
                message=event.error,
                reason=str(error),
            )
            return
        self._waiting.set()

    async def answer(self, event: Event) -> None:
        """Deliver the end of a task that the ledger doesn't have; raises as `flush`."""
        await self._journal.add_event(event, timeout=self._deliver_within)

    async def announce(self, event: Event) -> None:
        """Deliver an event that the ledger doesn't have, however often that has to be tried."""
        while True:
            try:
                await self._journal.add_event(event)
                return
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("start of task not sent yet", job=event.job, reason=error.details)
                await asyncio.sleep(self._retry_every)

    async def _send(self, event: Event) -> bool:
        if not self._journal.broker.connected:
            return False
        try:
            await self._journal.add_event(event, timeout=self._deliver_within)
        except (BrokerUnreachable, BrokerRefused) as error:
            log.warning("event waits in the ledger", job=event.job, reason=error.details)
            return False
        return True
