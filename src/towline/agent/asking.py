"""Requests to the controllers: the one way by which a node learns that somebody is there."""

from __future__ import annotations

from nats.aio.msg import Msg

from towline.broker.connection import Connection, unreachable
from towline.errors import BrokerUnreachable

CONTROLLERS = "controllers"
"""The kind of request, as the connection counts failures."""


async def ask(connection: Connection, subject: str, body: bytes, within: float) -> Msg:
    """Send the controllers a request, and return the answer of one of them.

    A server of a cluster over which none has answered for long is left for another: it may be cut
    off, and takes what it is sent all the same.

    Raises:
        BrokerUnreachable: none has answered within so many seconds.
    """
    if not connection.connected:
        raise unreachable(f"NATS: {connection.last_error}")
    try:
        answer = await connection.request(subject, body, timeout=within)
    except BrokerUnreachable as error:
        connection.failed(CONTROLLERS, error.details)
        raise
    connection.succeeded(CONTROLLERS)
    return answer
