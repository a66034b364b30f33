"""Decisions about the turns of a job's nodes: pause, resume, and that nodes will have none.

Every decision is one message on the job's own subject, stored only behind the last one that its
author knew of. So there is one order of decisions, whoever makes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.journal import EVENTS, Journal
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.state import JobState
from towline.controller.rollout.rule import Pause, limits, waits_for
from towline.errors import Conflict
from towline.units import timestamp
from towline.wire.event import NOBODY, PAUSED, RESUMED, WITHHELD, Event, PlannedNode
from towline.wire.subjects import turns_subject

log = structlog.get_logger()


def withheld(state: JobState, nodes: dict[str, tuple[str, str]]) -> Event:
    """Return the decision that nodes will have no turn.

    Args:
        nodes: by machine id, with the status that they end with, and the reason.
    """
    nodes_withheld = [
        PlannedNode(machine, state.tasks[machine].hostname, reason, status)
        for machine, (status, reason) in nodes.items()
    ]
    reasons = {reason for _, reason in nodes.values()}
    error = reasons.pop() if len(reasons) == 1 else None
    return Event(state.job.id, NOBODY, "", WITHHELD, time.time(), nodes=nodes_withheld, error=error)


class Decisions:
    """Makes decisions at whichever controller people ask."""

    def __init__(self, journal: Journal, index: Index, fleet: Fleet, indexer: Indexer) -> None:
        self._journal = journal
        self._index = index
        self._fleet = fleet
        self._indexer = indexer

    async def known(self, job_id: str) -> tuple[JobState, int] | None:
        """Return how far a job is, and the sequence of the last decision that this includes.

        Raises:
            BrokerUnreachable: it isn't known.
        """
        last = await self._journal.last_of(turns_subject(job_id))
        await self._indexer.catch_up()
        found = self._index.find(job_id, self._fleet.hostnames)
        return None if found is None else (found[0], last)

    async def _make(
        self, job_id: str, choose: Callable[[JobState], Event | None]
    ) -> JobState | None:
        """Store the decision that `choose` returns for how far the job is, None for none.

        It is asked again whenever another decision came first: perhaps its own, stored by an
        attempt whose acknowledgement was lost. Return how far the job is then, None where there is
        no such job.
        """
        while True:
            known = await self.known(job_id)
            if known is None:
                return None
            state, last = known
            event = choose(state)
            if event is None:
                return state
            try:
                sequence = await self._journal.decide(event, last)
            except WrongLastSequence:
                continue
            # So that whoever asks for the job next finds it so.
            await self._indexer.until({EVENTS: sequence})
            state.apply(event)
            return state

    async def pause(self, job_id: str, caller: str) -> JobState | None:
        """Release no more nodes of a job; those that were go on. Return how far it is then.

        Raises:
            Conflict: it is paused already, or no node of it waits.
            BrokerUnreachable: it may or may not be paused.
        """
        event = Event(job_id, NOBODY, "", PAUSED, time.time(), data={"caller": caller})

        def choose(state: JobState) -> Event | None:
            paused = _pause(state)
            if paused is None:
                return event
            if paused == Pause(caller, event.time):
                return None
            raise Conflict(
                f"Job {job_id} is paused already, since {timestamp(paused.since)}, by {paused.by}.",
                f"POST /job/{job_id}/resume lets it go on",
            )

        return await self._make(job_id, choose)

    async def resume(self, job_id: str, caller: str) -> JobState | None:
        """Release nodes of a paused job again; raises as `pause`, and where it isn't paused."""
        event = Event(job_id, NOBODY, "", RESUMED, time.time(), data={"caller": caller})
        tried = False

        def choose(state: JobState) -> Event | None:
            nonlocal tried
            if _pause(state) is None:
                if tried:
                    return None
                raise Conflict(f"Job {job_id} is not paused: it goes on.", "Nothing to resume")
            tried = True
            return event

        return await self._make(job_id, choose)

    async def cancel(self, job_id: str, reason: str) -> None:
        """Let no node that waits have a turn any more; raises as `Journal.decide`."""

        def choose(state: JobState) -> Event | None:
            waiting = state.turns.waiting if state.turns is not None else {}
            if not waiting:
                return None
            return withheld(state, dict.fromkeys(waiting, ("cancelled", reason)))

        await self._make(job_id, choose)


def _pause(state: JobState) -> Pause | None:
    """Return a job's pause, None for none; raise `Conflict` where no node waits for its turn."""
    job = state.job
    if state.turns is None:
        raise Conflict(
            f"No node of job {job.id} waits: all have their turn at once.",
            "Only a job made with max_parallel or canary can be paused",
        )
    state.expire(time.time())
    if state.done:
        raise Conflict(f"Job {job.id} has ended already: {state.status}.", "No node waits")
    if state.planned and not state.turns.waiting:
        raise Conflict(
            f"No node of job {job.id} waits any more.",
            f"POST /job/{job.id}/cancel stops those that go on",
        )
    return state.turns.paused


def explain_turns(state: JobState) -> None:
    """Write into each task that waits for its turn what it waits for, unless a reason stands."""
    turns, waves = state.turns, state.job.waves
    if turns is None or waves is None or not turns.waiting:
        return
    waits, reason = waits_for(turns, limits(waves, turns.total))
    if turns.paused is not None:
        waits = "paused"
        reason = f"paused by {turns.paused.by} since {timestamp(turns.paused.since)}"
    for machine in turns.waiting:
        task = state.tasks[machine]
        if task.reason is None:
            task.waits, task.reason = waits, reason
