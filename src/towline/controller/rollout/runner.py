"""The driver: gives the nodes of jobs with waves their turns, at one controller at a time.

A release is a decision like those of people (see `decisions`): it is stored only behind the last
decision that the driver knew of. So two drivers at once could not release more than a job allows,
and none releases a node of a job that has been paused. The lease only keeps them from trying.

A released node is given the job on its own subject. A driver that takes over finds in the journal
which nodes were released and which of them were given the job, and gives it to the rest.
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

from towline.broker.connection import BrokerRefused, Connection
from towline.broker.journal import Journal
from towline.broker.streams import WRONG_LAST_SEQUENCE
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Fold
from towline.controller.jobs.state import JobState
from towline.controller.rollout.decisions import Decisions, withheld
from towline.controller.rollout.lease import Lease
from towline.controller.rollout.rule import Decision, decide, limits
from towline.errors import TowlineError
from towline.operation import Effect, catalog
from towline.units import timestamp
from towline.wire.event import NOBODY, RELEASED, Event, PlannedNode
from towline.wire.job import Job

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds between looks at what changes without an event: deadlines, drained nodes, the lease."""
RETRY_EVERY = 0.5
AT_ONCE = 100
"""Nodes that are given a job at the same time."""
SOON = 60.0
"""Seconds within which a read or an operation that runs once must be begun: nobody wants
yesterday's reboot to happen today."""


class _Drive:
    """A job under way, as its driver knows it.

    Attributes:
        last: the sequence of its last decision.
        owed: the machine ids that were released and have not been given it.
        looked: when its deadlines were looked at last, on the monotonic clock.
    """

    def __init__(self, progress: JobState, last: int, given: Container[str]) -> None:
        self.progress = progress
        self.last = last
        under_way = progress.turns.under_way if progress.turns is not None else ()
        self.owed = [machine for machine in under_way if machine not in given]
        self.looked = -math.inf
        self.wake = asyncio.Event()


class Driver:
    """Drives all jobs with waves that go on, while this controller holds the lease."""

    def __init__(
        self, broker: Connection, index: Index, fleet: Fleet, fold: Fold, decisions: Decisions
    ) -> None:
        self._journal = Journal(broker)
        self._index = index
        self._fleet = fleet
        self._fold = fold
        self._decisions = decisions
        self.lease = Lease(broker, "waves")
        self._drives: dict[str, _Drive] = {}
        self._wake = asyncio.Event()

    def made(self) -> None:
        """Notice that a job with waves was made."""
        self._wake.set()

    def happened(self, event: Event) -> None:
        """Fold an event, and see what follows."""
        drive = self._drives.get(event.job)
        if drive is not None:
            drive.progress.apply(event)
            drive.wake.set()

    def fleet_changed(self) -> None:
        """See what follows from nodes that came or went."""
        for drive in self._drives.values():
            drive.wake.set()

    async def drive(self) -> None:
        """Drive what there is to drive, for ever."""
        try:
            while True:
                self._wake.clear()
                if self._open() and await self.lease.hold():
                    await self._while_held()
                await self._rest(self._wake)
        finally:
            await self.lease.leave()

    async def _rest(self, wake: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await wake.wait()

    def _open(self) -> list[str]:
        if not self._fold.caught_up:
            return []
        try:
            return self._index.waves()
        except sqlite3.Error as error:
            log.error("jobs with waves not known", reason=str(error))
            return []

    async def _while_held(self) -> None:
        """Drive every job that goes on, until none does or the lease is another's."""
        log.info("waves taken over")
        running: dict[str, asyncio.Task[None]] = {}
        try:
            while self.lease.held:
                for job_id in self._open():
                    if job_id not in running:
                        running[job_id] = asyncio.create_task(self._keep(job_id), name=job_id)
                if not running:
                    return
                await self._rest(self._wake)
                self._wake.clear()
                await self.lease.hold()
                for job_id in [each for each, task in running.items() if task.done()]:
                    error = running.pop(job_id).exception()
                    if error is not None:
                        log.error("wave broke off", job=job_id, exc_info=error)
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)
            log.info("waves let go")

    async def _keep(self, job_id: str) -> None:
        """Drive a job to its end, whatever interrupts that."""
        while self.lease.held:
            try:
                known = await self._decisions.known(job_id)
                if known is None:
                    return
                progress, last = known
                drive = _Drive(progress, last, self._index.turns(job_id))
                self._drives[job_id] = drive
                await self._go_on(drive)
                if progress.done:
                    return
            except BrokerRefused as error:
                if error.number not in WRONG_LAST_SEQUENCE:
                    log.warning("wave stalls", job=job_id, reason=error.details)
                    await asyncio.sleep(RETRY_EVERY)
            except (TowlineError, sqlite3.Error) as error:
                log.warning("wave stalls", job=job_id, reason=str(error))
                await asyncio.sleep(RETRY_EVERY)
            finally:
                self._drives.pop(job_id, None)

    async def _go_on(self, drive: _Drive) -> None:
        """Release nodes as their turn comes, until the job has ended or the lease is over."""
        progress = drive.progress
        while self.lease.held:
            drive.wake.clear()
            await self._give(drive)
            if progress.done:
                return
            decision = self._decide(progress)
            if decision.withhold:
                await self._store(drive, withheld(progress, decision.withhold))
            if decision.release:
                await self._store(drive, self._released(progress.job, decision))
                drive.owed += decision.release
            if decision.withhold or decision.release:
                continue
            if time.monotonic() - drive.looked < LOOK_EVERY:
                await self._rest(drive.wake)
            else:
                drive.looked = time.monotonic()
                progress.expire(time.time())

    async def _store(self, drive: _Drive, event: Event) -> None:
        drive.last = await self._journal.decide(event, drive.last)
        drive.progress.apply(event)

    def _decide(self, progress: JobState) -> Decision:
        job, turns = progress.job, progress.turns
        if turns is None or job.waves is None or not progress.planned:
            return Decision()
        over = None
        if progress.cancelled is not None:
            over = "cancelled", progress.cancelled
        elif time.time() > job.expires:
            # Told rather than left to be seen, so that whoever waits for the job hears of it.
            over = "expired", progress.expiry
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
        """Return status and reason of a node that has no turn now that it comes to it."""
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

    async def _give(self, drive: _Drive) -> None:
        """Give the job to all nodes that were released and don't have it yet."""
        job = msgspec.structs.replace(drive.progress.job, excluded=[], only=None)
        while drive.owed and self.lease.held:
            batch = drive.owed[:AT_ONCE]
            told = await asyncio.gather(
                *(self._hand(drive, job, machine) for machine in batch), return_exceptions=True
            )
            del drive.owed[: len(batch)]
            drive.owed += [m for m, outcome in zip(batch, told, strict=True) if outcome is not None]
            for outcome in told:
                if outcome is not None:
                    raise outcome

    async def _hand(self, drive: _Drive, job: Job, machine: str) -> None:
        until = drive.progress.tasks[machine].until
        if until is not None:
            job = msgspec.structs.replace(job, expires=until)
        await self._journal.hand(job, machine)


def _effect(job: Job) -> Effect:
    operation = catalog.get(job.operation)
    # What this controller doesn't know may be run once only.
    return Effect.ONCE if operation is None else operation.effect
