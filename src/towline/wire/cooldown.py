"""Rests of registries, as the fleet is told of them: data, and the bucket of the broker for it."""

from __future__ import annotations

import msgspec

from towline.broker.connection import Connection
from towline.broker.streams import NANOSECONDS, create_stream
from towline.controller.jobs.idempotency import digest

BUCKET = "rests"
LONGEST_ASKED = 6 * 3600.0
"""Seconds of a rest at most that a registry asks for: Docker Hub counts over six hours."""


class Rest(msgspec.Struct, frozen=True):
    """That a registry is to be left alone.

    Attributes:
        registry: `host[:port]`.
        since, until: seconds since 1970, by the broker's clock.
        over: from when on nodes need not begin one after another any more, likewise.
        row: how many rests in a row this is the last of.
        by: the hostname of the node that was told.
        reason: in the words of its engine.
    """

    registry: str
    since: float
    until: float
    over: float
    row: int
    by: str
    reason: str


async def create(broker: Connection, replicas: int) -> None:
    """Make the bucket where it doesn't exist."""
    await create_stream(
        broker,
        {
            "name": f"KV_{BUCKET}",
            "subjects": [f"$KV.{BUCKET}.>"],
            "retention": "limits",
            # In memory: it holds for a while only, and registries tell again.
            "storage": "memory",
            "max_age": int(2 * LONGEST_ASKED * NANOSECONDS),
            "max_msgs_per_subject": 1,
            "max_bytes": 16 * 1024**2,
            "discard": "old",
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "num_replicas": replicas,
        },
    )


def rest_subject(registry: str) -> str:
    """Return the subject that tells how a registry rests."""
    return f"$KV.{BUCKET}.{digest(registry)[:32]}"
