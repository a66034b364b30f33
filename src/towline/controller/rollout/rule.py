"""The one rule that gives the tasks of a job their turns. Pure: it keeps nothing, asks nobody.

All turns come from it: those of all nodes at once, that of any node, waves with their canary, the
lead, places that are taken back, and the ends of tasks that were not begun in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from towline.controller.jobs.state import JobState
from towline.controller.rollout.turns import FAILURES, Turns
from towline.units import timestamp
from towline.wire.job import CONVERGE, Job
from towline.wire.rollout import CANARY, MAX_FAILURES, MAX_PARALLEL, Waves, read_share

LEAD_WITHIN = 10.0
"""Seconds after which a node that leads has had its turn to: it died, or what it asks is slow."""
MOST_LEADS = 3
"""Nodes that may lead and find nothing until all have their turn at once: then it isn't the node's
fault, most likely, and each node that fails has to say so."""
GONE_AFTER = 3600.0
"""Seconds after a job has expired until a task that may have begun on a node which is away, or has
it no more, counts as failed: the node may come back and say how it ended."""

SEEN_AFTER = 2.0
"""Seconds after the last moment at which a node begins a task. A heartbeat from then on which
doesn't list the task says that it wasn't begun: what was sent before may have been under way, and a
node knows the controllers' time a little late."""


class Limits(msgspec.Struct, frozen=True):
    """What a job's waves come to for so many nodes.

    Attributes:
        total: how many nodes it is for.
        parallel: how many may be under way at a time.
        canary: how many go first, alone; 0 for none.
        failures: how many may fail; None for any number.
    """

    total: int
    parallel: int
    canary: int
    failures: int | None


def limits(waves: Waves | None, total: int) -> Limits:
    """Return the limits for `total` nodes.

    Percentages are rounded down, so on the careful side; `max_parallel` and `canary` to 1 at least.
    """
    if waves is None:
        return Limits(total, total, 0, None)

    def count(name: str, text: str) -> int:
        number, percent = read_share(name, text)
        return number * total // 100 if percent else number

    parallel, canary, failures = waves.max_parallel, waves.canary, waves.max_failures
    return Limits(
        total=total,
        parallel=total if parallel is None else max(1, count(MAX_PARALLEL, parallel)),
        canary=0 if canary is None else min(total, max(1, count(CANARY, canary))),
        failures=None if failures is None else count(MAX_FAILURES, failures),
    )


class View(Protocol):
    """The fleet, as the rule sees it."""

    @property
    def shut_out(self) -> Mapping[str, str]:
        """Why nodes never come back, by machine id."""

    def here(self, machine: str) -> bool:
        """Whether a node is here."""

    def holds(self, machine: str, job_id: str) -> bool:
        """Whether a node's last heartbeat names the task of a job."""

    def received(self, machine: str) -> float:
        """Return when a node's last heartbeat came, in seconds since 1970; 0 for never."""

    def refused(self, job: Job, machine: str) -> tuple[str, str] | None:
        """Return status and reason of a node that can't have the turn it would have now."""

    def pick(self, job: Job) -> str | None:
        """Return the node that a job for any node is for, None while none can do it."""


class Decision(msgspec.Struct, frozen=True):
    """What is to be decided now; nothing where all is empty.

    Attributes:
        release: machine ids of nodes whose turn it is.
        everyone: all that wait have their turn.
        canary, leads: whether these go first, alone: as a trial, or to find what all are given.
        take_back: machine ids of nodes that lose their turn.
        withhold: by machine id, with status and reason: those that end without having begun.
    """

    release: list[str] = []
    everyone: bool = False
    canary: bool = False
    leads: bool = False
    take_back: list[str] = []
    withhold: dict[str, tuple[str, str]] = {}

    def __bool__(self) -> bool:
        return bool(self.release or self.everyone or self.take_back or self.withhold)


NOTHING = Decision()


def decide(state: JobState, view: View, now: float) -> Decision:
    """Return what is to be decided about a job now.

    A node that is away neither gets a turn nor delays those behind it. One that went away with a
    turn and without the leave that it needs gives its place to another.

    Args:
        now: seconds since 1970, by the controllers' clock.
    """
    if state.foreign or state.done:
        return NOTHING
    if over := _over(state, view, now):
        return Decision(withhold=over)
    if state.cancelled is not None or now > state.job.expires:
        return NOTHING
    if state.job.needs_leave:
        away = [
            machine
            for machine, turn in state.turns.under_way.items()
            if not turn.leave and not view.here(machine)
        ]
        if away:
            return Decision(take_back=away)
    if state.job.for_any:
        picked = None if state.tasks else view.pick(state.job)
        return NOTHING if picked is None else Decision([picked])
    return _release(state, view, now)


def _over(state: JobState, view: View, now: float) -> dict[str, tuple[str, str]]:
    """Return which tasks end by decision, each with status and reason."""
    job, turns = state.job, state.turns
    expired = now > job.expires
    found: dict[str, tuple[str, str]] = {}
    if gone := _gone(state, view.shut_out):
        return gone
    if expired:
        found = dict.fromkeys(turns.waiting, ("expired", f"not begun before {state.expiry}"))
        if not state.tasks and job.for_any:
            found["_"] = "expired", f"not begun before {state.expiry}"
    for machine, turn in turns.under_way.items() if expired or turns.timed else ():
        over, expiry = job.expires, state.expiry
        if not expired:
            if turn.until is None or now <= turn.until:
                continue
            over, expiry = turn.until, f"its turn was over at {timestamp(turn.until)}"
        here = view.here(machine)
        if turn.leave or turn.begun:
            known = here and view.holds(machine, job.id)
            if not known and now > job.expires + GONE_AFTER:
                who = "the node knows it no more" if here else "the node is gone"
                found[machine] = "failed", f"{who}: it is not known whether it ran"
        elif job.needs_leave:
            found[machine] = "expired", f"not begun before {expiry}"
        elif not here:
            # It may have been sent, and nobody can say what became of it.
            why = f"not known to have begun before {expiry}: the node is away"
            found[machine] = "expired", why
        elif view.received(machine) > over + SEEN_AFTER and not view.holds(machine, job.id):
            found[machine] = "expired", f"not begun before {expiry}"
    if not found and turns.waiting and (reason := stopped(turns, limits(job.waves, turns.total))):
        return dict.fromkeys(turns.waiting, ("cancelled", reason))
    return found


def _gone(state: JobState, shut_out: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the ends of tasks on nodes that never come back."""
    found = {}
    for machine in shut_out.keys() & state.unfinished:
        turn = state.turns.under_way.get(machine)
        begun = turn is not None and (turn.leave or turn.begun)
        reason = shut_out[machine] + (": it is not known whether it ran" if begun else "")
        found[machine] = "cancelled", reason
    return found


def _release(state: JobState, view: View, now: float) -> Decision:
    turns, job = state.turns, state.job
    if not turns.waiting or turns.paused is not None:
        return NOTHING
    leads = False
    if job.leads and state.lead is None:
        if any(
            machine in turns.under_way and view.here(machine) and now - since < LEAD_WITHIN
            for machine, since in turns.leading.items()
        ):
            return NOTHING
        leads = len(turns.leading) < MOST_LEADS
    if job.waves is None and not leads:
        return Decision(everyone=True)
    given = limits(job.waves, turns.total)
    tried = turns.tried
    canary = tried < given.canary
    places = given.total
    if canary or given.parallel < given.total:
        places = given.parallel - len(turns.under_way)
        if canary:
            going = sum(machine in turns.canaries for machine in turns.under_way)
            places = min(places, given.canary - tried - going)
    if leads:
        places = min(places, 1)
    release: list[str] = []
    withhold: dict[str, tuple[str, str]] = {}
    for machine in turns.waiting:
        if len(release) >= places:
            break
        why = view.refused(job, machine)
        if why is not None:
            withhold[machine] = why
        elif view.here(machine):
            release.append(machine)
    if withhold:
        return Decision(withhold=withhold)
    marked = bool(release)
    return Decision(release, canary=canary and marked, leads=leads and marked)


def stopped(turns: Turns, given: Limits) -> str | None:
    """Return why too much has failed for any more node to be released, or None."""
    if given.failures is None:
        failed = sum(status in FAILURES for status in turns.canaries.values())
        if not failed:
            return None
        return f"cancelled: {failed} of {given.canary} canary nodes failed"
    if turns.failed <= given.failures:
        return None
    return (
        f"cancelled: {turns.failed} of {given.total} nodes failed, "
        f"more than max_failures={given.failures}"
    )


def waits_for(state: JobState) -> tuple[str | None, str]:
    """Return what the nodes that wait for a turn wait for: an option's name, and a sentence."""
    turns, job = state.turns, state.job
    if turns.paused is not None:
        return "paused", f"paused by {turns.paused.by} since {timestamp(turns.paused.since)}"
    if job.leads and state.lead is None and len(turns.leading) < MOST_LEADS:
        return None, "waits for the node that goes first"
    given = limits(job.waves, turns.total)
    if turns.tried < given.canary:
        return CANARY, "waits for the canary"
    return MAX_PARALLEL, f"waits: {given.parallel} at a time"


def due(state: JobState, view: View, machine: str, now: float, *, new: bool = False) -> bool:
    """Return whether a node is to be sent its task: its turn has come, it is here, and has it not.

    For a job that is cancelled: whether it is to be sent the cancellation.

    Args:
        new: whether it is not known to have been sent that before; then what its heartbeat says
            doesn't matter, which may hold more tasks than it can name.
    """
    turn = state.turns.under_way.get(machine)
    if turn is None or not view.here(machine):
        return False
    if state.cancelled is not None:
        return True
    if now > (state.job.expires if turn.until is None else turn.until) and not turn.leave:
        return False
    return new or not view.holds(machine, state.job.id)


def kept(job: Job) -> bool:
    """Return whether a job is kept for nodes that are away."""
    return job.effect == CONVERGE
