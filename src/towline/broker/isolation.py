"""Whether nodes are where the journal is not: JetStream must not be seen from their account."""

from __future__ import annotations

import asyncio

import structlog

from towline.broker.answers import BrokerRefused, read_answer
from towline.broker.connection import Connection
from towline.errors import BrokerUnreachable, InvalidConfiguration

log = structlog.get_logger()

ANSWERS_WITHIN = 2.0
"""Seconds after which JetStream is not there: a server denies in silence what isn't allowed."""
RETRY_EVERY = 0.5


async def check_isolated(nodes: Connection, *, within: float = ANSWERS_WITHIN) -> None:
    """Return when it is sure that a connection's account sees no JetStream.

    Raises:
        InvalidConfiguration: it does.
    """
    while True:
        client = await nodes.client()
        try:
            reply = await nodes.request("$JS.API.INFO", b"", timeout=within)
            read_answer("INFO", reply.data)
        except BrokerRefused as error:
            # It is not enabled for this account: whoever says so is no JetStream of the account's.
            log.debug("nodes see no JetStream", reason=error.details)
            return
        except BrokerUnreachable:
            if nodes.connected and await nodes.client() is client:
                return
            await asyncio.sleep(RETRY_EVERY)
            continue
        raise InvalidConfiguration(
            "The nodes' login sees JetStream: a node could read and change the journal.",
            "Give nodes an account of their own without JetStream, and name its login with "
            "--nodes-credentials; the README shows such a nats.conf",
        )
