"""Decisions about a job: its turns, leave, what its lead found, that it is paused or cancelled.

Every decision is one message on the job's own subject, stored only behind the last one that its
author knew of. So there is one order of decisions, whoever makes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from towline import __version__
from towline.broker.answers import WrongLastSequence
from towline.broker.journal import CHANGES, Journal, sequence
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.state import JobState
from towline.controller.moment import LocalClock
from towline.controller.rollout.turns import Pause
from towline.errors import BrokerError, BrokerUnreachable, Conflict
from towline.units import timestamp
from towline.wire.event import (
    CANCELLING,
    LEAVE,
    LED,
    NOBODY,
    PAUSED,
    RESUMED,
    Event,
    Lead,
    NamedNode,
)

log = structlog.get_logger()


def decision(job_id: str, kind: str, moment: float, **fields: object) -> Event:
    """Return a decision about a job; `moment` is now, in seconds since 1970."""
    return Event(job_id, NOBODY, "", kind, moment, **fields)  # type: ignore[arg-type]


class Decisions:
    """Makes decisions, at whichever controller they are asked for.

    Args:
        clock: this machine's clocks.
    """

    def __init__(
        self,
        journal: Journal,
        jobs: OpenJobs,
        indexer: Indexer,
        *,
        clock: LocalClock | None = None,
    ) -> None:
        self._journal = journal
        self._open = jobs
        self._indexer = indexer
        self._clock = clock or LocalClock()
        self._leave: dict[str, dict[str, asyncio.Future[bool]]] = {}
        """By job, the machines for which leave was asked while another was being stored."""

    async def make(
        self, job_id: str, choose: Callable[[JobState], Event | None]
    ) -> JobState | None:
        """Store the decision that `choose` returns for how far an open job is, None for none.

        It is asked again whenever another decision came first: perhaps its own, stored by an
        attempt whose acknowledgement was lost. Return how far the job is when the decision is
        folded, None where the job isn't open any more.

        Raises:
            BrokerRefused: it was not stored; `WrongLastSequence` where the journal's last decision
                about the job is another one than all that it holds come to.
            BrokerUnreachable: it may or may not have been stored; or only a newer controller can
                decide about the job.
        """
        while True:
            state = self._open.get(job_id)
            if state is None:
                return None
            event = choose(state)
            if event is None:
                return state
            if state.foreign:
                raise BrokerUnreachable(
                    f"About job {job_id} something is decided that this controller "
                    f"({__version__}) does not know: it decides nothing about it.",
                    "A newer controller can: ask that one",
                )
            known = state.last
            try:
                stored = await self._journal.decide(event, sequence(known))
            except WrongLastSequence:
                await self._indexer.catch_up()
                state = self._open.get(job_id)
                if state is not None and state.last == known:
                    # Perhaps the journal has forgotten it by its age: asking again would not help.
                    raise
                continue
            await self.folded(stored)
            return self._open.get(job_id)

    async def folded(self, stored: int) -> None:
        """Wait until a message of the changes is folded: whoever asks next finds it so.

        Raises:
            BrokerUnreachable: it is stored, and the fold is too far behind.
        """
        if not await self._indexer.until({CHANGES: stored}):
            raise BrokerUnreachable(
                "This controller's index is behind the journal: try again in a few seconds.",
                "What was decided is stored",
            )

    def _decision(self, job_id: str, kind: str, **fields: object) -> Event:
        return decision(job_id, kind, self._clock.wall(), **fields)

    # People's

    async def pause(self, state: JobState, caller: str) -> None:
        """Release no more nodes of a job; those that were go on.

        Raises:
            Conflict: it is paused already, or no node of it waits.
            BrokerUnreachable: it may or may not be paused.
        """
        job_id = state.job.id
        event = self._decision(job_id, PAUSED, data={"caller": caller})

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

        _pause(state)
        if await self.make(job_id, choose) is None:
            raise Conflict(f"Job {job_id} has ended already.", "No node waits")

    async def resume(self, state: JobState, caller: str) -> None:
        """Release nodes of a paused job again; raises as `pause`, and where it isn't paused."""
        job_id = state.job.id
        event = self._decision(job_id, RESUMED, data={"caller": caller})
        tried = False

        def choose(state: JobState) -> Event | None:
            nonlocal tried
            if _pause(state) is None:
                if tried:
                    return None
                raise Conflict(f"Job {job_id} is not paused: it goes on.", "Nothing to resume")
            tried = True
            return event

        _pause(state)
        if await self.make(job_id, choose) is None:
            raise Conflict(f"Job {job_id} has ended already.", "No node waits")

    async def cancel(self, job_id: str, caller: str) -> None:
        """Cancel a job wherever it has not ended; raises as `make`."""
        event = self._decision(job_id, CANCELLING, data={"caller": caller})
        await self.make(job_id, lambda state: None if state.cancelled is not None else event)

    # Nodes'

    async def lead(self, job_id: str, report: Event) -> Lead | None:
        """Store what a job's lead found, unless there is one; return the one that is stored then.

        None where the job isn't open any more; raises as `make`.
        """
        data = {"value": str(report.said("value")), "hostname": report.hostname}
        event = self._decision(job_id, LED, data=data)
        state = await self.make(job_id, lambda state: None if state.lead is not None else event)
        return None if state is None else state.lead

    async def leave(self, state: JobState, machine: str) -> bool:
        """Return whether a node may begin a task of which its turn could be taken back.

        What is asked while another leave of the job is being stored is given together.

        Raises:
            BrokerError: it isn't known.
        """
        job_id = state.job.id
        asked = self._leave.get(job_id)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if asked is not None:
            earlier = asked.get(machine)
            if earlier is not None:
                return await asyncio.shield(earlier)
            asked[machine] = answer
            return await answer
        self._leave[job_id] = {machine: answer}
        try:
            await self._give_leave(job_id)
        finally:
            for left in self._leave.pop(job_id).values():
                left.cancel()
        return await answer

    async def _give_leave(self, job_id: str) -> None:
        """Give leave to all that asked, and to those that ask meanwhile."""
        while asked := self._leave[job_id]:
            self._leave[job_id] = {}
            try:
                state = await self.make(
                    job_id, lambda state: leave_of(state, list(asked), self._clock.wall())
                )
            except BrokerError as error:
                for answer in asked.values():
                    if not answer.done():
                        answer.set_exception(error)
                        answer.exception()
                continue
            except BaseException:
                for answer in asked.values():
                    answer.cancel()
                raise
            for machine, answer in asked.items():
                turn = None if state is None else state.turns.under_way.get(machine)
                if not answer.done():
                    answer.set_result(turn is not None and turn.leave)


def leave_of(state: JobState, machines: list[str], now: float) -> Event | None:
    """Return the decision that gives those machines leave that may have it; None for none."""
    # The job's end is a decision too, and so is its cancellation: neither can come between.
    if state.cancelled is not None or now > state.job.expires:
        return None
    nodes = []
    for machine in machines:
        turn = state.turns.under_way.get(machine)
        if turn is not None and not turn.leave and (turn.until is None or now <= turn.until):
            nodes.append(NamedNode(machine, state.tasks[machine].hostname))
    return decision(state.job.id, LEAVE, now, nodes=nodes) if nodes else None


def _pause(state: JobState) -> Pause | None:
    """Return a job's pause, None for none; raise `Conflict` where no node waits for its turn."""
    job = state.job
    if job.waves is None:
        raise Conflict(
            f"No node of job {job.id} waits: all have their turn at once.",
            "Only a job made with `max_parallel` or `canary` can be paused",
        )
    if state.done:
        raise Conflict(f"Job {job.id} has ended already: {state.status}.", "No node waits")
    if not state.turns.waiting:
        raise Conflict(
            f"No node of job {job.id} waits any more.",
            f"POST /job/{job.id}/cancel stops those that go on",
        )
    return state.turns.paused
