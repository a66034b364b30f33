"""What failed where, and when it is tried again: folded from the journal, at every controller.

Whoever takes over knows of the pauses. A controller that was restarted has forgotten them: what
failed is tried once more, in one job, and the pauses begin anew.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from towline.controller.jobs.state import JobState
from towline.controller.moment import LocalClock
from towline.controller.sets.record import CALLER
from towline.controller.sets.standing import Attempt
from towline.operations.docker import pull
from towline.wire.event import COMPLETED, FAILED, NOBODY, SKIPPED, WITHHELD, Event
from towline.wire.job import Job
from towline.wire.reference import Reference

SHORTEST, LONGEST = 10.0, 3600.0
"""Seconds before what failed on a node is tried there again: at first, doubled each time, at most.
"""
SETTLES = 10.0
"""Seconds that what a job has brought may be missing in what a node says after that has ended: the
first that it says may be of a moment before."""
SETTLES_UNHEARD = 15.0
"""Seconds that it may be missing while the node says nothing: an agent looks 2 s after the pull at
most, and rests a second at most, so that an engine may take 6 s for its lists. A node says nothing,
too, where somebody has removed the image before the agent looked: that is not to wait longer."""
STEPS = 20
"""At how many moments a pause may end: nodes of which it ends at the same share a job."""
NOT_LISTED = "the pull ended well, and the engine does not list the image under that digest"
MOST_ENDED = 1000
"""Jobs of sets that have ended and are remembered with how."""


class Brings(msgspec.Struct, frozen=True):
    """What a job of a set brings to its nodes.

    Attributes:
        caller: that of the set.
        image: the reference that is pulled, in full.
        platform: what it is for; "" for each engine's own platform.
        digest: which.
    """

    caller: str
    image: str
    platform: str
    digest: str


def brings(job: Job) -> Brings | None:
    """Return what a job brings, None where it is none of a set's that brings images."""
    if not job.caller.startswith(CALLER) or job.operation != pull.name:
        return None
    image = str(job.parameters["image"])
    digest = job.lead.value if job.lead is not None else Reference.parse(image).digest
    if digest is None:
        return None  # it finds out what the tag names
    return Brings(job.caller, image, job.parameters.get("platform") or "", digest)


class _Ended(msgspec.Struct):
    """See `Attempt`; its moments are seconds since the machine was started: no clock moves them.

    Attributes:
        pause: seconds after `settles`, or after it failed, before it is tried again.
        unheard: whether the node has said nothing since of what it has, though it may.
    """

    error: str
    job: str
    ended: float
    settles: float
    pause: float
    times: int
    unheard: bool

    @property
    def until(self) -> float:
        """Before when it isn't tried again."""
        # What failed on many nodes is tried again in few jobs.
        step = max(self.pause, SHORTEST) / STEPS
        return math.ceil((max(self.settles, self.ended) + self.pause) / step) * step


class Attempts:
    """How the jobs of sets have ended on nodes that don't have the images yet.

    Args:
        clock: this machine's clocks.
    """

    def __init__(self, clock: LocalClock) -> None:
        self._clock = clock
        self._jobs: dict[str, Brings] = {}
        self._ended: dict[Brings, dict[str, _Ended]] = {}
        self.over: OrderedDict[str, JobState] = OrderedDict()
        """The jobs of sets that have ended while this controller followed them, by id."""

    def turned(self, state: JobState, machines: frozenset[str] | None = None) -> None:
        """Take how far a job is: before the event that made it so, see `OpenJobs.subscribe`."""
        job = state.job
        if not job.caller.startswith(CALLER):
            return
        if (found := brings(job)) is not None:
            self._jobs.setdefault(job.id, found)
        if state.done:
            self.over[job.id] = state
            if len(self.over) > MOST_ENDED:
                gone, _ = self.over.popitem(last=False)
                self._jobs.pop(gone, None)

    def knows(self, job_id: str) -> bool:
        """Return whether a job is one of a set's that brings something."""
        return job_id in self._jobs

    def folded(self, event: Event) -> set[str]:
        """Take an event of the journal; return the machine ids of nodes that have failed by it."""
        what = self._jobs.get(event.job)
        if what is None:
            return set()
        if event.machine != NOBODY:
            if event.kind == COMPLETED:
                self._note(what, event.machine, event.job, NOT_LISTED, well=True)
            elif event.kind in (FAILED, SKIPPED):
                self._note(what, event.machine, event.job, event.error or event.kind, well=False)
            else:
                return set()
            return {event.machine}
        failed = set()
        for node in (event.nodes or ()) if event.kind == WITHHELD else ():
            # Those that were cancelled, or had gone before they began, have not failed.
            if node.status == "failed":
                self._note(what, node.machine, event.job, node.reason or "failed", well=False)
                failed.add(node.machine)
        return failed

    def heard(self, machine: str) -> None:
        """Take it that a node has just said what it has: what doesn't show soon is not there."""
        settled = self._clock.running() + SETTLES
        for nodes in self._ended.values():
            ended = nodes.get(machine)
            if ended is not None and ended.unheard:
                ended.unheard = False
                ended.settles = min(ended.settles, settled)

    def _note(self, what: Brings, machine: str, job: str, error: str, *, well: bool) -> None:
        nodes = self._ended.setdefault(what, {})
        before = nodes.get(machine)
        # Between two that ended well the image may have been there.
        follows = before is not None and (before.error == error or not well)
        times = before.times + 1 if before is not None and follows else 1
        pause = min(LONGEST, SHORTEST * 2.0 ** min(times - 1, 20)) * random.uniform(0.75, 1.25)
        if well and times == 1:
            pause = 0.0  # it may have been there, and be gone again: that was pause enough
        now = self._clock.running()
        settles = now + SETTLES_UNHEARD if well else 0.0
        nodes[machine] = _Ended(error, job, now, settles, pause, times, unheard=well)

    def of(self, what: Brings, machine: str) -> Attempt | None:
        """Return how the last attempt on a node has ended; None where none has come to nothing."""
        ended = self._ended.get(what, {}).get(machine)
        if ended is None:
            return None
        ahead = self._clock.wall() - self._clock.running()
        settles = ended.settles + ahead if ended.settles else 0.0
        return Attempt(ended.error, ended.job, settles, ended.until + ahead, ended.times)

    def succeeded(self, what: Brings, machine: str) -> None:
        """Take it that a node has what was to be brought there: the next failure is the first."""
        nodes = self._ended.get(what)
        if nodes is not None:
            nodes.pop(machine, None)
            if not nodes:
                del self._ended[what]

    def shown(self, machine: str, has: Callable[[Brings], bool | None]) -> None:
        """Forget of a node what it has by now; `has` says what it has."""
        for what in [each for each, nodes in self._ended.items() if machine in nodes]:
            if has(what):
                self.succeeded(what, machine)

    def anew(self, caller: str) -> None:
        """Let all of a set be tried at once, but for what may be there already."""
        now = self._clock.running()
        for what in [each for each in self._ended if each.caller == caller]:
            nodes = self._ended[what]
            self._ended[what] = {key: each for key, each in nodes.items() if each.settles > now}

    def forget(self, wanted: Callable[[Brings], bool]) -> None:
        """Forget what no set wants any more; `wanted` says whether one does."""
        for what in [each for each in self._ended if not wanted(each)]:
            del self._ended[what]
