"""JetStream's streams: how they are made, and the errors that the broker answers with."""

from __future__ import annotations

from typing import Any

from towline.broker.connection import BrokerRefused, Connection

# nats-server 2.15 refuses a stream's 1,001st consumer unless the stream names a higher limit.
# It also lets no more than 512 agents wait at one consumer unless that names a higher limit.
MAX_CONSUMERS = 20_000
NANOSECONDS = 1_000_000_000
STREAM_NAME_IN_USE = 10058
NO_MESSAGE = 10037
NO_STORAGE = 10047
NO_PEERS = 10005
"""What a server of its own, and a cluster, answer where a stream may take more than there is."""


def lacks_room(error: BrokerRefused) -> bool:
    # A cluster answers the same where it has too few servers.
    return error.number == NO_STORAGE or (
        error.number == NO_PEERS and "insufficient storage" in error.details
    )


async def create_stream(broker: Connection, config: dict[str, Any]) -> None:
    """Make a stream where there is none of that name."""
    try:
        await broker.call(f"STREAM.CREATE.{config['name']}", config)
    except BrokerRefused as error:
        # In use: it exists with other settings. Those are an operator's to change, not ours.
        if error.number != STREAM_NAME_IN_USE:
            raise
