"""The runner: gives the nodes of jobs with waves their turns, at one controller at a time.

A release is a decision like those of people (see `decisions`): it is stored only behind the last
decision that the runner knew of. So two runners at once could not release more than a job allows,
and none releases a node of a job that has been paused. The lease only keeps them from trying.

A released node is sent the job on its own subject. A runner that takes over finds in the journal
which nodes were released and which of them were sent the job, and sends it to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import time
from collections.abc import Container

import msgspec
import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.journal import Journal
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.state import JobState
from towline.controller.rollout.decisions import Decisions, withheld
from towline.controller.rollout.lease import Lease
from towline.controller.rollout.rule import Decision, decide, limits
from towline.errors import TowlineError
from towline.operation import Effect, catalog
from towline.units import timestamp
from towline.wire.event import NOBODY, RELEASED, Event, PlannedNode
from towline.wire.job import SOON, Job

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds between looks at what changes without an event: deadlines, drained nodes, the lease."""
RETRY_EVERY = 0.5
AT_ONCE = 100
"""Nodes that are sent a job at the same time."""


class _Rollout:
    """The rollout of one job, as the runner knows it.

    Attributes:
        last: the sequence of its last decision.
        unsent: the machine ids that were released and have not been sent the job.
        looked: when its deadlines were looked at last, on the monotonic clock.
    """

    def __init__(self, state: JobState, last: int, sent: Container[str]) -> None:
        self.state = state
        self.last = last
        under_way = state.turns.under_way if state.turns is not None else ()
        self.unsent = [machine for machine in under_way if machine not in sent]
        self.looked = -math.inf
        self.wake = asyncio.Event()


class Runner:
    """Runs the rollouts of all jobs with waves that go on, while this controller has the lease."""

    def __init__(
        self,
        journal: Journal,
        index: Index,
        fleet: Fleet,
        indexer: Indexer,
        decisions: Decisions,
        lease: Lease,
    ) -> None:
        self._journal = journal
        self._index = index
        self._fleet = fleet
        self._indexer = indexer
        self._decisions = decisions
        self._lease = lease
        self._rollouts: dict[str, _Rollout] = {}
        self._wake = asyncio.Event()
        indexer.subscribe(self._event_folded)
        indexer.subscribe_jobs(self._job_folded)
        fleet.subscribe(self._fleet_changed)

    def _job_folded(self, job: Job) -> None:
        if job.waves is not None:
            self._wake.set()

    def _event_folded(self, event: Event) -> None:
        rollout = self._rollouts.get(event.job)
        if rollout is not None:
            rollout.state.apply(event)
            rollout.wake.set()

    def _fleet_changed(self, machines: set[str]) -> None:
        for rollout in self._rollouts.values():
            rollout.wake.set()

    async def run(self) -> None:
        """Run what rollouts there are, for ever."""
        try:
            while True:
                self._wake.clear()
                if self._open() and await self._lease.take():
                    await self._while_leased()
                await self._pause(self._wake)
        finally:
            await self._lease.give_back()

    async def _pause(self, wake: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await wake.wait()

    def _open(self) -> list[str]:
        if not self._indexer.caught_up:
            return []
        try:
            return self._index.open_rollouts()
        except sqlite3.Error as error:
            log.error("jobs with waves not known", reason=str(error))
            return []

    async def _while_leased(self) -> None:
        """Run the rollout of every job that goes on, until none does or the lease is lost."""
        log.info("rollouts taken over")
        running: dict[str, asyncio.Task[None]] = {}
        try:
            while self._lease.valid:
                for job_id in self._open():
                    if job_id not in running:
                        running[job_id] = asyncio.create_task(self._keep(job_id), name=job_id)
                if not running:
                    return
                await self._pause(self._wake)
                self._wake.clear()
                await self._lease.take()
                for job_id in [each for each, task in running.items() if task.done()]:
                    error = running.pop(job_id).exception()
                    if error is not None:
                        log.error("rollout broke off", job=job_id, exc_info=error)
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)
            log.info("rollouts given up")

    async def _keep(self, job_id: str) -> None:
        """Run the rollout of a job to its end, whatever interrupts it."""
        while self._lease.valid:
            try:
                known = await self._decisions.known(job_id)
                if known is None:
                    return
                state, last = known
                rollout = _Rollout(state, last, self._index.turns(job_id))
                self._rollouts[job_id] = rollout
                await self._go_on(rollout)
                if state.done:
                    return
            except WrongLastSequence:
                continue
            except (TowlineError, sqlite3.Error) as error:
                log.warning("rollout stalls", job=job_id, reason=str(error))
                await asyncio.sleep(RETRY_EVERY)
            finally:
                self._rollouts.pop(job_id, None)

    async def _go_on(self, rollout: _Rollout) -> None:
        """Release nodes as their turn comes, until the job has ended or the lease is over."""
        state = rollout.state
        while self._lease.valid:
            rollout.wake.clear()
            await self._send(rollout)
            if state.done:
                return
            decision = self._decide(state)
            if decision.withhold:
                await self._store(rollout, withheld(state, decision.withhold))
            if decision.release:
                await self._store(rollout, self._released(state.job, decision))
                rollout.unsent += decision.release
            if decision.withhold or decision.release:
                continue
            if time.monotonic() - rollout.looked < LOOK_EVERY:
                await self._pause(rollout.wake)
            else:
                rollout.looked = time.monotonic()
                state.expire(time.time())

    async def _store(self, rollout: _Rollout, event: Event) -> None:
        rollout.last = await self._journal.decide(event, rollout.last)
        rollout.state.apply(event)

    def _decide(self, state: JobState) -> Decision:
        job, turns = state.job, state.turns
        if turns is None or job.waves is None or not state.planned:
            return Decision()
        over = None
        if state.cancelled is not None:
            over = "cancelled", state.cancelled
        elif time.time() > job.expires:
            # Stored rather than left to be derived, so that whoever waits for the job is woken.
            over = "expired", state.expiry
        return decide(
            turns,
            limits(job.waves, turns.total),
            here=self._here,
            refused=lambda machine: self._refused(job, machine),
            over=over,
        )

    def _here(self, machine: str) -> bool:
        member = self._fleet.get(machine)
        return member is not None and member.here

    def _refused(self, job: Job, machine: str) -> tuple[str, str] | None:
        """Return status and reason of a node that can't have the turn which it would have now."""
        member = self._fleet.get(machine)
        effect = _effect(job)
        if member is None:
            return None
        if member.drained is not None and effect is not Effect.READ:
            return "skipped", f"drained since {timestamp(member.drained)}"
        if not member.here and effect is not Effect.CONVERGE:
            return "failed", f"{member.absence}; not kept for nodes that are away"
        return None

    def _released(self, job: Job, decision: Decision) -> Event:
        now = time.time()
        until = None if _effect(job) is Effect.CONVERGE else min(job.expires, now + SOON)
        names = self._fleet.hostnames
        nodes = [PlannedNode(each, names.get(each, each)) for each in decision.release]
        return Event(
            job.id, NOBODY, "", RELEASED, now, nodes=nodes, until=until, canary=decision.canary
        )

    async def _send(self, rollout: _Rollout) -> None:
        """Send the job to all nodes that were released and have not been sent it."""
        job = msgspec.structs.replace(rollout.state.job, excluded=[], only=None)
        while rollout.unsent and self._lease.valid:
            batch = rollout.unsent[:AT_ONCE]
            outcomes = await asyncio.gather(
                *(self._send_to(rollout, job, machine) for machine in batch), return_exceptions=True
            )
            del rollout.unsent[: len(batch)]
            rollout.unsent += [
                machine
                for machine, outcome in zip(batch, outcomes, strict=True)
                if outcome is not None
            ]
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    async def _send_to(self, rollout: _Rollout, job: Job, machine: str) -> None:
        until = rollout.state.tasks[machine].until
        if until is not None:
            job = msgspec.structs.replace(job, expires=until)
        await self._journal.release(job, machine)


def _effect(job: Job) -> Effect:
    operation = catalog.get(job.operation)
    # What this controller doesn't know may be run once only.
    return Effect.ONCE if operation is None else operation.effect
