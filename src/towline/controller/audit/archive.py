"""The audit as this controller has read it: lists and single entries, from its index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import structlog

from towline.broker.consumer import Follower
from towline.broker.jetstream import JetStream
from towline.broker.repeated import Repeated
from towline.controller.audit.entry import AUDIT, CHECKPOINTS, Entry, entries_of
from towline.controller.audit.trail import Trail
from towline.controller.audit.verification import Verification
from towline.controller.jobs.index import Index
from towline.errors import BrokerUnreachable, TowlineError
from towline.trust.signing import Verifier
from towline.wire import messages
from towline.wire.decoding import Unreadable

log = structlog.get_logger()

RETRY_EVERY = 0.5
FORGET_EVERY = 600.0
"""Seconds between looks at what the broker has forgotten."""
CAUGHT_UP_WITHIN = 3.0
"""Seconds that a question waits for what was stored before it was asked."""
NEARLY_FULL = 0.9
"""Of its room a stream takes as much, at least, when it has begun to forget for want of it."""
AT_ONCE = 500
"""Rows that are read before others have their turn."""

_entry = msgspec.json.Decoder(Entry)


class Filter(msgspec.Struct, frozen=True):
    """Which entries are meant; None for any.

    Attributes:
        job: an id, or the short id of a job that is there still.
        since, until: seconds since 1970; answered at `since` or later, before `until`.
    """

    caller: str | None = None
    operation: str | None = None
    status: int | None = None
    job: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def clause(self) -> tuple[str, list[object]]:
        """What SQL asks for these."""
        where, values = ["TRUE"], list[object]()
        if self.job is not None:
            # What has no dash is a short id.
            short = "job IN (SELECT id FROM job AS found WHERE substr(found.id, 25) = ?)"
            where.append("job = ?" if "-" in self.job else short)
            values.append(self.job)
        for name in ("caller", "operation", "status"):
            value = getattr(self, name)
            if value is not None:
                where.append(f"{name} = ?")
                values.append(value)
        for name, sign in (("since", ">="), ("until", "<")):
            moment = getattr(self, name)
            if moment is not None:
                where.append(f"time {sign} ?")
                values.append(moment)
        return " AND ".join(where), values


class Archive:
    """Reads what all controllers have stored, and answers from it.

    Attributes:
        verifier: knows the keys that controllers sign with, and those that they have signed with.

    Args:
        trail: what this controller stores.
        verifier: see the attribute.
        age: seconds for which entries are kept.
    """

    def __init__(
        self, jetstream: JetStream, index: Index, trail: Trail, verifier: Verifier, age: float
    ) -> None:
        self._jetstream = jetstream
        self._index = index
        self._trail = trail
        self.verifier = verifier
        self._age = age
        self._misread = Repeated("message not readable")
        self._read = 0
        self._moved = asyncio.Event()
        self._verifying = asyncio.Lock()

    async def run(self) -> None:
        """Read what is stored into the index, for ever."""
        try:
            while True:
                try:
                    await self._follow(await self._state(AUDIT))
                except TowlineError as error:
                    log.warning("index waits for the broker", stream=AUDIT, reason=error.details)
                    await asyncio.sleep(RETRY_EVERY)
        finally:
            self._misread.close()

    async def _follow(self, state: _Stream) -> None:
        """Read a stream until the broker has another one of that name."""
        self._read = after = self._index.position(AUDIT, state.created, state.state.last_seq)
        self._index.forget_audit(state.state.first_seq)
        forgotten = time.monotonic()
        follower = Follower(self._jetstream, AUDIT, after=after)
        async for message in follower:
            if follower.created != state.created:
                return
            try:
                body = messages.envelope(message.data).body
                read = [each for each, _ in entries_of(body)]
            except Unreadable as error:
                self._misread.error(stream=AUDIT, sequence=message.sequence, reason=str(error))
                read = []
            self._index.add_audit(message.sequence, read)
            self._read = message.sequence
            self._moved.set()
            if time.monotonic() - forgotten > FORGET_EVERY:
                forgotten = time.monotonic()
                state = await self._state(AUDIT)
                self._index.forget_audit(state.state.first_seq)

    async def _state(self, stream: str) -> _Stream:
        answer = await self._jetstream.call(f"STREAM.INFO.{stream}")
        return msgspec.convert(answer, _Stream)

    # Asking

    async def catch_up(self) -> None:
        """Return when all that was stored by now was read.

        Raises:
            BrokerUnreachable: the broker can't be asked, or there is too much to read.
        """
        last = (await self._state(AUDIT)).state.last_seq
        try:
            async with asyncio.timeout(CAUGHT_UP_WITHIN):
                while self._read < last:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise BrokerUnreachable(
                "This controller has not read all of the audit yet: try again in a few seconds.",
                "Another controller may be further",
            ) from None

    def filter(self, **wanted: Any) -> Filter:
        """Return which entries are meant; see `Filter`."""
        return Filter(**wanted)

    def count(self, wanted: Filter) -> int:
        """Return how many entries there are."""
        where, values = wanted.clause
        (found,) = self._index.query(f"SELECT count(*) FROM audit WHERE {where}", values).fetchone()
        return int(found)

    def entries(self, wanted: Filter, *, limit: int, offset: int = 0) -> list[Entry]:
        """Return entries, the newest first."""
        return self._at(self._places(wanted, limit, offset))

    async def export(self, wanted: Filter, *, most: int) -> list[Entry]:
        """Return entries, the newest first, `most` at most; others have their turn meanwhile."""
        places = self._places(wanted, most)
        found: list[Entry] = []
        for begin in range(0, len(places), AT_ONCE):
            found += self._at(places[begin : begin + AT_ONCE])
            await asyncio.sleep(0)
        return found

    def _places(self, wanted: Filter, limit: int, offset: int = 0) -> list[int]:
        """Return where entries stand, the newest first: of an index, which has no bodies."""
        where, values = wanted.clause
        # By their places SQLite would go through the table, bodies and all: 600 MB at the most.
        order = "place" if wanted == Filter() else "+place"
        rows = self._index.query(
            f"SELECT place FROM audit WHERE {where} ORDER BY {order} DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [place for (place,) in rows]

    def _at(self, places: list[int]) -> list[Entry]:
        if not places:
            return []  # SQLite would look through the table for none
        marks = ", ".join("?" * len(places))
        rows = self._index.query(
            f"SELECT body FROM audit WHERE place IN ({marks}) ORDER BY place DESC", places
        )
        return [_entry.decode(body) for (body,) in rows]

    def get(self, entry_id: str) -> Entry | None:
        """Return an entry, or None where there is none of this id."""
        row = self._index.query("SELECT body FROM audit WHERE id = ?", (entry_id,)).fetchone()
        return None if row is None else _entry.decode(row[0])

    def without_entry(self, before: float, most: int) -> list[str]:
        """Return jobs that change something and have no entry: it was lost with a controller.

        Args:
            before: seconds since 1970; jobs made later may be asked for still.
            most: how many are returned.
        """
        first = self._index.query("SELECT time FROM audit ORDER BY place LIMIT 1").fetchone()
        if first is None:
            return []
        rows = self._index.query(
            "SELECT id FROM job WHERE stream = 'CHANGES' AND created >= ? AND created < ?"
            " AND NOT EXISTS (SELECT 1 FROM audit WHERE audit.job = job.id) ORDER BY id LIMIT ?",
            (first[0], before, most),
        )
        return [job for (job,) in rows]

    # Verifying

    async def verify(self) -> Verification:
        """Read all that is stored, and look whether it is what controllers have stored.

        Raises:
            BrokerError: it can't be read.
        """
        async with self._verifying:
            head, own = self._trail.head, self._trail.checkpoint
            before, many = await self._state(AUDIT), await self._state(CHECKPOINTS)
            verification = Verification(
                self.verifier,
                age=self._age,
                now=time.time(),
                full=before.full,
                many=many.full,
                head=head,
                own=own,
            )
            async for _, data in self._all(CHECKPOINTS):
                verification.take_checkpoint(data)
            async for sequence, data in self._all(AUDIT):
                verification.take_group(data, new=sequence > before.state.last_seq)
            verification.end()
            return verification

    async def _all(self, stream: str) -> AsyncIterator[tuple[int, bytes]]:
        """Yield all that a stream holds by now, by sequence."""
        state = (await self._state(stream)).state
        if not state.messages:
            return
        async for message in Follower(self._jetstream, stream):
            yield message.sequence, message.data
            if message.sequence >= state.last_seq or not message.pending:
                return


class _State(msgspec.Struct):
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0


class _Config(msgspec.Struct):
    max_bytes: int = -1


class _Stream(msgspec.Struct):
    created: str
    config: _Config
    state: _State

    @property
    def full(self) -> bool:
        """Whether it has begun to forget for want of room, or is about to."""
        return 0 < NEARLY_FULL * self.config.max_bytes < self.state.bytes
