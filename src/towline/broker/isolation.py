"""Whether nodes are where the journal is not, and whether a login there is a controller's."""

from __future__ import annotations

import asyncio
import secrets

import structlog

from towline.broker.answers import BrokerRefused, read_answer
from towline.broker.connection import Connection
from towline.broker.listener import Listener, Received
from towline.errors import BrokerUnreachable, InvalidConfiguration
from towline.runtime.pauses import within
from towline.wire.subjects import answer_subject

log = structlog.get_logger()

ANSWERS_WITHIN = 2.0
"""Seconds after which nothing answers: a server denies in silence what isn't allowed."""
RETRY_EVERY = 0.5


async def check_isolated(nodes: Connection, *, answers_within: float = ANSWERS_WITHIN) -> None:
    """Return when it is sure that a connection sees no JetStream, and may do what controllers do.

    Raises:
        InvalidConfiguration: it does see it, or may not.
    """
    while True:
        client = await nodes.client()
        try:
            reply = await nodes.request("$JS.API.INFO", b"", timeout=answers_within)
            read_answer("INFO", reply.data)
        except BrokerRefused as error:
            # It is not enabled for this account: whoever says so is no JetStream of the account's.
            log.debug("nodes see no JetStream", reason=error.details)
            seen = False
        except BrokerUnreachable:
            seen = False
        else:
            seen = True
        if seen:
            raise InvalidConfiguration(
                "The nodes' login sees JetStream: a node could read and change the journal.",
                "Give nodes an account of their own without JetStream, and name its login with "
                "--nodes-credentials; towline trust init makes both",
            )
        allowed = await _may_answer(nodes, answers_within)
        # What was found out over a connection that is gone by now is worth nothing.
        if not nodes.connected or await nodes.client() is not client:
            await asyncio.sleep(RETRY_EVERY)
            continue
        if allowed:
            return
        raise InvalidConfiguration(
            "The nodes' login may not receive what nodes send to controllers.",
            f"{nodes.last_error}; --nodes-credentials takes a controller's login in the nodes' "
            "account, not an agent's; towline trust init makes it",
        )


async def _may_answer(nodes: Connection, seconds: float) -> bool:
    """Return whether a controller's own subject is open to this login, both ways."""
    received = asyncio.Event()

    def receive(message: Received) -> None:
        received.set()

    own = answer_subject(secrets.token_hex(8), "check")
    async with Listener(nodes, own, receive):
        for _ in range(20):
            await nodes.publish(own, b"")
            if await within(seconds / 20, received.wait()):
                return True
    return False
