"""The jobs of a set: made as any request's are, by a caller that no token can be.

The key of each is made of what all controllers know: two that are about to do the same make one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import structlog

from towline.controller.jobs.index import Index
from towline.controller.jobs.submission import Submission
from towline.controller.jobs.submit import Submitter
from towline.controller.moment import LocalClock
from towline.controller.permissions import Bounds
from towline.controller.sets.changes import renewal
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.resolution import parameters_of
from towline.controller.sets.rule import waves_of
from towline.controller.sets.standing import pulled
from towline.operations.docker import pull
from towline.wire.event import Lead
from towline.wire.rollout import Waves
from towline.wire.target import parse_target

log = structlog.get_logger()

FILLED_WITHIN, ROLLED_OUT_WITHIN = 3600.0, 86400.0
"""Seconds within which a node must begin a job that fills in, and one that rolls out."""


class Making:
    """Makes the jobs of sets."""

    def __init__(self, submitter: Submitter, index: Index, clock: LocalClock) -> None:
        self._submitter = submitter
        self._index = index
        self._clock = clock

    async def roll_out(
        self, record: SetRecord, state: SetState, image: ImageState, machines: Sequence[str]
    ) -> str:
        """Make the job that brings the next digest to nodes, by the set's options; return its id.

        It is one and the same whichever controller makes it, until people have the rollout begin
        anew.

        Raises:
            TowlineError: it was not made, or that isn't known; as `Submitter.submit`.
        """
        batch = (image.since, image.job, renewal(state))
        return await self._make(
            *(record, image, image.next, machines, batch),
            waves=waves_of(record),
            expires=ROLLED_OUT_WITHIN,
        )

    async def fill_in(self, record: SetRecord, image: ImageState, machines: Sequence[str]) -> str:
        """Make a job that brings the current digest to nodes that lack it; as `roll_out`."""
        # Behind the set's last job: the same nodes may have lacked the same before. The hour is for
        # a last job that somebody has deleted.
        batch = (sorted(machines), self._newest(record), self._clock.wall() // 3600)
        return await self._make(
            *(record, image, image.current, machines, batch), waves=None, expires=FILLED_WITHIN
        )

    def _newest(self, record: SetRecord) -> str:
        """Return the id of the last job that a set has made; all controllers fold the same."""
        found = self._index.query(
            "SELECT id FROM job WHERE caller = ? ORDER BY id DESC LIMIT 1", (record.caller,)
        ).fetchone()
        return "" if found is None else str(found[0])

    async def _make(
        self,
        record: SetRecord,
        image: ImageState,
        digest: str,
        machines: Sequence[str],
        batch: object,
        *,
        waves: Waves | None,
        expires: float,
    ) -> str:
        lead = None
        if pulled(image).digest is None:
            # As a retry hands on what was found: all pull this digest, and give it the tag.
            lead = Lead(digest, record.caller, image.since or record.changed)
        request = Submission(
            *(pull, parameters_of(image), parse_target(record.target), record.caller),
            Bounds(record.caller, pull.permission, None),
            expires=expires,
            key=f"{record.id}:{record.generation}:{digest[7:19]}:{_short(batch)}",
            only=frozenset(machines),
            waves=waves,
            lead=lead,
        )
        made = await self._submitter.submit(request, wait=0.0)
        log.info(
            "job of a set",
            **{"set": record.name, "job": made.job.id, "image": image.image},
            **{"digest": digest, "nodes": len(machines)},
        )
        return made.job.id


def _short(batch: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(batch), digest_size=6).hexdigest()
