"""The jobs of a set: made as any request's are, by a caller that no token can be.

The key of each is made of what all controllers know: two that are about to do the same make one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from towline.controller.jobs.index import Index
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submission import Submission
from towline.controller.jobs.submit import Submitter
from towline.controller.moment import LocalClock
from towline.controller.permissions import Bounds
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.rule import waves_of
from towline.controller.sets.standing import parameters_of, pulled
from towline.errors import InvalidRequest
from towline.operation import AnyOperation, catalog
from towline.operations.docker import pull
from towline.wire.event import Lead
from towline.wire.rollout import Waves
from towline.wire.target import parse_target

log = structlog.get_logger()

FILLED_WITHIN, ROLLED_OUT_WITHIN = 3600.0, 86400.0
"""Seconds within which a node must begin a job that fills in, and one that rolls out."""
PULLED_WITHIN = 60.0
"""Seconds that a node has to pull a tag of which no node can say what it names."""
REMOVE = "image.remove.execute"


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
        batch = (image.since, image.job, state.renewed)
        return await self._bring(
            *(record, image, image.next, machines),
            key=_key(record, image.next, parameters_of(image), batch),
            waves=waves_of(record),
            expires=ROLLED_OUT_WITHIN,
        )

    async def fill_in(self, record: SetRecord, image: ImageState, machines: Sequence[str]) -> str:
        """Make a job that brings the current digest to nodes that lack it; as `roll_out`."""
        return await self._bring(
            *(record, image, image.current, machines),
            key=self._behind_last(record, image.current, parameters_of(image), machines),
            expires=FILLED_WITHIN,
        )

    async def remove(
        self, record: SetRecord, image: ImageState, digest: str, machines: Sequence[str]
    ) -> str:
        """Make a job that removes an older digest from nodes; as `roll_out`."""
        remove = catalog.get(REMOVE)
        if remove is None:
            raise InvalidRequest(f"This controller does not know the operation {REMOVE}.")
        what = {"image": f"{pulled(image).repository}@{digest}"}
        key = self._behind_last(record, digest, what, machines)
        return await self._submit(record, remove, what, machines, key=key)

    async def look_up(self, record: SetRecord, image: ImageState, machine: str) -> JobState:
        """Make a job by which one node pulls a tag and says what it was, and wait for its end.

        Returns:
            how far it is when it has ended, or after `PULLED_WITHIN`.
        """
        what = {**parameters_of(image), "resolve": "each"}
        key = self._behind_last(record, "sha256:looked-up", what, [machine])
        request = self._request(record, pull, what, [machine], key=key)
        expires = msgspec.structs.replace(request, expires=PULLED_WITHIN)
        return await self._submitter.submit(expires, wait=PULLED_WITHIN)

    def _behind_last(
        self, record: SetRecord, digest: str, what: dict[str, str], machines: Sequence[str]
    ) -> str:
        """Return a key for something that is done once more, whatever was done before.

        The set's last job stands in it, and the hour for a last job that somebody has deleted.
        """
        batch = (sorted(machines), self._newest(record), self._clock.wall() // 3600)
        return _key(record, digest, what, batch)

    def _newest(self, record: SetRecord) -> str:
        """Return the id of the last job that a set has made; all controllers fold the same."""
        found = self._index.query(
            "SELECT id FROM job WHERE caller = ? ORDER BY id DESC LIMIT 1", (record.caller,)
        ).fetchone()
        return "" if found is None else str(found[0])

    async def _bring(
        self,
        record: SetRecord,
        image: ImageState,
        digest: str,
        machines: Sequence[str],
        *,
        key: str,
        expires: float,
        waves: Waves | None = None,
    ) -> str:
        lead = None
        if pulled(image).digest is None:
            # As a retry hands on what was found: all pull this digest, and give it the tag.
            lead = Lead(digest, record.caller, image.since or record.changed)
        more = {"expires": expires, "waves": waves, "lead": lead}
        return await self._submit(record, pull, parameters_of(image), machines, key=key, **more)

    async def _submit(
        self,
        record: SetRecord,
        operation: AnyOperation,
        parameters: dict[str, str],
        machines: Sequence[str],
        *,
        key: str,
        **more: Any,
    ) -> str:
        request = self._request(record, operation, parameters, machines, key=key)
        request = msgspec.structs.replace(request, **more)
        made = await self._submitter.submit(request, wait=0.0)
        log.info(
            "job of a set",
            **{"set": record.name, "job": made.job.id, "operation": operation.name},
            **{"image": parameters["image"], "nodes": len(machines)},
        )
        return made.job.id

    def _request(
        self,
        record: SetRecord,
        operation: AnyOperation,
        parameters: dict[str, str],
        machines: Sequence[str],
        *,
        key: str,
    ) -> Submission:
        return Submission(
            *(operation, dict(parameters), parse_target(record.target), record.caller),
            Bounds(record.caller, operation.permission, None),
            key=key,
            only=frozenset(machines),
        )


def _key(record: SetRecord, digest: str, what: dict[str, str], batch: object) -> str:
    """Return the key of a job: of the set's generation, the digest, and which batch of nodes.

    Args:
        what: the job's parameters: several images of a set may have one digest.
        batch: which nodes, or which of several attempts.
    """
    found = hashlib.blake2b(msgspec.json.encode((what, batch)), digest_size=6).hexdigest()
    return f"{record.id}:{record.generation}:{digest[7:19]}:{found}"
