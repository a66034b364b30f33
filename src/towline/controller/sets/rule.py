"""The one rule that keeps sets true. Pure: it keeps nothing, asks nobody.

It sees what a set wants and what has come of it, where the nodes stand, which jobs go on and
whether the window is open, and says what is to be done now. What it says is the same however often
it is asked, until something of that has changed: so it makes no difference which controller asks,
or that one died half-way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from typing import TypeAlias

import msgspec

from towline.controller.jobs.state import JobState
from towline.controller.rollout.rule import limits, stopped
from towline.controller.sets.attempts import Brings, brings
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.standing import images, pulled
from towline.wire.job import Job
from towline.wire.rollout import Waves
from towline.wire.target import is_several, parse_target

FILLED_FIRST = 300.0
"""Seconds for which a rollout waits at most for nodes that are just being given what all others
have."""

LAST_WAITED_FOR = 600.0
"""Seconds for which a rollout waits, since the last node has ended or had its turn, for those that
have had theirs and don't end: what a set wants elsewhere doesn't hang on a node that hangs, nor on
one that went away in its turn."""


class Facts(msgspec.Struct, frozen=True):
    """What is known of the nodes that concerns one image of a set.

    Attributes:
        ready: the machine ids of the nodes to which `current` can be brought at once.
        open: those of the nodes to which `next` can be.
        tried: those of the latter where that was just tried, and came to nothing.
        filling: whether `current` is being brought to a node.
        holding: whether a node that is here has `next`.
        unknown: whether of a node that is here, and could be brought something, it is not known
            what it has.
        unused: by digest, the nodes that are here and have what the set brought once and no
            container of theirs uses; of digests that are to be removed alone.
    """

    ready: Sequence[str] = ()
    open: Sequence[str] = ()
    tried: Collection[str] = ()
    filling: bool = False
    holding: bool = False
    unknown: bool = False
    unused: Mapping[str, Sequence[str]] = {}


class Rollout(msgspec.Struct, frozen=True):
    """How far a job is that rolls a digest out.

    Attributes:
        over: whether all has been done that can be now: each of its nodes that is here has ended.
        stopped: why it goes no further; "" where it does.
        lost: whether nobody goes on with it: all that have their turn went away in it, and those
            that are here wait for theirs.
        until: when it is over though nodes that are here have not ended, or lost, in seconds since
            1970; None for never.
        again: whether another is to do it: it has ended and nothing was tried, or some never had
            their turn before it expired, or the set itself has stopped it, which wants it otherwise
            by now.
    """

    over: bool = False
    stopped: str = ""
    lost: bool = False
    again: bool = False
    until: float | None = None


class Situation(msgspec.Struct, frozen=True):
    """What else there is to see.

    Attributes:
        facts: by image and platform.
        jobs: the open jobs of the set, or of all that bear its name.
        rollouts: by id, how far the jobs are that its images name.
        window: whether the set's window is open.
        patient: whether it has been waited for long enough for nodes that say nothing.
        now: seconds since 1970.
    """

    facts: Mapping[tuple[str, str], Facts] = {}
    jobs: Sequence[JobState] = ()
    rollouts: Mapping[str, Rollout] = {}
    window: bool = True
    patient: bool = True
    now: float = 0.0


class RollOut(msgspec.Struct, frozen=True):
    """Bring the next digest of an image to nodes, by the set's options."""

    image: ImageState
    machines: Sequence[str]


class FillIn(msgspec.Struct, frozen=True):
    """Bring the current digest of an image to nodes that lack it, at once."""

    image: ImageState
    machines: Sequence[str]


class Adopt(msgspec.Struct, frozen=True):
    """Note that an open job rolls the next digest out."""

    image: ImageState
    job: str


class Promote(msgspec.Struct, frozen=True):
    """From now on all nodes are to have what was rolled out."""

    image: ImageState


class Stop(msgspec.Struct, frozen=True):
    """Roll the next digest out no further."""

    image: ImageState
    reason: str


class Cancel(msgspec.Struct, frozen=True):
    """Stop a job of which nobody wants any more what it brings."""

    job: str


class Hold(msgspec.Struct, frozen=True):
    """Let no more nodes of a job have their turn, since the set is paused."""

    job: JobState


class LetGo(msgspec.Struct, frozen=True):
    """Let the nodes of a job have their turn that was held for the set."""

    job: JobState


class Remove(msgspec.Struct, frozen=True):
    """Remove an older digest from nodes on which nothing uses it."""

    image: ImageState
    digest: str
    machines: Sequence[str]


Action: TypeAlias = RollOut | FillIn | Adopt | Promote | Stop | Cancel | Hold | LetGo | Remove


def decide(record: SetRecord, state: SetState, seen: Situation) -> list[Action]:
    """Return what is to be done for a set now."""
    actions: list[Action] = []
    ending: set[str] = set()
    for each in seen.jobs:
        pause, what = each.turns.paused, brings(each.job)
        if each.cancelled is not None or what is None:
            continue
        if not _is_wanted(record, state, each.job, what):
            actions.append(Cancel(each.job.id))
            ending.add(what.image)
        elif not each.turns.waiting:
            continue
        elif state.paused is not None and pause is None:
            actions.append(Hold(each))
        elif state.paused is None and pause is not None and pause.by == record.caller:
            actions.append(LetGo(each))
    if state.paused is not None:
        return actions
    for image in images(record, state):
        # What a job is about to bring that is to stop would come behind what follows.
        if str(pulled(image)) not in ending:
            actions += _for_image(record, state, image, seen)
    return actions


def _for_image(
    record: SetRecord, state: SetState, image: ImageState, seen: Situation
) -> list[Action]:
    facts = seen.facts.get((image.image, image.platform), Facts())
    actions: list[Action] = []
    if image.next:
        actions += _rollout(record, image, facts, seen)
    # A node that lacks both digests is given the current one first, which nothing holds back.
    if image.current and facts.ready:
        actions.append(FillIn(image, facts.ready))
    if not image.next and seen.window:
        actions += [
            Remove(image, digest, machines) for digest, machines in facts.unused.items() if machines
        ]
    return actions


def _rollout(record: SetRecord, image: ImageState, facts: Facts, seen: Situation) -> list[Action]:
    """Return the next step of a rollout: at most one."""
    if image.stopped:
        return []
    if image.job and image.job != image.spent:
        rollout = seen.rollouts.get(image.job)
        if rollout is None:
            return []  # it is not known yet how far that is
        if rollout.stopped:
            return [Stop(image, rollout.stopped)]
        if rollout.lost:
            # Another begins anew with a node that is here: this one's may never come back.
            return [Cancel(image.job)]
        if not rollout.again:
            return [Promote(image)] if rollout.over else []
    what = Brings(record.caller, str(pulled(image)), image.platform, image.next)
    for each in seen.jobs:
        # It was made by whoever died before that was noted.
        job = each.job.id
        if each.cancelled is None and brings(each.job) == what and job != image.spent:
            return [Adopt(image, job)]
    if image.current and not seen.window:
        return []
    if facts.unknown and not seen.patient:
        # Of a fleet that is only about to say what it has the rest would go past all waves.
        return []
    since = image.since or 0.0
    if (facts.ready or facts.filling) and since <= seen.now < since + FILLED_FIRST:
        # They would be given the next digest afterwards, past all waves.
        return []
    first = frozenset(facts.ready)
    lacking = [each for each in facts.open if each not in first]
    if lacking:
        # Nodes that end a job at once without having tried it would have one after another. Those
        # whose pause goes on have their turns with the first whose is over, in its waves.
        return [RollOut(image, lacking)] if set(lacking) - set(facts.tried) else []
    return [Promote(image)] if facts.holding and not facts.open else []


def _is_wanted(record: SetRecord, state: SetState, job: Job, what: Brings) -> bool:
    """Return whether a set still wants what a job brings, where and how it brings it.

    One that was made for another target, or rolls out by other options, would go on as nobody
    wants it any more.
    """
    if job.target != str(parse_target(record.target)):
        return False
    for image in images(record, state):
        if (what.image, what.platform) != (str(pulled(image)), image.platform):
            continue
        if what.digest == image.next:
            return job.waves == waves_of(record)
        return what.digest == image.current
    return False


def waves_of(record: SetRecord) -> Waves | None:
    """Return how the nodes of a rollout get their turns: one node alone has no waves."""
    return record.options if is_several(parse_target(record.target)) else None


def rollout(state: JobState, here: Set[str], now: float) -> Rollout:
    """Return how far a job is that rolls a digest out.

    Nodes that are away hold nobody up: what the others have proven counts, and they run the job
    when they return, or are filled in.

    Args:
        state: the job's, of its open tasks or of all.
        here: the machine ids of those of its nodes that are here and have not ended.
        now: seconds since 1970.
    """
    if state.cancelled == f"cancelled by {state.job.caller}":
        return Rollout(again=True)
    counts = state.counts
    well = counts.get("ok", 0)
    reason = state.cancelled or stopped(state.turns, limits(state.job.waves, state.turns.total))
    if reason:
        return Rollout(stopped=reason.removeprefix("cancelled: "))
    if state.done:
        # Where it expired while nodes waited (it was paused, or there were many), these get their
        # turns by another: to promote would give the digest to all of them at once.
        tried = well or counts.get("failed", 0)
        return Rollout(over=True, again=not tried or state.turns.missed > 0)
    turns = state.turns
    waiting = any(machine in turns.waiting for machine in here)
    held = turns.paused is not None  # the last word is with whoever holds it
    if waiting and turns.under_way and not held and not turns.under_way.keys() & here:
        last = max(turn.since for turn in turns.under_way.values())
        until = max(state.ended, last) + LAST_WAITED_FOR
        return Rollout(lost=now >= until, until=until)
    if not well or waiting:
        return Rollout()
    until = state.ended + LAST_WAITED_FOR
    return Rollout(over=not here or now >= until, until=until)
