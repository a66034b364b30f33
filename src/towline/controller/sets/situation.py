"""What the rule sees of a set at one moment, put together from what a controller knows."""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec

from towline.controller.fleet import Fleet
from towline.controller.jobs.lookup import Lookup
from towline.controller.jobs.open import OpenJobs
from towline.controller.moment import LocalClock
from towline.controller.sets import rule
from towline.controller.sets.attempts import Attempts
from towline.controller.sets.picture import Picture
from towline.controller.sets.pruning import surplus
from towline.controller.sets.record import SetRecord, SetState
from towline.controller.sets.sets import Sets
from towline.controller.sets.standing import images
from towline.controller.sets.view import View
from towline.wire.window import Window

PATIENCE = 30.0
"""Seconds for which a rollout waits for nodes that have not said yet what they have: longer than a
controller that was just started asks a large fleet."""
PRUNE_AFTER, PRUNE_EVERY = 15.0, 600.0
"""Seconds after a set wants something else, and then between looks, for older digests that nothing
uses any more: each is at all nodes."""


class Situations:
    """Puts together what the rule sees.

    Args:
        at: takes a moment at which it will be another by time alone, in seconds since the machine
            was started.
        clock: this machine's clocks.
        patience, prune_every: seconds; see the constants.
    """

    def __init__(
        self,
        sets: Sets,
        fleet: Fleet,
        jobs: OpenJobs,
        lookup: Lookup,
        attempts: Attempts,
        clock: LocalClock,
        at: Callable[[float], None],
        *,
        patience: float = PATIENCE,
        prune_every: float = PRUNE_EVERY,
    ) -> None:
        self._sets = sets
        self._fleet = fleet
        self._open = jobs
        self._lookup = lookup
        self._attempts = attempts
        self._clock = clock
        self._at = at
        self._patience = patience
        self._prune_every = prune_every

    async def of(
        self,
        record: SetRecord,
        state: SetState,
        view: View,
        picture: Picture,
        *,
        window: bool,
        since: float,
    ) -> rule.Situation:
        """Return what the rule sees of a set.

        Args:
            window: whether its window is open; see `window`.
            since: when this controller began to keep sets true, in seconds since the machine was
                started.

        Raises:
            TowlineError: it isn't known how far a job is.
        """
        rollouts = {}
        wall = self._clock.wall()
        for image in images(record, state):
            if image.next and image.since is not None:
                left = image.since + rule.FILLED_FIRST - wall
                if 0 < left <= rule.FILLED_FIRST:
                    self._at(self._clock.running() + left)
            if image.next and image.job:
                rollouts[image.job] = await self._rollout(image.job)
        waits = since + self._patience
        if waits > self._clock.running():
            self._at(waits)
        return rule.Situation(
            facts=await self._facts(record, state, view, picture, window=window),
            jobs=[each for each in view.of_sets if each.job.caller == record.caller],
            rollouts=rollouts,
            window=window,
            patient=self._clock.running() >= waits,
            now=wall,
        )

    async def _facts(
        self, record: SetRecord, state: SetState, view: View, picture: Picture, *, window: bool
    ) -> dict[tuple[str, str], rule.Facts]:
        """Return what the rule sees of the nodes, and now and then which have what is to go."""
        found = picture.facts(view)
        running = self._clock.running()
        if picture.is_new:
            # What was brought has to be in the inventories by then.
            picture.is_new, picture.pruned_until = False, running + PRUNE_AFTER
        if record.keep is None or not window or state.paused is not None:
            return found
        if picture.pruned_until > running:
            self._at(picture.pruned_until)
            return found
        wanted = frozenset(self._sets.wanted())
        old = {
            (image.image, image.platform): (image, surplus(record, image, wanted))
            for image in images(record, state)
        }
        if not any(digests for _, digests in old.values()):
            return found
        picture.pruned_until = running + self._prune_every
        for key, (image, digests) in old.items():
            unused = {each: await picture.unused(view, image, each) for each in digests}
            found[key] = msgspec.structs.replace(found[key], unused=unused)
        return found

    def window(self, record: SetRecord) -> bool:
        """Return whether a set's window is open; look again when it opens."""
        if not record.window:
            return True
        window, now = _window(record.window), self._clock.wall()
        if window.is_open(now):
            return True
        if (opens := window.opens(now)) is not None:
            self._at(self._clock.running() + max(0.0, opens - now))
        return False

    async def _rollout(self, job_id: str) -> rule.Rollout:
        state = self._open.get(job_id) or self._attempts.over.get(job_id)
        if state is None:
            found = await self._lookup.find(job_id)
            if found is None:
                # Deleted, or older than what the journal keeps: what it had proven is not known.
                return rule.Rollout(again=True)
            state = found[0]
        here = {each for each in state.unfinished if self._fleet.is_here(each)}
        now = self._clock.wall()
        far = rule.rollout(state, here, now)
        if far.until is not None and not (far.over or far.lost):
            self._at(self._clock.running() + far.until - now)
        return far


_window = functools.lru_cache(256)(Window.parse)
