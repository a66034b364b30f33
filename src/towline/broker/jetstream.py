"""JetStream: calls of its API, and messages that are stored."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from towline.broker.answers import (
    UNAVAILABLE,
    BrokerRefused,
    WrongLastSequence,
    read_acknowledgement,
    read_answer,
)
from towline.broker.clock import Clock, running
from towline.broker.connection import REQUEST_TIMEOUT, Connection
from towline.broker.seal import Seal
from towline.errors import BrokerUnreachable

FIRST_ATTEMPT = 2.0
"""Seconds until a message that nobody acknowledged is sent once more, on the same connection: in a
cluster a leader that is gone loses it without a word. Doubled each time."""
APPEND = "append"
"""The kind of request that stores a message, as the connection counts failures."""


class JetStream:
    """What a broker stores, as one connection reaches it.

    Attributes:
        connection: to the broker, in the account that the streams are in.
        clock: the broker's clock, as far as its answers show it.
        seal: marks what is stored in the journal and in buckets, where it is read as well.
        trouble: why the broker did not store the last message that it was sent; "" where it did.

    Args:
        connection: to the broker; whoever made it enters and leaves it.
        clock: takes the time from answers; None for one of its own.
        seal: None for one that marks nothing.
    """

    def __init__(
        self, connection: Connection, clock: Clock | None = None, seal: Seal | None = None
    ) -> None:
        self.connection = connection
        self.clock = Clock() if clock is None else clock
        self.seal = Seal() if seal is None else seal
        self.trouble = ""

    async def call(
        self, subject: str, body: object = None, *, timeout: float = REQUEST_TIMEOUT
    ) -> dict[str, Any]:
        """Call JetStream's API and return its answer.

        Args:
            subject: what comes behind `$JS.API.`.
            body: the request, as data for JSON; None for none.

        Raises:
            BrokerRefused: it answered with an error.
            BrokerUnreachable: it did not answer, or nothing that can be read.
        """
        payload = b"" if body is None else msgspec.json.encode(body)
        sent = running()
        reply = await self.connection.request(f"$JS.API.{subject}", payload, timeout=timeout)
        kind = ".".join(subject.split(".", 2)[:2])
        try:
            answer, moment = read_answer(subject, reply.data)
        except BrokerRefused as error:
            if error.number == UNAVAILABLE:
                self.connection.failed(kind, error.details)
            else:
                self.connection.succeeded(kind)
            raise
        self.connection.succeeded(kind)
        if moment is not None:
            self.clock.observe(moment, sent)
        return answer

    async def append(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str | None = None,
        last: int | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> int:
        """Store a message in the stream that holds `subject` and return its sequence.

        Tried again with the same `message_id` until `timeout` seconds are over: a publish that
        timed out may have been stored, and the id keeps it from being stored twice.

        Args:
            last: store it only where this is the sequence of the newest on this subject; 0 for only
                where there is none.

        Raises:
            WrongLastSequence: there is a newer one on this subject: perhaps this very message,
                stored by an attempt whose acknowledgement was lost.
            BrokerRefused: JetStream would not store it.
            BrokerUnreachable: it could not be stored in time, or may have been and nobody said so.
        """
        headers = {}
        if message_id is not None:
            headers["Nats-Msg-Id"] = message_id
        if last is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(last)
        deadline = asyncio.get_running_loop().time() + timeout
        # A single server loses no message without the connection to it.
        patience = FIRST_ATTEMPT / 2 if self.connection.clustered else timeout
        while True:
            remaining = deadline - asyncio.get_running_loop().time()
            # A broker that is slow for all it has to do is made slower by what it is sent twice.
            patience *= 2
            try:
                reply = await self.connection.request(
                    subject,
                    payload,
                    headers=headers or None,
                    timeout=max(0.05, min(remaining, patience)),
                )
                ack = read_acknowledgement(subject, reply.data)
            except BrokerUnreachable as error:
                self.trouble = error.details
                self.connection.failed(APPEND, error.details)
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(0.05)
                continue
            except BrokerRefused as error:
                # A condition that isn't met is an answer like any other.
                unmet = isinstance(error, WrongLastSequence)
                self.trouble = "" if unmet else error.details
                raise
            self.trouble = ""
            self.connection.succeeded()
            return ack
