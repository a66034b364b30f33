"""The bucket with the cooldowns of registries, which agents read and write."""

from __future__ import annotations

from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.wire.cooldown import BUCKET, LONGEST_ASKED, Cooldown


def cooldown_bucket(jetstream: JetStream) -> Bucket[Cooldown]:
    """Return the bucket with the cooldown of each registry, as controllers make it.

    The broker keeps it in memory: a cooldown lasts for a while only, and a registry that has lost
    its own refuses the next request.
    """
    return Bucket(
        jetstream,
        BUCKET,
        Cooldown,
        storage="memory",
        max_age=2 * LONGEST_ASKED,
        max_bytes=16 * 1024**2,
        discard="old",
    )
