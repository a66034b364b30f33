"""Telling how far this node's tasks are, over a plain subject: what is lost costs nothing.

A report is sent when it differs from the one before, at most two a second for each task, and again
now and then, when the broker is back, and when a controller asks.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from towline.broker.connection import Connection
from towline.errors import BrokerUnreachable
from towline.wire.progress import Report
from towline.wire.subjects import asking_subject, progress_subject

log = structlog.get_logger()

PACE = 0.5
"""Seconds between two reports of a task, at least."""
REPEAT_EVERY = 10.0
"""Seconds after which a report is sent again: one may be lost on its way."""
RETRY_EVERY = 0.5


class _Told:
    """What is told of one task.

    Attributes:
        sent: what was sent last; "" for nothing, or for what is to be sent again.
        sent_at: when, by the loop's clock.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.report = b""
        self.sent = b""
        self.sent_at = float("-inf")
        self.subscription: Subscription | None = None

    @property
    def due_at(self) -> float:
        """When it is to be sent, by the loop's clock."""
        return self.sent_at + (REPEAT_EVERY if self.sent == self.report else PACE)


class Reports:
    """Sends the reports of this node's tasks."""

    def __init__(self, broker: Connection, machine: str) -> None:
        self._broker = broker
        self._machine = machine
        self._told: dict[str, _Told] = {}
        self._over: list[_Told] = []
        self._wake = asyncio.Event()

    def report(self, job: str, report: Report) -> None:
        """Tell how far the task of a job is."""
        told = self._told.get(job)
        if told is None:
            told = self._told[job] = _Told(progress_subject(self._machine, job))
        told.report = msgspec.json.encode(report)
        if told.sent != told.report:
            self._wake.set()

    def end(self, job: str) -> None:
        """Tell no more of a task."""
        told = self._told.pop(job, None)
        if told is not None:
            self._over.append(told)
            self._wake.set()

    async def send(self) -> None:
        """Send what there is to send, for ever."""
        while True:
            client = await self._broker.client()
            lost = asyncio.create_task(self._broker.lost())
            lost.add_done_callback(lambda _: self._wake.set())
            self._over.clear()
            for told in self._told.values():
                told.subscription, told.sent = None, b""
            try:
                while not lost.done():
                    await self._turn(client)
            except (BrokerUnreachable, nats.errors.Error, OSError) as error:
                log.warning("progress not told", reason=str(error))
                await asyncio.sleep(RETRY_EVERY)
            finally:
                lost.cancel()

    async def _turn(self, client: Client) -> None:
        """Send what is due, and wait until something is."""
        loop = asyncio.get_running_loop()
        self._wake.clear()
        while self._over:
            subscription = self._over.pop().subscription
            if subscription is not None:
                await subscription.unsubscribe()
        for job, told in list(self._told.items()):
            if told.subscription is None:
                told.subscription = await self._hear(client, job, told)
            if told.due_at <= loop.time():
                told.sent, told.sent_at = told.report, loop.time()
                await client.publish(told.subject, told.sent)
        next_at = min((told.due_at for told in self._told.values()), default=None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(next_at):
                await self._wake.wait()

    async def _hear(self, client: Client, job: str, told: _Told) -> Subscription:
        """Send the report of a task again whenever a controller asks for it."""

        async def asked(_: Msg) -> None:
            told.sent = b""
            self._wake.set()

        return await client.subscribe(asking_subject(job), cb=asked)
