"""The outbox: reports leave for the controllers, each until one of them has stored it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from towline.agent.asking import Controllers
from towline.agent.fields import clean
from towline.agent.ledger import Ledger
from towline.agent.ledger.changes import Change
from towline.broker.connection import Connection
from towline.errors import BrokerUnreachable
from towline.runtime.pauses import Pauses
from towline.wire import messages
from towline.wire.event import BEGUN, FAILED, RESULT_STATUS, Event
from towline.wire.report import REFUSED, STORED, Receipt
from towline.wire.subjects import report_subject

log = structlog.get_logger()

FIRST_WITHIN = 3.0
"""Seconds that the first try of a report may take: a controller waits for up to one second for the
job that a report is of, and what it stores has to be synced."""
AGAIN_WITHIN = 10.0
"""Seconds that the second try may take, which goes to every controller."""
MOST_SENT = 64
"""Reports that are under way at a time."""
SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
"""Seconds between attempts, drawn at random below a bound that doubles: a fleet that finds no
controller must not ask in step."""
CLOSE_WITHIN = 1.5
"""Seconds that reports may take when the agent ends; the next start sends what is left."""


class Outbox:
    """Reports what becomes of this node's tasks.

    Attributes:
        over: called with the id of a job that has ended for the controllers, and is reported to be
            under way here.

    Args:
        controllers: what is reported to.
        shortest_pause, longest_pause, close_within: seconds; see the constants.
    """

    def __init__(
        self,
        connection: Connection,
        machine: str,
        ledger: Ledger,
        controllers: Controllers,
        *,
        shortest_pause: float = SHORTEST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        close_within: float = CLOSE_WITHIN,
    ) -> None:
        self._connection = connection
        self._machine = machine
        self._ledger = ledger
        self._controllers = controllers
        self._shortest_pause = shortest_pause
        self._longest_pause = longest_pause
        self._close_within = close_within
        self._due = asyncio.Event()
        self._pauses = self.pauses()
        self._not_before = 0.0
        """By the loop's clock: until then nothing is sent, since nobody answers."""
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._resting: dict[int, Pauses] = {}
        """Of reports that could not be stored just now, by number."""
        self._direct: set[int] = set()
        """Numbers of ends that are sent by those who record them."""
        self._background: set[asyncio.Task[None]] = set()
        self._repeating: set[str] = set()
        self.over: Callable[[str], None] = lambda job_id: None

    def pauses(self) -> Pauses:
        """Return the pauses between attempts at one report."""
        return Pauses(self._shortest_pause, self._longest_pause)

    def send_now(self) -> None:
        """Send what waits: the broker is there, or a controller."""
        self._not_before = 0.0
        self._due.set()

    # From the ledger

    async def run(self) -> None:
        """Send reports from the ledger, for ever."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._due.clear()
                await self._connection.client()
                # One moment for both: what rests until later is waited for, all else is sent.
                now = loop.time()
                if now >= self._not_before:
                    try:
                        self._fill(now)
                    except sqlite3.Error as error:
                        log.error("ledger not readable", reason=str(error))
                        self._not_before = now + self._shortest_pause
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._next_at(now)):
                        await self._due.wait()
        finally:
            for task in self._sending.values():
                task.cancel()

    def _next_at(self, now: float) -> float | None:
        """Return when to look again by the loop's clock, None for not before something is due."""
        if now < self._not_before:
            return self._not_before
        rests = (pauses.until for pauses in self._resting.values())
        return min((moment for moment in rests if moment > now), default=None)

    def _fill(self, now: float) -> None:
        """Begin to send the oldest reports that wait, as many as may be under way."""
        resting = {number for number, pauses in self._resting.items() if pauses.until > now}
        apart = resting | self._sending.keys() | self._direct
        free = MOST_SENT - len(self._sending)
        for number, event in self._ledger.undelivered(free, apart) if free > 0 else ():
            task = asyncio.create_task(self._deliver(number, event), name=f"report {event.job}")
            self._sending[number] = task

    async def _deliver(self, number: int, event: Event) -> None:
        try:
            self._settle(number, event, await self.report(event))
            self._pauses.reset()
        except BrokerUnreachable as error:
            if asyncio.get_running_loop().time() >= self._not_before:
                log.warning("reports wait in the ledger", reason=error.details)
                self._not_before = self._pauses.next()
        except Exception:
            log.exception("report not sent", job=event.job)
            self._rest(number)
        finally:
            del self._sending[number]
            self._due.set()

    def _settle(self, number: int, event: Event, receipt: Receipt) -> None:
        """Do what a receipt says."""
        if receipt.over and event.kind in BEGUN:
            self.over(event.job)
        if receipt.status == STORED:
            self._strike(number)
        elif receipt.status == REFUSED:
            level = log.info if receipt.over else log.error
            level("report refused", job=event.job, kind=event.kind, reason=receipt.reason or None)
            self._strike(number)
            small = event.kind == FAILED and event.data is None
            if event.kind in RESULT_STATUS and not small and not receipt.over:
                error = clean(f"its end ({event.kind}) was refused: {receipt.reason}")
                self._ledger.end(
                    msgspec.structs.replace(event, kind=FAILED, data=None, error=error),
                    created=event.time,
                    expires=event.time,
                )
                self._due.set()
        else:
            log.info("report not stored yet", job=event.job, reason=receipt.reason)
            self._rest(number)

    def _strike(self, number: int) -> None:
        self._ledger.delivered(number)
        self._resting.pop(number, None)

    def _rest(self, number: int) -> None:
        self._resting.setdefault(number, self.pauses()).next()

    # By those who report

    async def report(self, event: Event) -> Receipt:
        """Send a report once, and a second time to all controllers; return the receipt.

        Raises:
            BrokerUnreachable: nobody answers.
        """
        body = msgspec.json.encode(event)
        ask, read = self._controllers.ask, messages.receipt
        try:
            return await ask(report_subject(self._machine), body, FIRST_WITHIN, read)
        except BrokerUnreachable as error:
            if not self._connection.connected:
                raise
            log.info("report not answered", job=event.job, reason=error.details)
        subject = report_subject(self._machine, again=True)
        return await ask(subject, body, AGAIN_WITHIN, read)

    async def end(self, event: Event, *, created: float, expires: float) -> None:
        """Record the end of a task in the ledger, however long that takes, and report it.

        Both at once: what the ledger then loses is stored all the same, and a second end changes
        nothing.

        Args:
            created, expires: see `Ledger.end`.
        """
        sending = asyncio.create_task(self._try(event))
        end: Change | None = None
        try:
            while True:
                try:
                    end = self._ledger.end(event, created=created, expires=expires)
                    self._direct.add(end.number)
                    await end
                    break
                except sqlite3.Error as error:
                    log.error("end of task not recorded yet", job=event.job, reason=str(error))
                    if end is not None:
                        self._direct.discard(end.number)
                    await asyncio.sleep(self._ledger.retry_every)
                if sending.done() and sending.result() is None:
                    sending = asyncio.create_task(self._try(event))
            receipt = await sending
            if receipt is not None:
                self._settle(end.number, event, receipt)
        finally:
            sending.cancel()
            if end is not None:
                self._direct.discard(end.number)
            self._due.set()

    async def _try(self, event: Event) -> Receipt | None:
        """Report an event; return None where that failed, which the log says."""
        if not self._connection.connected:
            return None
        try:
            return await self.report(event)
        except BrokerUnreachable as error:
            log.warning("report waits in the ledger", job=event.job, reason=error.details)
        except Exception:
            log.exception("report not sent", job=event.job)
        return None

    def repeat(self, event: Event) -> None:
        """Report an end once more that was received before; nothing is recorded of that."""
        if event.job in self._repeating:
            return
        self._repeating.add(event.job)

        async def repeat() -> None:
            try:
                await self._try(event)
            finally:
                self._repeating.discard(event.job)

        self._in_background(repeat())

    def step(self, event: Event) -> None:
        """Record a step of a task in the ledger, to be reported like its end."""
        self._in_background(self._keep(self._ledger.record(event), event))
        self._due.set()

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
            self._due.set()

    async def insist(self, event: Event) -> Receipt:
        """Report an event that the ledger doesn't have until it is stored or refused."""
        pauses = self.pauses()
        while True:
            try:
                receipt = await self.report(event)
                if receipt.status in (STORED, REFUSED):
                    return receipt
                reason = receipt.reason
            except BrokerUnreachable as error:
                reason = error.details
            log.warning("not reported yet", job=event.job, kind=event.kind, reason=reason)
            await pauses.wait()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Send what waits as far as that is quick; the next start sends the rest."""
        for task in (*self._background, *self._sending.values()):
            task.cancel()
        await asyncio.gather(*self._background, *self._sending.values(), return_exceptions=True)
        try:
            async with asyncio.timeout(self._close_within):
                while self._connection.connected:
                    waiting = self._ledger.undelivered(MOST_SENT, self._resting.keys())
                    receipts = await asyncio.gather(*(self._try(event) for _, event in waiting))
                    for (number, event), receipt in zip(waiting, receipts, strict=True):
                        if receipt is not None:
                            self._settle(number, event, receipt)
                    if not waiting or None in receipts:
                        return
        except TimeoutError:
            log.info("reports stay in the ledger", reason="nobody has answered in time")
        except sqlite3.Error as error:
            log.error("ledger not readable", reason=str(error))
