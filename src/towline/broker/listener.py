"""Receiving what is published on a subject, whatever becomes of connections and messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from towline.broker.client import ServerClient
from towline.broker.connection import Connection
from towline.broker.repeated import LOG_EVERY, Repeated
from towline.wire.decoding import Unreadable

log = structlog.get_logger()

RETRY_EVERY = 0.5
"""Seconds until a subscription that failed, while the connection lasts, is tried again."""
LEAVE_WITHIN = 2.0
"""Seconds that a listener which is left waits for a subscription that is on its way, to end it: in
a queue group the server would send it messages that nobody receives."""


class Received(msgspec.Struct, frozen=True):
    """A message that was received.

    Attributes:
        reply: the subject on which it may be answered, "" for none. Whoever sent it chose that.
    """

    subject: str
    data: bytes
    reply: str


class Listener:
    """Receives what is published on one subject, at every connection anew.

    What is published while there is no connection is missed. No message ends it, and no error of
    `receive`, which is logged. Entered as a context it receives for as long as the block lasts.

    Attributes:
        ready: set while the server has the subscription.
        unreadable: how many messages could not be read.

    Args:
        subject: which messages; wildcards are allowed.
        receive: called with each message, in the order in which the server sent them. It starts
            tasks itself where it has to wait, and raises Unreadable for what it can't read.
        queue: of the listeners with the same one, each message reaches one; "" for every message.
        retry_every, log_every: seconds; see the constants.
    """

    def __init__(
        self,
        connection: Connection,
        subject: str,
        receive: Callable[[Received], None],
        *,
        queue: str = "",
        retry_every: float = RETRY_EVERY,
        log_every: float = LOG_EVERY,
    ) -> None:
        self._connection = connection
        self._subject = subject
        self._receive = receive
        self._queue = queue
        self._retry_every = retry_every
        self._misread = Repeated("message not readable", every=log_every)
        self._failures = Repeated("message not processed", every=log_every)
        self._running: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()
        self.unreadable = 0

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.run(), name=f"listener {self._subject}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def run(self) -> None:
        """Receive, until cancelled; then the server sends no more."""
        try:
            while True:
                await self._listen(await self._connection.client())
        finally:
            self._misread.close()
            self._failures.close()

    async def _listen(self, client: ServerClient) -> None:
        """Receive until this connection is lost, or does not let us subscribe."""
        # Waited for as tasks: the library's own waiting may drop a cancellation, and waits on for
        # an answer when the connection is lost.
        lost = asyncio.create_task(self._connection.lost())
        subscribing = asyncio.create_task(self._subscribe(client))
        try:
            await asyncio.wait({lost, subscribing}, return_when=asyncio.FIRST_COMPLETED)
            if subscribing.done() and subscribing.result() is None:
                await asyncio.wait({lost}, timeout=self._retry_every)
            elif not lost.done():
                self.ready.set()
                await asyncio.wait({lost})
        finally:
            self.ready.clear()
            if not lost.done():
                await asyncio.wait({subscribing}, timeout=LEAVE_WITHIN)
                if subscribing.done():
                    await _end(subscribing.result())
            subscribing.cancel()
            lost.cancel()

    async def _subscribe(self, client: ServerClient) -> Subscription | None:
        """Subscribe and wait until the server knows it; return None where that failed."""
        subscription = None
        try:
            subscription = await client.listen(self._subject, self._deliver, self._queue)
            await client.flush()
        except BaseException as error:
            await _end(subscription)
            if not isinstance(error, Exception):
                raise
            log.warning("not subscribed yet", subject=self._subject, reason=repr(error))
            return None
        return subscription

    def _deliver(self, message: Msg) -> None:
        received = Received(message.subject, message.data, message.reply)
        try:
            self._receive(received)
        except Unreadable as error:
            self.count_unreadable(received, error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            # It is logged there. A cancellation too: nothing is waited for here, so it is none of
            # this task's.
            self._failures.error(error, subject=received.subject)

    def count_unreadable(self, received: Received, error: Exception) -> None:
        """Count a message that turned out to be unreadable, and log it without flooding."""
        self.unreadable += 1
        self._misread.warning(subject=received.subject, reason=str(error))


async def _end(subscription: Subscription | None) -> None:
    if subscription is not None:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()
