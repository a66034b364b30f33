"""Idempotency keys: the same request, sent again, means the same job."""

from __future__ import annotations

import base64
import hashlib

import msgspec

from towline.broker.connection import BrokerRefused, Connection
from towline.broker.streams import NANOSECONDS, NO_MESSAGE, WRONG_LAST_SEQUENCE, create_stream
from towline.errors import BrokerUnreachable, Conflict

BUCKET = "requests"
HELD = 86400.0
"""Seconds that a key stands for its job."""


class _Held(msgspec.Struct, frozen=True):
    job: str
    digest: str


def digest(*parts: object) -> str:
    """Return what two requests share only if they ask for the same."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def _subject(caller: str, key: str) -> str:
    return f"$KV.{BUCKET}.{digest(caller, key)}"


class Keys:
    """The keys that requests have brought, in the broker, so that every controller knows them."""

    def __init__(self, broker: Connection) -> None:
        self._broker = broker

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist."""
        await create_stream(
            self._broker,
            {
                "name": f"KV_{BUCKET}",
                "subjects": [f"$KV.{BUCKET}.>"],
                "retention": "limits",
                "storage": "file",
                "max_age": int(HELD * NANOSECONDS),
                "max_msgs_per_subject": 1,
                "max_bytes": 256 * 1024**2,
                "discard": "new",
                "allow_rollup_hdrs": True,
                "deny_delete": True,
                "allow_direct": True,
                "num_replicas": replicas,
            },
        )

    async def hold(self, caller: str, key: str, request: str, job_id: str) -> str:
        """Hold a key for `job_id`; return the job that it stands for: that one, or an earlier one.

        Args:
            request: the request's `digest`.

        Raises:
            Conflict: the key came with another request before.
            BrokerUnreachable, BrokerRefused: it isn't known.
        """
        subject = _subject(caller, key)
        try:
            await self._broker.append(
                subject, msgspec.json.encode(_Held(job_id, request)), first=True
            )
        except BrokerRefused as error:
            if error.number not in WRONG_LAST_SEQUENCE:
                raise
        else:
            return job_id
        held = await self.held(caller, key, request)
        if held is None:
            raise BrokerUnreachable("The broker is out of reach.", f"no key on {subject!r}")
        return held

    async def held(self, caller: str, key: str, request: str) -> str | None:
        """Return the job that a key stands for, None for none; raises as `hold`."""
        try:
            answer = await self._broker.call(
                f"STREAM.MSG.GET.KV_{BUCKET}", {"last_by_subj": _subject(caller, key)}
            )
        except BrokerRefused as error:
            if error.number == NO_MESSAGE:
                return None
            raise
        held = msgspec.json.decode(base64.b64decode(answer["message"]["data"]), type=_Held)
        if held.digest != request:
            raise Conflict(
                f"The Idempotency-Key {key!r} came with another request before.",
                f"That one made job {held.job}; give this one a key of its own",
            )
        return held.job
