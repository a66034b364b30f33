"""Following a stream from a position, whatever becomes of connections and servers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from towline.broker.connection import BrokerRefused, Connection
from towline.broker.streams import MAX_CONSUMERS, NANOSECONDS
from towline.errors import BrokerUnreachable

log = structlog.get_logger()

CONSUMER_NOT_FOUND = 10014

BATCH = 500
"""Messages asked for in one pull request; the next is sent as the last one arrives."""
MOST_PENDING = 2 * BATCH
"""Messages delivered and not acknowledged, past which the server holds the others back."""
PULL_EXPIRES = 60.0
HEARTBEAT = 15.0
"""Seconds between the server's signs of life on an idle pull request; two missed end it."""
CLUSTER_HEARTBEAT = 4.0
"""The same in a cluster, where a consumer may be on another server than the connection, and is cut
off without a word."""
STRANDED_AFTER = 3.0
"""Seconds without an answer of a consumer, after which the server that keeps it may be gone."""
TURNED_AWAY = 45.0
"""Seconds, on average, until a follower that found all places of a consumer taken asks again."""


class Message(msgspec.Struct, frozen=True):
    """One message of a stream.

    Attributes:
        sequence: its place in the stream.
        time: seconds since 1970, by the broker's clock, when it was stored.
        pending: how many more the stream holds for this follower at the time of delivery.
    """

    subject: str
    data: bytes
    sequence: int
    time: float
    pending: int
    origin: Msg

    async def acknowledge(self) -> None:
        """Tell the broker not to deliver this again; unconfirmed, so it may come again."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await self.origin._client.publish(self.origin.reply, b"+ACK")

    async def refuse(self) -> None:
        """Tell the broker to deliver this again, to another one if there is one."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await self.origin._client.publish(self.origin.reply, b"-NAK")

    async def extend(self) -> None:
        """Tell the broker that this is still being worked on."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await self.origin._client.publish(self.origin.reply, b"+WPI")


class Follower:
    """Follows a stream, message by message, whatever becomes of connections and servers.

    Without `durable` the broker keeps no position: every (re)start goes on after the last message
    that was yielded, nothing is acknowledged, and a gap in the deliveries starts over from there.
    With `durable` the broker keeps the position as messages are acknowledged.

    Args:
        stream: the stream's name.
        subjects: which of its messages; empty for all.
        after: the sequence to go on after; None for only what comes from now on. For a durable
            follower it counts only where the broker doesn't know it (yet, or any more). A stream
            that is made anew meanwhile is followed from its start.
        resume: asked instead, where given, when a durable follower has to be made: with when the
            stream was made, as the broker says it. The broker then keeps the position in memory
            only.
        durable: a name that the broker keeps the position under.
        newest: begin with the newest message of each subject, after every interruption (for
            key-value buckets, whose sequences start over where they are kept in memory).
        batch: how many messages the broker may send ahead.
        places: how many followers of the same name may wait at a time; the others try again now
            and then. The server walks through all that wait, each time that one of them asks.
        replicas: copies of a durable consumer in a cluster; 0 for as many as its stream has. One
            that has no copy is made anew where `resume` says when its server is gone.
    """

    def __init__(
        self,
        broker: Connection,
        stream: str,
        *,
        subjects: list[str] | None = None,
        after: int | None = 0,
        durable: str | None = None,
        resume: Callable[[str], int | None] | None = None,
        newest: bool = False,
        batch: int = BATCH,
        places: int | None = None,
        acknowledge_within: float = 10.0,
        replicas: int = 1,
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._subjects = subjects or []
        self._after = after
        self._durable = durable
        self._resume = resume
        self._newest = newest
        self._batch = batch
        self._places = places
        self._acknowledge_within = acknowledge_within
        self._replicas = replicas
        self.created: str | None = None
        """When the stream that is followed was made, as the broker says it."""
        self.delivered = 0
        """Up to where the broker would not deliver this follower's messages again, as of when it
        was asked for the consumer; for durable followers only."""
        self._prepared: Client | None = None
        self.sessions = 0
        """How often it has begun."""
        self.ready = asyncio.Event()
        """Set once the consumer exists: from here on nothing is missed."""

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {"replay_policy": "instant"}
        if self._durable is not None:
            config |= {
                "durable_name": self._durable,
                "ack_policy": "explicit",
                "ack_wait": int(self._acknowledge_within * NANOSECONDS),
                "max_deliver": -1,
                "max_ack_pending": MOST_PENDING,
                "max_waiting": self._places or MAX_CONSUMERS,
                "num_replicas": self._replicas,
            }
            if self._resume is not None:
                # On file the server writes and syncs a file of its own for each consumer, each
                # time that something is acknowledged: most of what a broadcast would cost it.
                config["mem_storage"] = True
        else:
            config |= {
                "ack_policy": "none",
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": 60 * NANOSECONDS,
            }
        if len(self._subjects) == 1:
            config["filter_subject"] = self._subjects[0]
        elif self._subjects:
            config["filter_subjects"] = self._subjects
        if self._newest:
            config["deliver_policy"] = "last_per_subject"
        elif self._after is None:
            config["deliver_policy"] = "new"
        elif self._after == 0:
            config["deliver_policy"] = "all"
        else:
            config |= {
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": self._after + 1,
            }
        return config

    async def _ensure_consumer(self) -> str:
        if self._durable is None:
            if not self._newest:
                await self._locate()
            body = {"stream_name": self._stream, "config": self._config()}
            answer = await self._broker.call(f"CONSUMER.CREATE.{self._stream}", body)
            return str(answer["name"])
        if self.created is None:
            await self._locate()
        try:
            info = await self._broker.call(
                f"CONSUMER.INFO.{self._stream}.{self._durable}", timeout=STRANDED_AFTER
            )
            kept = info["config"]
        except BrokerUnreachable:
            if not await self._strand():
                raise
            kept = None
        except BrokerRefused as error:
            if error.number != CONSUMER_NOT_FOUND:
                raise
            await self._locate()
            if self._resume is not None:
                self._after = self._resume(str(self.created))
            kept = None
        config = self._config()
        if kept is not None:
            # Where a durable consumer begins can't be changed, only what it is for.
            for key in ("deliver_policy", "opt_start_seq", "max_waiting", "mem_storage"):
                config.pop(key, None)
                if key in kept:
                    config[key] = kept[key]
        if kept is None or any(kept.get(key) != value for key, value in config.items()):
            info = await self._broker.call(
                f"CONSUMER.DURABLE.CREATE.{self._stream}.{self._durable}",
                {"stream_name": self._stream, "config": config},
            )
        self.delivered = int(info["ack_floor"]["stream_seq"])
        return self._durable

    async def _strand(self) -> bool:
        """Give up a consumer without copies whose server is gone; False where it isn't one."""
        info = await self._locate()
        after = self._resume(str(self.created)) if self._resume is not None else None
        if info["config"].get("num_replicas", 1) == 1 or self._replicas != 1 or after is None:
            return False
        log.warning("consumer made anew", stream=self._stream, reason="its server does not answer")
        # The cluster strikes it; nobody is left to say so.
        with contextlib.suppress(BrokerUnreachable):
            await self._broker.call(f"CONSUMER.DELETE.{self._stream}.{self._durable}", timeout=1.0)
        self._after = after
        return True

    async def _locate(self) -> dict[str, Any]:
        """Find where to go on: the stream may have been made anew since, or have lost its end.

        Returns what the broker tells of the stream.
        """
        info = await self._broker.call(f"STREAM.INFO.{self._stream}")
        if self.created not in (None, info["created"]):
            log.warning("stream made anew", stream=self._stream)
            self._after = 0
        elif self._durable is None:
            last = int(info["state"]["last_seq"])
            self._after = last if self._after is None else min(self._after, last)
        self.created = info["created"]
        return info

    async def prepare(self) -> None:
        """Make the consumer, so that nothing that is stored from here on is missed.

        Only for durable followers: it waits until the stream exists.
        """
        pause = 0.1
        while True:
            try:
                client = await self._broker.client()
                await self._ensure_consumer()
            except (BrokerRefused, BrokerUnreachable) as error:
                log.info("waiting for the journal", stream=self._stream, reason=error.details)
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, 5.0)
                continue
            self._prepared = client
            self.ready.set()
            return

    async def __aiter__(self) -> AsyncIterator[Message]:
        pause = 0.05
        while True:
            try:
                async for message in self._session():
                    pause = 0.05
                    yield message
            except (BrokerRefused, BrokerUnreachable) as error:
                log.warning("following stalls", stream=self._stream, reason=error.details)
            except (nats.errors.Error, OSError) as error:
                log.warning("following stalls", stream=self._stream, reason=str(error))
            # Only a failing broker is met with longer and longer pauses: a session that merely
            # ended (a reconnect) goes on at once.
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(pause * 2, 5.0)

    def _request(self) -> dict[str, int]:
        """Return the body of a pull request: within two heartbeats something answers it."""
        if self._places is not None:
            # Where heartbeats are asked for, the server does not say that all places are taken.
            return {"batch": self._batch, "expires": int(2 * self._heartbeat * NANOSECONDS)}
        return {
            "batch": self._batch,
            "expires": int(PULL_EXPIRES * NANOSECONDS),
            "idle_heartbeat": int(self._heartbeat * NANOSECONDS),
        }

    @property
    def _heartbeat(self) -> float:
        return CLUSTER_HEARTBEAT if self._broker.clustered else HEARTBEAT

    async def _session(self) -> AsyncIterator[Message]:
        """Yield messages until the connection, the consumer or the order of delivery is lost."""
        client = await self._broker.client()
        prepared, self._prepared = self._prepared, None
        if prepared is client and self._durable is not None:
            consumer = self._durable
        else:
            consumer = await self._ensure_consumer()
        self.sessions += 1
        self.ready.set()
        inbox = client.new_inbox()
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()

        async def receive(message: Msg) -> None:
            queue.put_nowait(message)

        async def watch() -> None:
            await self._broker.lost()
            queue.put_nowait(None)

        subscription = await client.subscribe(inbox, cb=receive)
        watcher = asyncio.create_task(watch())
        request = msgspec.json.encode(self._request())
        expected = 1
        try:
            outstanding = 0
            while True:
                if outstanding == 0:
                    await client.publish(
                        f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{consumer}",
                        request,
                        reply=inbox,
                    )
                    outstanding = self._batch
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
                status = received.headers.get("Status") if received.headers else None
                if received.headers and status is not None:
                    reason = received.headers.get("Description", "")
                    if status == "100":
                        continue
                    if status in ("404", "408") or (status == "409" and "Batch" in reason):
                        outstanding = 0
                        continue
                    if status == "409" and "MaxWaiting" in reason:
                        outstanding = 0
                        await asyncio.wait(
                            {watcher}, timeout=random.uniform(TURNED_AWAY / 2, TURNED_AWAY * 1.5)
                        )
                        continue
                    log.info("consumer ended", stream=self._stream, status=status, reason=reason)
                    return
                outstanding -= 1
                message, delivery = _read(received)
                self._broker.clock.passed(message.time)
                if self._durable is None:
                    if delivery != expected:
                        return
                    expected += 1
                    self._after = message.sequence
                yield message
        finally:
            watcher.cancel()
            await _unsubscribe(client, subscription)


async def _unsubscribe(client: Client, subscription: Any) -> None:
    if client.is_connected:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()


def _read(received: Msg) -> tuple[Message, int]:
    """Return the message and its place among this consumer's deliveries, from its reply subject.

    `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<place>.<time>.<pending>[.<token>]`
    """
    tokens = received.reply.split(".")
    start = 4 if len(tokens) == 9 else 6
    _, sequence, place, moment, pending = tokens[start : start + 5]
    message = Message(
        received.subject,
        received.data,
        int(sequence),
        int(moment) / NANOSECONDS,
        int(pending),
        received,
    )
    return message, int(place)
