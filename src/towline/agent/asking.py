"""Requests to the controllers: the one way by which a node learns that somebody is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from towline.broker.clock import Clock, running
from towline.broker.connection import Connection, unreachable
from towline.errors import BrokerUnreachable
from towline.wire.decoding import Unreadable
from towline.wire.report import Answer, Receipt

T = TypeVar("T", Answer, Receipt)

CONTROLLERS = "controllers"
"""The kind of request, as the connection counts failures."""


class Controllers:
    """The controllers, as a node asks them.

    Attributes:
        unreadable: how many answers could not be read.

    Args:
        clock: is set by what is answered.
    """

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self.unreadable = 0

    async def ask(self, subject: str, body: bytes, within: float, read: Callable[[bytes], T]) -> T:
        """Send a request, and return what `read` makes of the answer of one of them.

        A server of a cluster over which none has answered for long is left for another: it may be
        cut off, and takes what it is sent all the same.

        Raises:
            BrokerUnreachable: none has answered within so many seconds, or not readably.
        """
        connection = self._connection
        if not connection.connected:
            raise unreachable(f"NATS: {connection.last_error}")
        sent = running()
        try:
            message = await connection.request(subject, body, timeout=within)
        except BrokerUnreachable as error:
            connection.failed(CONTROLLERS, error.details)
            raise
        connection.succeeded(CONTROLLERS)
        try:
            answer = read(message.data)
        except Unreadable as error:
            self.unreadable += 1
            raise unreachable(f"the answer on {subject!r} can't be read: {error}") from error
        self._clock.observe(answer.time, sent)
        return answer
