"""The outbox: events leave the ledger for the journal, each until it is stored."""

from __future__ import annotations

import asyncio
import sqlite3

import structlog

from towline.agent.changes import Change
from towline.agent.ledger import Ledger
from towline.broker.answers import BrokerRefused
from towline.broker.journal import Journal
from towline.errors import BrokerUnreachable
from towline.wire.event import Event

log = structlog.get_logger()

DELIVER_WITHIN = 60.0
"""Seconds that an event may take to the broker, which has those of all the fleet to store."""
BATCH = 64
RETRY_EVERY = 0.5
CLOSE_WITHIN = 2.0
"""Seconds that the events of an agent that ends may take to the broker; the next start delivers
what is left."""


class Outbox:
    """Delivers the events of this node's tasks.

    Args:
        deliver_within: seconds that an event may take to the broker.
        retry_every: seconds between attempts to deliver.
        close_within: seconds that an event may take when the agent ends.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        *,
        deliver_within: float = DELIVER_WITHIN,
        retry_every: float = RETRY_EVERY,
        close_within: float = CLOSE_WITHIN,
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._deliver_within = deliver_within
        self._retry_every = retry_every
        self._close_within = close_within
        self._waiting = asyncio.Event()
        self._recording: set[asyncio.Task[None]] = set()

    def connected(self) -> None:
        """Deliver what waits: the broker is there."""
        self._waiting.set()

    async def run(self) -> None:
        """Deliver events from the ledger, for ever."""
        self._waiting.set()
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            try:
                await self._flush(self._deliver_within)
                continue
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("events wait in the ledger", reason=error.details)
            except sqlite3.Error as error:
                log.error("ledger not readable", reason=str(error))
            await asyncio.sleep(self._retry_every)
            self._waiting.set()

    async def _flush(self, within: float) -> None:
        """Deliver all events that the ledger has.

        Args:
            within: seconds that each may take.

        Raises:
            BrokerUnreachable, BrokerRefused: some could not be delivered, and stay in the ledger.
            sqlite3.Error: the ledger can't be read.
        """
        while events := self._ledger.undelivered(BATCH):
            # Sent in order and all at once: each is stored once, and the fold minds no order.
            outcomes = await asyncio.gather(
                *(self._journal.add_event(event, timeout=within) for _, event in events),
                return_exceptions=True,
            )
            failures = []
            for (number, _), outcome in zip(events, outcomes, strict=True):
                if outcome is None:
                    self._ledger.delivered(number)
                else:
                    failures.append(outcome)
            if failures:
                raise failures[0]

    async def end(self, event: Event) -> None:
        """Record the end of a task in the ledger, however long that takes, and deliver it.

        Both at once: should the ledger lose it, the broker has it first and keeps no second one.
        """
        sending = asyncio.create_task(self._send(event))
        try:
            while True:
                try:
                    end = self._ledger.end(event)
                    await end
                    break
                except sqlite3.Error as error:
                    log.error("end of task not recorded yet", job=event.job, reason=str(error))
                    await asyncio.sleep(self._ledger.retry_every)
                if sending.done() and not sending.result():
                    sending = asyncio.create_task(self._send(event))
            if await sending:
                self._ledger.delivered(end.number)
            else:
                self._waiting.set()
        finally:
            sending.cancel()

    def step(self, event: Event) -> None:
        """Record a step of a task in the ledger, to be delivered like its end."""
        task = asyncio.create_task(self._keep(self._ledger.record(event), event))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)
        self._waiting.set()

    async def _keep(self, recorded: Change, event: Event) -> None:
        """Record a step again that could not be written."""
        try:
            await recorded
        except sqlite3.Error as error:
            log.error(
                "step not recorded yet",
                job=event.job,
                step=event.step,
                message=event.error,
                reason=str(error),
            )
            await self._ledger.persist(lambda: self._ledger.record(event), event.job)
            self._waiting.set()

    async def answer(self, event: Event) -> None:
        """Deliver the end of a task that the ledger doesn't have.

        Raises:
            BrokerUnreachable, BrokerRefused: it could not be delivered.
        """
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

    async def close(self) -> None:
        """Deliver what waits as far as that is quick; the next start delivers the rest."""
        for task in self._recording:
            task.cancel()
        await asyncio.gather(*self._recording, return_exceptions=True)
        try:
            await self._flush(self._close_within)
        except (BrokerUnreachable, BrokerRefused) as error:
            log.info("events stay in the ledger", reason=error.details)
        except sqlite3.Error as error:
            log.error("ledger not readable", reason=str(error))

    async def _send(self, event: Event) -> bool:
        if not self._journal.jetstream.connection.connected:
            return False
        try:
            await self._journal.add_event(event, timeout=self._deliver_within)
        except (BrokerUnreachable, BrokerRefused) as error:
            log.warning("event waits in the ledger", job=event.job, reason=error.details)
            return False
        except Exception:
            log.exception("event not sent", job=event.job)
            return False
        return True
