"""Leases: what one controller does at a time, and another soon after it has died."""

from __future__ import annotations

import base64
import time

import msgspec
import structlog

from towline.broker.connection import BrokerRefused, Connection
from towline.broker.streams import NANOSECONDS, NO_MESSAGE, WRONG_LAST_SEQUENCE, create_stream
from towline.errors import BrokerUnreachable
from towline.wire.job import new_id

log = structlog.get_logger()

BUCKET = "leases"
HELD = 6.0
"""Seconds after which the broker forgets a lease that was not renewed."""
MARGIN = 1.0
"""Seconds before that, by when its holder lets its hands off."""
ANSWER_WITHIN = 2.0


class _Holder(msgspec.Struct, frozen=True):
    holder: str
    since: float


class Lease:
    """A lease of one name, held by at most one controller.

    A holder that stalls may act a moment longer than it holds: what must not happen twice needs a
    condition of its own at the broker.
    """

    def __init__(self, broker: Connection, name: str) -> None:
        self._broker = broker
        self._subject = f"$KV.{BUCKET}.{name}"
        self._holder = _Holder(new_id(), time.time())
        self._sequence = 0
        self._until = 0.0

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist. In memory: it holds for seconds only."""
        await create_stream(
            self._broker,
            {
                "name": f"KV_{BUCKET}",
                "subjects": [f"$KV.{BUCKET}.>"],
                "retention": "limits",
                "storage": "memory",
                "max_age": int(HELD * NANOSECONDS),
                "max_msgs_per_subject": 1,
                "discard": "new",
                "allow_rollup_hdrs": True,
                "allow_direct": True,
                "num_replicas": replicas,
            },
        )

    @property
    def held(self) -> bool:
        """Whether it is held just now."""
        return time.monotonic() < self._until

    async def hold(self) -> bool:
        """Take or renew the lease; return whether it is held then."""
        began = time.monotonic()
        # One that may have run out is taken as if it had never been ours.
        last = self._sequence if self.held else 0
        try:
            try:
                self._sequence = await self._write(last)
            except BrokerRefused as error:
                if error.number not in WRONG_LAST_SEQUENCE:
                    raise
                self._until = 0.0
                # Perhaps our own, stored by an attempt whose acknowledgement was lost.
                own = await self._own()
                if own is None:
                    return False
                self._sequence = await self._write(own)
        except (BrokerRefused, BrokerUnreachable) as error:
            log.warning("lease not taken", reason=error.details)
        else:
            self._until = began + HELD - MARGIN
        return self.held

    async def _write(self, last: int) -> int:
        return await self._broker.append(
            self._subject, msgspec.json.encode(self._holder), last=last, timeout=ANSWER_WITHIN
        )

    async def _own(self) -> int | None:
        """Return the sequence of the lease, None where it is another's or nobody's."""
        try:
            answer = await self._broker.call(
                f"STREAM.MSG.GET.KV_{BUCKET}",
                {"last_by_subj": self._subject},
                timeout=ANSWER_WITHIN,
            )
        except BrokerRefused as error:
            if error.number == NO_MESSAGE:
                return None
            raise
        message = answer["message"]
        kept = msgspec.json.decode(base64.b64decode(message["data"]), type=_Holder)
        return int(message["seq"]) if kept == self._holder else None

    async def leave(self) -> None:
        """Let another one have it."""
        if self.held:
            self._until = 0.0
            try:
                await self._broker.call(
                    f"STREAM.PURGE.KV_{BUCKET}",
                    {"filter": self._subject, "seq": self._sequence + 1},
                    timeout=ANSWER_WITHIN,
                )
            except (BrokerRefused, BrokerUnreachable) as error:
                log.warning("lease not given back", reason=error.details)
