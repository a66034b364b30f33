"""Following a stream by a consumer, whatever becomes of connections and servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from towline.broker.answers import NANOSECONDS
from towline.broker.jetstream import JetStream
from towline.errors import BrokerError
from towline.runtime.pauses import Pauses

log = structlog.get_logger()

BATCH = 500
"""Messages asked for in one pull request; the next is sent as the last one arrives."""
PULL_EXPIRES = 60.0
"""Seconds after which the server ends a pull request that nothing has come to."""
HEARTBEAT = 15.0
"""Seconds between the server's signs of life on an idle pull request; two missed end it."""
CLUSTER_HEARTBEAT = 4.0
"""The same in a cluster, where a consumer may be on another server than the connection, and is cut
off without a word."""
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds until a follower that the broker fails tries again, at most: drawn at random below a
bound that doubles."""


class Message(msgspec.Struct, frozen=True):
    """One message of a stream.

    Attributes:
        sequence: its place in the stream.
        time: seconds since 1970, by the broker's clock, when it was stored.
        pending: how many more the stream holds for this follower at the time of delivery.
        origin: the message as the client library has it.
    """

    subject: str
    data: bytes
    sequence: int
    time: float
    pending: int
    origin: Msg


class Follower:
    """Follows a stream, message by message, whatever becomes of connections and servers.

    The broker keeps no position: every (re)start goes on after the last message that was yielded,
    nothing is acknowledged, and a gap in the deliveries starts over from there.

    Attributes:
        created: when the stream that is followed was made, as the broker says it.
        sessions: how often it has begun.
        ready: set once the consumer exists: from here on nothing is missed.

    Args:
        stream: the stream's name.
        after: the sequence to go on after. A stream that is made anew meanwhile is followed from
            its start.
        newest: begin with the newest message of each subject, after every interruption (for
            key-value buckets, whose sequences start over where they are kept in memory).
        heartbeat, pull_expires: seconds; see the constants.
    """

    def __init__(
        self,
        jetstream: JetStream,
        stream: str,
        *,
        after: int = 0,
        newest: bool = False,
        heartbeat: float = HEARTBEAT,
        pull_expires: float = PULL_EXPIRES,
    ) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._after = after
        self._newest = newest
        self._heartbeat = CLUSTER_HEARTBEAT if jetstream.connection.clustered else heartbeat
        self._pull_expires = pull_expires
        self._delivered = 0
        self._empty = False
        self.created: str | None = None
        self.sessions = 0
        self.ready = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Message]:
        async for message in self.with_ends():
            if message is not None:
                yield message

    async def with_ends(self) -> AsyncIterator[Message | None]:
        """Yield messages as iterating does; None at each beginning where there is none to come."""
        pauses = Pauses(SHORTEST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                async for message in self._session():
                    pauses.reset()
                    yield message
            except BrokerError as error:
                log.warning("following stalls", stream=self._stream, reason=error.details)
            except (nats.errors.Error, OSError) as error:
                log.warning("following stalls", stream=self._stream, reason=str(error))
            except (LookupError, TypeError, ValueError) as error:
                # An answer that lacks what it should have.
                log.error("following stalls", stream=self._stream, reason=repr(error))
            # Only a failing broker is met with longer and longer pauses: a session that merely
            # ended (a reconnect) goes on at once.
            await pauses.wait()

    # The consumer

    async def _make_consumer(self) -> str:
        """Make what the broker delivers by; return its name."""
        if not self._newest:
            await self._locate()
        body = {"stream_name": self._stream, "config": self._config()}
        answer = await self._jetstream.call(f"CONSUMER.CREATE.{self._stream}", body)
        self._empty = not answer["num_pending"]
        return str(answer["name"])

    def _config(self) -> dict[str, Any]:
        return {
            "replay_policy": "instant",
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 60 * NANOSECONDS,
            **self._start(),
        }

    def _start(self) -> dict[str, Any]:
        if self._newest:
            return {"deliver_policy": "last_per_subject", "filter_subject": ">"}
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._after + 1}

    async def _locate(self) -> None:
        """Find where to go on: the stream may have been made anew since, or have lost its end."""
        info = await self._jetstream.call(f"STREAM.INFO.{self._stream}")
        if self.created not in (None, info["created"]):
            log.warning("stream made anew", stream=self._stream)
            self._after = 0
        self.created = info["created"]
        self._after = min(self._after, int(info["state"]["last_seq"]))

    # Deliveries

    async def _session(self) -> AsyncIterator[Message | None]:
        """Yield messages until the connection, the consumer or the order of delivery is lost."""
        client = await self._jetstream.connection.client()
        consumer = await self._make_consumer()
        self.sessions += 1
        self._delivered = 0
        self.ready.set()
        if self._empty:
            yield None
        inbox = client.new_inbox()
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()

        async def watch() -> None:
            await self._jetstream.connection.lost()
            queue.put_nowait(None)

        subscription = await client.listen(inbox, queue.put_nowait)
        watcher = asyncio.create_task(watch())
        request = msgspec.json.encode(self._request())
        try:
            outstanding = 0
            while True:
                if outstanding == 0:
                    await client.publish(
                        f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{consumer}",
                        request,
                        reply=inbox,
                    )
                    outstanding = BATCH
                try:
                    # A message that waits already needs no timer.
                    if not queue.empty():
                        received = queue.get_nowait()
                    else:
                        async with asyncio.timeout(2 * self._heartbeat + 1):
                            received = await queue.get()
                except TimeoutError:
                    log.warning("no sign of life from the consumer", stream=self._stream)
                    return
                if received is None:
                    return
                status = _status(received)
                if received.headers and status is not None:
                    reason = received.headers.get("Description", "")
                    if status == "100":
                        continue
                    if status in ("404", "408") or (status == "409" and "Batch" in reason):
                        outstanding = 0
                        continue
                    log.info("consumer ended", stream=self._stream, status=status, reason=reason)
                    return
                try:
                    message, place = _read(received)
                except ValueError as error:
                    # Of nobody who delivers: what was asked for is still to come.
                    log.error("delivery not readable", stream=self._stream, reason=str(error))
                    continue
                outstanding -= 1
                self._jetstream.clock.passed(message.time)
                if not self._accept(message, place):
                    return
                yield message
        finally:
            watcher.cancel()
            await _unsubscribe(client, subscription)

    def _request(self) -> dict[str, int]:
        """Return the body of a pull request: within two heartbeats something answers it."""
        return {
            "batch": BATCH,
            "expires": int(self._pull_expires * NANOSECONDS),
            "idle_heartbeat": int(self._heartbeat * NANOSECONDS),
        }

    def _accept(self, message: Message, place: int) -> bool:
        """Return whether a message is the next one; `place` is its among the deliveries."""
        if place != self._delivered + 1:
            return False
        self._delivered, self._after = place, message.sequence
        return True


def _status(received: Msg) -> str | None:
    """Return what the server says of a pull request; None for a delivery.

    A message that is stored may have such a header too: but what is delivered says so in its reply
    subject, and what the server says has none.
    """
    if not received.headers or received.reply.startswith("$JS.ACK."):
        return None
    return received.headers.get("Status")


async def _unsubscribe(client: Client, subscription: Any) -> None:
    if client.is_connected:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()


def _read(received: Msg) -> tuple[Message, int]:
    """Return the message and its place among this consumer's deliveries, from its reply subject.

    `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<place>.<time>.<pending>[.<token>]`

    Raises:
        ValueError: there is no such subject.
    """
    tokens = received.reply.split(".")
    start = 4 if len(tokens) == 9 else 6
    try:
        _, sequence, place, moment, pending = (int(token) for token in tokens[start : start + 5])
    except ValueError as error:
        raise ValueError(f"the reply subject {received.reply!r} is none of a delivery") from error
    message = Message(
        received.subject, received.data, sequence, moment / NANOSECONDS, pending, received
    )
    return message, place
