"""Steering jobs that are made: cancel, pause, resume, retry, delete."""

from __future__ import annotations

import time

import msgspec

from towline.broker.answers import BrokerRefused
from towline.broker.journal import FULL, Journal, sequence
from towline.controller.auth import Caller
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lookup import Lookup
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submission import Submission
from towline.controller.jobs.waiting import Waiting
from towline.controller.rollout.decisions import Decisions, decision
from towline.errors import Conflict, InvalidRequest
from towline.operation import catalog
from towline.options import RunOptions
from towline.wire.event import BAD, DELETED
from towline.wire.target import Target, is_several, parse_target


class Steering:
    """Changes what becomes of jobs, at whichever controller is asked."""

    def __init__(
        self,
        journal: Journal,
        indexer: Indexer,
        decisions: Decisions,
        waiting: Waiting,
        lookup: Lookup,
    ) -> None:
        self._journal = journal
        self._indexer = indexer
        self._decisions = decisions
        self._waiting = waiting
        self._lookup = lookup

    async def cancel(self, state: JobState, *, caller: str, wait: float) -> JobState:
        """Stop a job wherever it has not ended, and wait up to `wait` seconds for that.

        Raises:
            Conflict: the job has ended, and not because it was cancelled.
            BrokerUnreachable: the cancellation may or may not be stored.
        """
        job = state.job
        if state.done:
            if state.cancelled:
                return state
            raise Conflict(
                f"Job {job.id} has ended already: {state.status}.", "There is nothing to cancel"
            )
        await self._waiting.wait(state, wait, lambda: self._decisions.cancel(job.id, caller))
        self._lookup.explain(state)
        return state

    async def pause(self, state: JobState, *, caller: str) -> JobState:
        """Let no more nodes of a job have their turn; raises as `Decisions.pause`."""
        await self._decisions.pause(state, caller)
        return self._lookup.state(state.job.id) or state

    async def resume(self, state: JobState, *, caller: str) -> JobState:
        """Let the nodes of a paused job have their turn again; raises as `Decisions.resume`."""
        await self._decisions.resume(state, caller)
        return self._lookup.state(state.job.id) or state

    def retry(
        self,
        state: JobState,
        *,
        caller: Caller,
        target: Target | None,
        options: RunOptions,
    ) -> Submission:
        """Return the submission that does a job again.

        Args:
            target: where; None for the nodes on which it failed, expired or was cancelled.
            options: those of the request. Unless they say how the nodes get their turns, these
                get them as in the job that is retried, where the target is several nodes too.

        Raises:
            Forbidden: the caller may not do what the job does.
            InvalidRequest: there is nothing to retry, or this controller can't do that any more, or
                an option is not valid.
        """
        job = state.job
        operation = catalog.get(job.operation)
        if operation is None:
            raise InvalidRequest(
                f"This controller does not know the operation {job.operation}.",
                "It may be one of a newer version",
            )
        only = None
        if target is None:
            failed = {task.machine for task in state.tasks.values() if task.status in BAD}
            if not failed:
                raise InvalidRequest(
                    f"Job {job.id} has failed nowhere: there is nothing to retry.",
                    "Give `target_hostname` to run it there again",
                )
            target = parse_target(job.target)
            if is_several(target):
                only = frozenset(failed)
        submission = Submission.of(operation, job.parameters, target, caller, options)
        waves = submission.waves
        if waves is None and is_several(target):
            waves = job.waves
        return msgspec.structs.replace(
            submission,
            retries=job.id,
            only=only,
            waves=waves,
            # The same job, done again: what its other nodes were given, these are given too.
            lead=state.lead,
        )

    async def delete(self, state: JobState) -> None:
        """Delete a job that has ended from the journal, and so from every index.

        Raises:
            InvalidRequest: the job has not ended.
            BrokerUnreachable: the job may or may not have been deleted.
        """
        job = state.job
        if not state.done:
            raise InvalidRequest(
                f"Job {job.id} goes on, and only one that has ended can be deleted.",
                f"POST /job/{job.id}/cancel stops it: then delete it",
            )
        # First, so that every index forgets the job even if nothing below comes to be done.
        deleted = decision(job.id, DELETED, time.time())
        try:
            stored = await self._journal.decide(deleted, sequence(state.last))
        except BrokerRefused as error:
            if error.number != FULL:
                raise
            # What is of this job alone makes room for word of that.
            await self._journal.purge(job.id)
            stored = await self._journal.decide(deleted, 0)
        await self._journal.purge(job.id, before=stored)
        await self._indexer.catch_up()
