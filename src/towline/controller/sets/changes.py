"""How what is kept of a set changes, as it is kept true. Pure: each is done again where another
controller has written before, so each says for itself whether it still holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from towline.controller.sets.record import (
    MOST_BEFORE,
    MOST_CHANGES,
    Change,
    ImageState,
    SetRecord,
    SetState,
)
from towline.controller.sets.standing import images

DECLARED, CHANGED = "declared", "changed"
RESOLVED, ROLLED_OUT, STOPPED = "resolved", "rolled_out", "stopped"

Changes: TypeAlias = Callable[[SetState], SetState]
"""Returns how a set is to be, of how it is; the same where nothing is to be changed."""


class Answer(msgspec.Struct, frozen=True):
    """What a tag names, as a node has found out.

    Attributes:
        image, platform: as in the set.
        digest: what it names; "" where that could not be found out.
        problem: why not.
    """

    image: str
    platform: str
    digest: str = ""
    problem: str = ""


def resolved(
    record: SetRecord, answers: Sequence[Answer], now: float, asked: float | None = None
) -> Changes:
    """Return the change that takes what tags name.

    What the tag has named before is no news. What was rolled back from isn't taken again, until the
    tag has named another.

    Args:
        asked: when that was asked for, unless it was just now: what is declared after that isn't
            looked up yet.
    """
    checked = now if asked is None else asked
    found = {(each.image, each.platform): each for each in answers}

    def change(state: SetState) -> SetState:
        if state.id != record.id:
            return state  # it was removed meanwhile, and made anew
        history: list[Change] = []
        states = []
        for image in images(record, state):
            answer = found.get((image.image, image.platform))
            if answer is None:
                states.append(image)
            elif not answer.digest:
                states.append(msgspec.structs.replace(image, problem=answer.problem))
            else:
                states.append(_resolved(record, image, answer.digest, now, checked, history))
        if states == state.images and not history:
            return state
        return _noted(msgspec.structs.replace(state, images=states), history)

    return change


def _resolved(
    record: SetRecord,
    image: ImageState,
    digest: str,
    now: float,
    checked: float,
    history: list[Change],
) -> ImageState:
    image = msgspec.structs.replace(image, checked=checked, problem="")
    if digest in image.rejected:
        return image
    image = msgspec.structs.replace(image, rejected=[])
    if digest == image.next:
        return image
    rolled_out = digest == image.current
    if rolled_out and not image.next:
        return image
    history.append(_change(record, now, RESOLVED, image, digest=digest))
    if image.next:
        image = msgspec.structs.replace(image, given_up=image.giving_up(image.next))
    return msgspec.structs.replace(
        image, next="" if rolled_out else digest, since=now, job="", stopped=""
    )


def started(record: SetRecord, image: ImageState, job: str) -> Changes:
    """Return the change that notes which job rolls a digest out."""

    def change(now: ImageState) -> ImageState:
        return msgspec.structs.replace(now, job=job, stopped="")

    return _while(record, image, change)


def rolled_out(record: SetRecord, image: ImageState, now: float) -> Changes:
    """Return the change after which all nodes are to have what was rolled out."""

    def change(then: ImageState) -> ImageState:
        before = [each for each in (then.current, *then.before) if each and each != then.next][
            :MOST_BEFORE
        ]
        given_up = [each for each in then.given_up if each not in (then.next, *before)]
        then = msgspec.structs.replace(then, before=before, given_up=given_up)
        return msgspec.structs.replace(
            then, current=then.next, next="", since=now, job="", stopped=""
        )

    noted = _change(record, now, ROLLED_OUT, image, digest=image.next, job=image.job)
    return _while(record, image, change, noted)


def stopped(record: SetRecord, image: ImageState, reason: str, now: float) -> Changes:
    """Return the change that stops a rollout: what it has not reached stays as it is."""

    def change(then: ImageState) -> ImageState:
        return msgspec.structs.replace(then, stopped=reason, spent=then.job)

    noted = _change(record, now, STOPPED, image, digest=image.next, job=image.job, reason=reason)
    return _while(record, image, change, noted)


def _while(
    record: SetRecord,
    image: ImageState,
    change: Callable[[ImageState], ImageState],
    noted: Change | None = None,
) -> Changes:
    """Return a change of an image that is made only while that still rolls the same out."""

    def changed(state: SetState) -> SetState:
        if state.id != record.id:
            return state
        states, history = [], []
        for each in state.images:
            if (each.image, each.platform, each.next) == (
                *(image.image, image.platform, image.next),
            ) and each.job in ("", image.job):
                then = change(each)
                if then != each and noted is not None:
                    history.append(noted)
                states.append(then)
            else:
                states.append(each)
        return _noted(msgspec.structs.replace(state, images=states), history)

    return changed


def _noted(state: SetState, history: list[Change]) -> SetState:
    if not history:
        return state
    return msgspec.structs.replace(state, history=[*state.history, *history][-MOST_CHANGES:])


def _change(record: SetRecord, now: float, what: str, image: ImageState, **more: str) -> Change:
    return Change(now, record.caller, what, generation=record.generation, image=image.image, **more)
