"""Idempotency keys: the same request, sent again, means the same job."""

from __future__ import annotations

import hashlib

import msgspec

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.errors import BrokerUnreachable, Conflict
from towline.wire.fields import JobId

BUCKET = "requests"
KEPT = 86400.0
"""Seconds for which a key stands for its job."""


class _Request(msgspec.Struct, frozen=True):
    """The request that a key came with first.

    Attributes:
        job: the id of the job that it made, or was about to make.
        digest: what is in the request, as `digest` gives it.
    """

    job: JobId
    digest: str


def digest(*parts: object) -> str:
    """Return what two requests share only if they ask for the same."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


class Keys:
    """The keys that requests have brought, kept in the broker, so that every controller knows them.

    A caller's key is one of that caller's only: others may use the same text.
    """

    def __init__(self, jetstream: JetStream) -> None:
        self._bucket = Bucket(
            jetstream,
            BUCKET,
            _Request,
            max_age=KEPT,
            max_bytes=256 * 1024**2,
            deny_delete=True,
        )

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist."""
        await self._bucket.create(replicas)

    async def reserve(self, caller: str, key: str, request: str, job_id: str) -> str:
        """Reserve a key for a job; return the job that it stands for: that one, or an earlier one.

        Args:
            request: the request's `digest`.

        Raises:
            Conflict: the key came with another request before.
            BrokerError: it isn't known what it stands for.
        """
        try:
            await self._bucket.put(digest(caller, key), _Request(job_id, request), last=0)
        except WrongLastSequence:
            earlier = await self.find(caller, key, request)
        else:
            return job_id
        if earlier is None:
            raise BrokerUnreachable(
                f"The broker does not say which job the Idempotency-Key {key!r} stands for.",
                "Send the request again in a few seconds",
            )
        return earlier

    async def find(self, caller: str, key: str, request: str) -> str | None:
        """Return the job that a key stands for, None for none; raises as `reserve`."""
        entry = await self._bucket.get(digest(caller, key))
        if entry is None or entry.value is None:
            return None
        first = entry.value
        if first.digest != request:
            raise Conflict(
                f"The Idempotency-Key {key!r} came with another request before, "
                f"which made job {first.job}.",
                "Give this one a key of its own",
            )
        return first.job
