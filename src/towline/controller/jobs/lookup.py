"""Finding jobs: what is known of one by its id, and what stands in the way of its nodes."""

from __future__ import annotations

import msgspec

from towline.controller.auth import JOB_READ, Caller
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.state import JobState
from towline.controller.jobs.waiting import Waiting
from towline.controller.permissions import Bounds, Place
from towline.controller.rollout.rule import waits_for
from towline.errors import Forbidden, InvalidRequest, NotFound
from towline.operation import catalog
from towline.units import timestamp
from towline.wire.event import NOBODY, Event
from towline.wire.target import Label

SHORT = 12
"""Characters of a short id: those of a job's id behind its last dash."""
MOST_NAMED = 5
"""Jobs that are named where a short id is that of several. No more are looked at, since callers may
choose the ids of their jobs."""


class _Gone(msgspec.Struct, frozen=True):
    """A node that is registered no more: what it carried is not known."""

    machine: str
    hostname: str
    labels: list[Label] = []


class Lookup:
    """Finds jobs in the index, and says of each node that has not ended why."""

    def __init__(self, index: Index, indexer: Indexer, fleet: Fleet, waiting: Waiting) -> None:
        self._index = index
        self._indexer = indexer
        self._fleet = fleet
        self._waiting = waiting

    def state(self, job_id: str) -> JobState | None:
        """Return a job as far as it is folded by now, or None where the index has no such job."""
        found = self._index.find(job_id)
        return None if found is None else found[0]

    async def find(self, job_id: str, *, wait: float = 0.0) -> tuple[JobState, list[Event]] | None:
        """Return a job's state and its events, or None where there is no such job.

        A job that the index does not know may have been made at another controller a moment ago:
        then the answer waits until the index has folded what is in the journal by now.

        Args:
            wait: seconds to wait for the job to end.

        Raises:
            BrokerUnreachable: the index does not know the job, and the journal can't be asked.
        """
        found = self._index.find(job_id)
        if found is None:
            await self._indexer.catch_up()
            found = self._index.find(job_id)
        if found is None:
            return None
        state, events = found
        if wait > 0 and not state.done:
            await self._waiting.wait(state, wait)
            state, events = self._index.find(job_id) or found
        self.explain(state)
        return state, events

    async def get(self, job_id: str, *, wait: float = 0.0) -> tuple[JobState, list[Event]]:
        """Return what `find` returns; raise `NotFound` where there is no such job."""
        found = await self.find(job_id, wait=wait)
        if found is None:
            raise NotFound(f"There is no job {job_id}.", "It may be older than the journal keeps")
        return found

    async def named(
        self, name: str, caller: Caller, *, wait: float = 0.0
    ) -> tuple[JobState, list[Event]]:
        """Return what `get` returns of the job that somebody names, by its id or its short id.

        Jobs of which the caller is shown nothing don't stand in the way of those of which he is.

        Args:
            name: the id, or what is behind its last dash, in letters of either case.

        Raises:
            NotFound: there is no such job.
            InvalidRequest: several jobs have this short id.
        """
        name = name.lower()
        if len(name) != SHORT:
            return await self.get(name, wait=wait)
        found = self._index.ending(name, MOST_NAMED + 1)
        if not found:
            await self._indexer.catch_up()
            found = self._index.ending(name, MOST_NAMED + 1)
        if len(found) > MOST_NAMED:
            raise InvalidRequest(
                f"{name} is the short id of more than {MOST_NAMED} jobs: name one by its whole id.",
                "GET /job shows whole ids",
            )
        if len(found) > 1:
            # Where none is shown the answer is that of one which is not.
            found = [each for each in found if self._shown(each, caller)] or found[:1]
        if len(found) > 1:
            raise InvalidRequest(
                f"{name} is the short id of {len(found)} jobs: name one by its whole id.",
                f"They are: {', '.join(found)}",
            )
        return await self.get(found[0] if found else name, wait=wait)

    def _shown(self, job_id: str, caller: Caller) -> bool:
        """Whether a caller has made a job, or may see it."""
        job = self._index.job(job_id)
        if job is None or job.caller == caller.subject:
            return job is not None
        try:
            bounds = caller.bounds(JOB_READ)
            if bounds.everywhere:
                return True
            state = self.state(job_id)
            if state is not None:
                self.check(state, bounds)
        except Forbidden:
            return False
        return state is not None

    def check(self, state: JobState, bounds: Bounds) -> None:
        """Refuse a job that is not wholly inside of what a caller may see, or do.

        Raises:
            Forbidden: with what is outside.
        """
        if bounds.everywhere:
            return
        job, operation = state.job, catalog.get(state.job.operation)
        places: list[Place] = [
            self._fleet.get(task.machine) or _Gone(task.machine, task.hostname)
            for task in state.tasks.values()
            if task.machine != NOBODY
        ]
        bounds.check(places, operation, job.parameters)
        # One for any node may have none yet.
        allowed = bounds.patterns(operation, job.parameters)
        if not places and allowed and not (job.within and set(job.within) <= set(allowed)):
            raise bounds.refusal(f"job {job.id} is for any node")

    def explain(self, state: JobState) -> None:
        """Write the reason into each task that has not ended, where it is known."""
        if not state.unfinished:
            return
        until = f"runs when it returns, until {timestamp(state.job.expires)}"
        if state.cancelled:
            until = "is cancelled when it returns"
        # The same for all: a canary may be hundreds of nodes, each of which is looked at for it.
        turn = waits_for(state) if state.turns.waiting else None
        for machine in state.unfinished:
            task, member = state.tasks[machine], self._fleet.get(machine)
            if member is not None and not member.here:
                task.reason = f"{member.absence}, {until}"
            elif turn is not None and machine in state.turns.waiting:
                task.waits, task.reason = turn
            elif state.cancelled:
                task.reason = "is being cancelled"
