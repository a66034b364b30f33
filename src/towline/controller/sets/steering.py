"""Steering sets that are there: remove, pause, resume, go back to the digest before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from towline.controller.auth import Caller
from towline.controller.sets.declaration import expect
from towline.controller.sets.declarations import Declarations
from towline.controller.sets.record import Change, ImageState, SetRecord, SetState
from towline.controller.sets.sets import Sets
from towline.errors import Conflict, NotFound
from towline.wire.reference import Reference


class SetSteering:
    """Changes what is done for sets, for those who may declare them.

    Args:
        declarations: say who may.
    """

    def __init__(self, sets: Sets, declarations: Declarations) -> None:
        self._sets = sets
        self._declarations = declarations

    async def remove(
        self, caller: Caller, name: str, match: Sequence[str] | None = None
    ) -> SetRecord:
        """Remove a set; return what it was. Raises as `put`, and `NotFound`."""

        def allow(record: SetRecord) -> None:
            self._declarations.check(caller, record)
            expect(name, record, match)

        return await self._sets.remove(name, caller.subject, allow)

    async def pause(self, caller: Caller, name: str) -> SetRecord:
        """Do nothing more for a set; one that is paused stays so. Raises as `remove`."""

        def paused(record: SetRecord, state: SetState) -> SetState:
            if state.paused is not None:
                return state
            now, by = time.time(), caller.subject
            return msgspec.structs.replace(
                state,
                paused=now,
                paused_by=by,
                history=[*state.history, Change(now, by, "paused", record.generation)],
            )

        return await self._steer(caller, name, paused)

    async def resume(self, caller: Caller, name: str) -> SetRecord:
        """Do again what is to be done for a set that was paused, or has stopped.

        Raises as `remove`.
        """

        def resumed(record: SetRecord, state: SetState) -> SetState:
            if state.paused is None and not any(each.stopped for each in state.images):
                return state
            now, by = time.time(), caller.subject
            return msgspec.structs.replace(
                state.anew(now),
                paused=None,
                paused_by="",
                history=[*state.history, Change(now, by, "resumed", record.generation)],
            )

        return await self._steer(caller, name, resumed)

    async def roll_back(self, caller: Caller, name: str, image: str | None) -> SetRecord:
        """Go back to the digest before; what is gone back from is rejected.

        Args:
            image: the one image to do so with, its reference in full; None for all that can.

        Raises:
            Conflict: there is no digest before.
            NotFound: the set has no such image.
            TowlineError: as `remove`.
        """

        def rolled_back(record: SetRecord, state: SetState) -> SetState:
            if image is not None and image not in {each.image for each in record.images}:
                raise NotFound(
                    f"The set {name!r} has no image {Reference.parse(image).familiar}.",
                    f"GET /set/{name} shows its images",
                )
            now, by = time.time(), caller.subject
            found, changes = [], []
            for each in state.images:
                before = gone_back(each, now) if image in (None, each.image) else None
                found.append(before or each)
                if before is not None:
                    change = Change(now, by, "rolled_back", record.generation, each.image)
                    changes.append(msgspec.structs.replace(change, digest=before.current))
            if not changes:
                of = "its images" if image is None else Reference.parse(image).familiar
                raise Conflict(
                    f"The set {name!r} has brought no other digest of {of} before.",
                    f"There is nothing to go back to: GET /set/{name}/history shows what it was",
                )
            history = [*state.history, *changes]
            return msgspec.structs.replace(state, images=found, history=history)

        return await self._steer(caller, name, rolled_back)

    async def _steer(
        self, caller: Caller, name: str, alter: Callable[[SetRecord, SetState], SetState]
    ) -> SetRecord:
        record = await self._sets.named(name)

        def allow(newest: SetRecord) -> None:
            # What is changed is that of the newest, which this controller may not know yet.
            nonlocal record
            record = newest
            self._declarations.check(caller, newest)

        await self._sets.change(name, lambda state: alter(record, state), allow)
        return record


def gone_back(image: ImageState, now: float) -> ImageState | None:
    """Return an image that has gone back to the digest before; None where there is none."""
    gone = image.next or image.current
    to, before = image.current, image.before
    if not image.next:
        to, before = (before[0], before[1:]) if before else ("", before)
    if not to:
        return None
    rejected = [each for each in image.rejected if each not in (gone, to)]
    return msgspec.structs.replace(
        image,
        current=to,
        next="",
        since=now,
        job="",
        stopped="",
        rejected=[*rejected, gone],
        before=before,
        given_up=image.giving_up(gone),
    )
