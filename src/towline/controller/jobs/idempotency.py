"""Idempotency keys: the same request, sent again, means the same job.

A key that is a UUID of version 7 is its job's id as well: who asks can name the job before it is
there. Such a key is reserved for all callers together, and here: the journal keeps changes and
reads in two streams, and reads in groups, so that it can't say which of two jobs of one id came
first.
"""

from __future__ import annotations

import hashlib

import msgspec

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.errors import BrokerUnreachable, Conflict, InvalidRequest
from towline.wire.fields import JobId
from towline.wire.job import NO_OWN_ID, own_id, time_of

BUCKET = "requests"
KEPT = 86400.0
"""Seconds for which a key stands for its job."""
AHEAD = 3600.0
"""Seconds that the time in a key may be ahead of the controllers' clock."""
BEHIND = KEPT - AHEAD
"""Seconds that it may be behind: what a key is reserved for is known for as long as it could make a
job."""


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

    A caller's key is one of that caller's only: others may use the same text, unless it is the
    job's id.
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

    async def reserve(self, caller: str, key: str, request: str, job_id: str) -> str | None:
        """Reserve a key for a job; return the one that it stands for already, None for none.

        Args:
            request: the request's `digest`.

        Raises:
            Conflict: the key came with another request before.
            BrokerError: it isn't known what it stands for.
        """
        place, request_of_caller = _place(caller, key, request)
        try:
            await self._bucket.put(place, _Request(job_id, request_of_caller), last=0)
        except WrongLastSequence:
            earlier = await self.find(caller, key, request)
        else:
            return None
        if earlier is None:
            raise BrokerUnreachable(
                f"The broker does not say which job the Idempotency-Key {key!r} stands for.",
                "Send the request again in a few seconds",
            )
        return earlier

    async def find(self, caller: str, key: str, request: str) -> str | None:
        """Return the job that a key stands for, None for none; raises as `reserve`."""
        places = [_place(caller, key, request)]
        if own_id(key) is not None:
            # Controllers that know no keys which are ids keep all alike. For a day after the last
            # of these was updated one may stand for its job.
            places.append(_plain(caller, key, request))
        for place, request_of_caller in places:
            entry = await self._bucket.get(place)
            if entry is None or entry.value is None:
                continue
            first = entry.value
            if first.digest != request_of_caller:
                raise Conflict(
                    f"The Idempotency-Key {key!r} came with another request before, "
                    f"which made job {first.job}.",
                    "Give this one a key of its own",
                )
            return first.job
        return None


def _place(caller: str, key: str, request: str) -> tuple[str, str]:
    """Return where in the bucket a key stands, and the digest that a request with it has there."""
    if (job_id := own_id(key)) is not None:
        return job_id, digest(caller, request)
    return _plain(caller, key, request)


def _plain(caller: str, key: str, request: str) -> tuple[str, str]:
    return digest(caller, key), request


def check_time(job_id: str, now: float, behind: float) -> None:
    """Refuse to make a job of an id that was drawn long ago, or is to be drawn yet.

    Lists are sorted by ids. Such a job would stand where nobody looks for it, and a key is no plain
    one then either: whoever has sent it knows the job by it.

    Args:
        now: the controllers' clock.
        behind: seconds that the time in it may be behind that.

    Raises:
        InvalidRequest: with how far it is.
    """
    ahead = time_of(job_id) - now
    if -behind <= ahead <= AHEAD:
        return
    raise InvalidRequest(
        f"The Idempotency-Key {job_id} {NO_OWN_ID}: the time in it is "
        + (f"{ahead:.0f} s ahead." if ahead > 0 else f"{-ahead:.0f} s ago."),
        f"A UUID of version 7 is taken up to {AHEAD:.0f} s ahead of the controllers' clock and "
        f"{behind:.0f} s behind it: look at this machine's clock, or send a new key. One of "
        "another kind, such as a UUID of version 4, has no time in it",
    )
