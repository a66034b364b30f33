"""The runner: what the rule says of the open jobs is decided, and sent to nodes.

The controller that made a job sends its first turns; all else does the one that has the lease. That
nothing happens twice does not depend on there being one: decisions are stored only behind the last
one that their author knew of, and a node's ledger drops what comes twice.
"""

from __future__ import annotations

import asyncio

import structlog

from towline.broker.repeated import Repeated
from towline.controller.fleet import Fleet
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.state import JobState
from towline.controller.member import Member
from towline.controller.moment import LocalClock
from towline.controller.rollout.decisions import Decisions, decision
from towline.controller.rollout.lease import Lease
from towline.controller.rollout.releases import Releases
from towline.controller.rollout.rule import Decision, decide, due, kept
from towline.controller.rollout.view import FleetView
from towline.errors import BrokerError
from towline.runtime.pauses import within
from towline.wire.event import ANY_NODE, NOBODY, RELEASED, TAKEN_BACK, WITHHELD, Event, NamedNode
from towline.wire.job import SOON

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds between looks at what changes without an event: deadlines, drained nodes, the lease."""
NOT_AGAIN_WITHIN = 6.0
"""Seconds within which a task is not sent to its node again: more than a heartbeat takes to say
that the node has it."""


class Runner:
    """Brings the open jobs forward, as far as this controller is the one to.

    Args:
        able: returns whether this controller may send and decide: it has both its connections, its
            fold has caught up, and it knows who is here.
        clock: this machine's clocks.
        not_again_within, look_every: seconds; see the constants.
    """

    def __init__(
        self,
        jobs: OpenJobs,
        fleet: Fleet,
        decisions: Decisions,
        releases: Releases,
        lease: Lease,
        able: asyncio.Event,
        *,
        clock: LocalClock | None = None,
        not_again_within: float = NOT_AGAIN_WITHIN,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._open = jobs
        self._fleet = fleet
        self._view = FleetView(fleet)
        self._decisions = decisions
        self._releases = releases
        self._lease = lease
        self._able = able
        self._clock = clock or LocalClock()
        self._not_again_within = not_again_within
        self._look_every = look_every
        self._sent: dict[str, dict[str, float]] = {}
        """When a machine was sent its task of a job, by seconds since the machine was started."""
        self._dirty: dict[str, set[str] | None] = {}
        """The jobs to look at, each with the machines to send to; None for all."""
        self._working: dict[str, asyncio.Task[None]] = {}
        self._came = False
        """Whether nodes came or went, on which jobs may have waited."""
        self._wake = asyncio.Event()
        # Of thousands of jobs each may, every second: while the journal is full, for example.
        self._stalls = Repeated("rollout stalls")
        jobs.subscribe(self._folded)
        fleet.subscribe(self._fleet_changed)
        fleet.subscribe_heartbeats(self._heartbeat)

    # What there is to look at

    def _folded(self, state: JobState, turned: frozenset[str] | None) -> None:
        if state.done:
            self._sent.pop(state.job.id, None)
            self._dirty.pop(state.job.id, None)
        elif turned is None and not state.last:
            # It was just made: who made it sends the first turns.
            sent = self._sent.setdefault(state.job.id, {})
            for machine in state.turns.under_way:
                sent.setdefault(machine, self._clock.running())
            self._look(state, ())
        else:
            self._look(state, turned)

    def _fleet_changed(self, machines: set[str]) -> None:
        for machine in machines:
            for state in self._open.of(machine):
                self._look(state, (machine,))
        # Thousands may come one by one, while thousands of jobs wait.
        self._came = True
        self._wake.set()

    def _heartbeat(self, member: Member) -> None:
        for state in self._open.of(member.machine):
            if due(state, self._view, member.machine, self._clock.wall()):
                self._look(state, (member.machine,))

    def _look(self, state: JobState, machines: frozenset[str] | tuple[str, ...] | None) -> None:
        known = self._dirty.setdefault(state.job.id, set())
        if machines is None:
            self._dirty[state.job.id] = None
        elif known is not None:
            known.update(machines)
        self._wake.set()

    # Running

    async def run(self) -> None:
        """Bring the open jobs forward, for ever."""
        looked = renewed = 0.0
        leading = False
        try:
            while True:
                self._wake.clear()
                now = self._clock.running()
                if leading != self._lease.valid:
                    leading = self._lease.valid
                    log.info("rollouts taken over" if leading else "rollouts given up")
                if len(self._open) and self._able.is_set():
                    if now - renewed >= self._look_every:
                        # Not at each wake: whoever doesn't get it is woken by all that is folded.
                        renewed = now
                        await self._lease.take()
                    if self._lease.valid:
                        if now - looked >= self._look_every:
                            looked = now
                            for state in self._open:
                                self._dirty.setdefault(state.job.id, set())
                        elif self._came:
                            for state in self._open.giving():
                                self._dirty.setdefault(state.job.id, set())
                        self._came = False
                        self._begin()
                elif self._lease.valid and not self._able.is_set():
                    await self._lease.give_back()
                await within(self._look_every, self._wake.wait())
        finally:
            for task in self._working.values():
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)
            self._stalls.close()
            await self._lease.give_back()

    def _begin(self) -> None:
        """Look at each job that has to be, none twice at a time."""
        for job_id in [each for each in self._dirty if each not in self._working]:
            machines = self._dirty.pop(job_id)
            state = self._open.get(job_id)
            if state is None or (
                state.job.answered and self._clock.wall() < state.job.expires + SOON
            ):
                # Whoever makes a read looks after it for as long as anybody waits for it.
                continue
            if machines is not None and not machines and self._is_idle(state):
                continue
            task = asyncio.create_task(self._go_on(job_id, machines), name=job_id)
            self._working[job_id] = task
            task.add_done_callback(self._ended)

    def _is_idle(self, state: JobState) -> bool:
        """Return whether nothing is to be decided about a job: of thousands that is so of most."""
        try:
            return not decide(state, self._view, self._clock.wall())
        except Exception:  # noqa: BLE001
            # Of this job alone: whoever looks at it logs it.
            return False

    def _ended(self, task: asyncio.Task[None]) -> None:
        job_id = task.get_name()
        self._working.pop(job_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("rollout broke off", job=job_id, exc_info=error)
        if job_id in self._dirty:
            self._wake.set()

    async def _go_on(self, job_id: str, machines: set[str] | None) -> None:
        """Decide what is to be decided about a job, and send what is due."""
        try:
            state = await self._decisions.make(job_id, self._decide)
            if state is not None:
                await self.send(state, machines)
        except BrokerError as error:
            self._stalls.warning(job=job_id, reason=error.details)

    def _decide(self, state: JobState) -> Event | None:
        if not self._able.is_set() or not self._lease.valid:
            return None
        found = decide(state, self._view, self._clock.wall())
        return self.event(state, found) if found else None

    def event(self, state: JobState, found: Decision) -> Event:
        """Return a decision of the rule as it is stored."""
        job, now = state.job, self._clock.wall()
        if found.withhold:
            nodes = [
                NamedNode(machine, self._hostname(state, machine), reason, status)
                for machine, (status, reason) in found.withhold.items()
            ]
            reasons = {reason for _, reason in found.withhold.values()}
            error = reasons.pop() if len(reasons) == 1 else None
            return decision(job.id, WITHHELD, now, nodes=nodes, error=error)
        if found.take_back:
            nodes = [NamedNode(each, self._hostname(state, each)) for each in found.take_back]
            return decision(job.id, TAKEN_BACK, now, nodes=nodes)
        until = None if kept(job) else min(job.expires, now + SOON)
        named = None
        if not found.everyone:
            named = [NamedNode(each, self._hostname(state, each)) for each in found.release]
        return decision(
            job.id, RELEASED, now, nodes=named, until=until, canary=found.canary, leads=found.leads
        )

    def _hostname(self, state: JobState, machine: str) -> str:
        if machine == NOBODY:
            return ANY_NODE
        task = state.tasks.get(machine)
        if task is not None:
            return task.hostname
        member = self._fleet.get(machine)
        return machine if member is None else member.hostname

    # Sending

    async def first(self, state: JobState) -> None:
        """Send the first turns of a job that this controller has made."""
        self._sent.pop(state.job.id, None)
        await self.send(state, None)

    async def send(self, state: JobState, machines: set[str] | None) -> None:
        """Send machines what they are due of a job, but not again what they were sent just now."""
        now = self._clock.running()
        sent = self._sent.setdefault(state.job.id, {})
        # A cancellation is another thing than the task was.
        mark = "!" if state.cancelled is not None else ""
        wanted = [
            machine
            for machine in (list(state.turns.under_way) if machines is None else machines)
            if now - sent.get(machine + mark, -self._not_again_within) >= self._not_again_within
            and due(state, self._view, machine, self._clock.wall(), new=machine not in sent)
        ]
        if not wanted or not self._able.is_set():
            return
        for machine in wanted:
            sent[machine + mark] = now
        await self._releases.send(state, wanted)
