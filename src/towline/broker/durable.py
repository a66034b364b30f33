"""Following a stream by a consumer whose position the broker keeps."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import structlog
from nats.aio.client import Client

from towline.broker.answers import CONSUMER_NOT_FOUND, NANOSECONDS, BrokerRefused
from towline.broker.consumer import (
    BATCH,
    CLUSTER_HEARTBEAT,
    HEARTBEAT,
    LONGEST_PAUSE,
    PULL_EXPIRES,
    Follower,
    Message,
)
from towline.broker.jetstream import JetStream
from towline.broker.streams import MAX_CONSUMERS
from towline.errors import BrokerUnreachable

log = structlog.get_logger()

MOST_PENDING = 2 * BATCH
"""Messages delivered and not acknowledged, past which the server holds the others back."""
STRANDED_AFTER = 3.0
"""Seconds without an answer of a consumer, after which the server that keeps it may be gone."""
RETRY_FULL = 45.0
"""Seconds, on average, until a follower that found all places of a consumer taken asks again."""
FIRST_PAUSE = 0.1
"""Seconds until `prepare` tries again, at most; the bound doubles."""


class DurableFollower(Follower):
    """Follows a stream; the broker keeps the position as messages are acknowledged.

    Attributes:
        delivered: up to where the broker would not deliver this follower's messages again, as of
            when it was asked for the consumer.

    Args:
        durable: a name that the broker keeps the position under.
        after: the sequence to go on after, which counts only where the broker doesn't know it
            (yet, or any more); None for only what comes from now on. A stream that is made anew
            meanwhile is followed from its start.
        resume: asked instead, where given, when the consumer has to be made: with when the stream
            was made, as the broker says it. The broker then keeps the position in memory only.
        places: how many followers of the same name may wait at a time; the others try again now
            and then. The server walks through all that wait, each time that one of them asks.
        acknowledge_within: seconds after which what was not acknowledged is delivered again.
        replicas: copies of the consumer in a cluster; 0 for as many as its stream has. One that
            has no copy is made anew where `resume` says when its server is gone.
        retry_full, stranded_after: seconds; see the constants.
    """

    def __init__(
        self,
        jetstream: JetStream,
        stream: str,
        durable: str,
        *,
        subjects: list[str] | None = None,
        after: int | None = 0,
        resume: Callable[[str], int | None] | None = None,
        batch: int = BATCH,
        places: int | None = None,
        acknowledge_within: float = 10.0,
        replicas: int = 1,
        heartbeat: float = HEARTBEAT,
        cluster_heartbeat: float = CLUSTER_HEARTBEAT,
        pull_expires: float = PULL_EXPIRES,
        retry_full: float = RETRY_FULL,
        stranded_after: float = STRANDED_AFTER,
    ) -> None:
        super().__init__(
            jetstream,
            stream,
            subjects=subjects,
            after=after,
            batch=batch,
            heartbeat=heartbeat,
            cluster_heartbeat=cluster_heartbeat,
            pull_expires=pull_expires,
        )
        self._durable = durable
        self._resume = resume
        self._places = places
        self._acknowledge_within = acknowledge_within
        self._replicas = replicas
        self._retry_full = retry_full
        self._stranded_after = stranded_after
        self._prepared: Client | None = None
        self.delivered = 0

    async def prepare(self) -> None:
        """Make the consumer, so that nothing that is stored from here on is missed.

        It waits until the stream exists.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                client = await self._jetstream.connection.client()
                await self._ensure_consumer()
            except (BrokerRefused, BrokerUnreachable, LookupError, TypeError, ValueError) as error:
                # The last three: an answer that lacks what it should have.
                log.info("waiting for the stream", stream=self._stream, reason=str(error))
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            self._prepared = client
            self.ready.set()
            return

    async def _make_consumer(self, client: Client) -> str:
        prepared, self._prepared = self._prepared, None
        if prepared is not client:
            await self._ensure_consumer()
        return self._durable

    async def _ensure_consumer(self) -> None:
        """Make the consumer where the broker has none, or one for other subjects."""
        if self.created is None:
            await self._find_stream()
        try:
            info = await self._jetstream.call(
                f"CONSUMER.INFO.{self._stream}.{self._durable}", timeout=self._stranded_after
            )
            kept = info["config"]
        except BrokerUnreachable:
            if not await self._strand():
                raise
            kept = None
        except BrokerRefused as error:
            if error.number != CONSUMER_NOT_FOUND:
                raise
            await self._find_stream()
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
            info = await self._jetstream.call(
                f"CONSUMER.DURABLE.CREATE.{self._stream}.{self._durable}",
                {"stream_name": self._stream, "config": config},
            )
        self.delivered = int(info["ack_floor"]["stream_seq"])

    async def _strand(self) -> bool:
        """Give up a consumer without copies whose server is gone; return False for any other."""
        info = await self._find_stream()
        after = self._resume(str(self.created)) if self._resume is not None else None
        if info["config"].get("num_replicas", 1) == 1 or self._replicas != 1 or after is None:
            return False
        log.warning("consumer made anew", stream=self._stream, reason="its server does not answer")
        # The cluster strikes it; nobody is left to say so.
        with contextlib.suppress(BrokerUnreachable):
            await self._jetstream.call(
                f"CONSUMER.DELETE.{self._stream}.{self._durable}", timeout=1.0
            )
        self._after = after
        return True

    def _config(self) -> dict[str, Any]:
        config = {
            "replay_policy": "instant",
            "durable_name": self._durable,
            "ack_policy": "explicit",
            "ack_wait": int(self._acknowledge_within * NANOSECONDS),
            "max_deliver": -1,
            "max_ack_pending": MOST_PENDING,
            "max_waiting": self._places or MAX_CONSUMERS,
            "num_replicas": self._replicas,
            **self._filter(),
            **self._start(),
        }
        if self._resume is not None:
            # On file the server writes and syncs a file of its own for each consumer, each time
            # that something is acknowledged: most of what a broadcast would cost it.
            config["mem_storage"] = True
        return config

    def _request(self) -> dict[str, int]:
        if self._places is None:
            return super()._request()
        # Where heartbeats are asked for, the server does not say that all places are taken.
        return {"batch": self._batch, "expires": int(2 * self._heartbeat * NANOSECONDS)}

    def _pause(self, status: str, reason: str) -> float | None:
        if status == "409" and "MaxWaiting" in reason:
            return random.uniform(self._retry_full / 2, self._retry_full * 1.5)
        return None

    def _accept(self, message: Message, place: int) -> bool:
        return True
