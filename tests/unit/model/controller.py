"""A controller of the model: the real fold, rule, runner, decisions, reports and waiting."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

import msgspec

from tests.testing.signing import SIGNER
from tests.unit.model.network import JournalClient, Log, Network
from tests.unit.model.process import Process, VirtualLoop
from towline.broker.connection import Connection
from towline.broker.journal import CHANGES, Journal, place
from towline.broker.listener import Received
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import CATCH_UP, Indexer, Pulse
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.reports import Reports
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submit import first_turns
from towline.controller.jobs.waiting import Waiting
from towline.controller.rollout.decisions import Decisions
from towline.controller.rollout.lease import Lease
from towline.controller.rollout.releases import Releases
from towline.controller.rollout.runner import Runner
from towline.controller.rollout.view import FleetView
from towline.errors import BrokerUnreachable, TowlineError
from towline.runtime.part import keep_running
from towline.wire.cooldown import Cooldown
from towline.wire.credential import Supply
from towline.wire.event import RELEASED, Event
from towline.wire.job import CONVERGE, WAITS, Job, PlannedNode
from towline.wire.node import Heartbeat, Registration
from towline.wire.target import ANY

SETTLED_AFTER = 5.0
"""Seconds after its start from which a controller judges who is away: an interval of heartbeats."""
LOOK_EVERY = 0.5


class _Fold:
    """Folds the journal as far as it is let: stands in for the indexer, and for the index.

    Attributes:
        folded: how many messages.
        states: all jobs, with all their tasks.
    """

    def __init__(self, loop: VirtualLoop, log: Log, jobs: OpenJobs) -> None:
        self._loop = loop
        self._log = log
        self._open = jobs
        self._on_event: list[Callable[[Event], None]] = []
        self._pulse = Pulse()
        self._of: dict[str, set[str]] = {}
        self._events: dict[str, list[Event]] = {}
        self.states: dict[str, JobState] = {}
        self.folded = 0

    def fold(self, count: int) -> None:
        """Fold the next messages."""
        for message in self._log.messages[self.folded : self.folded + count]:
            self.folded += 1
            if isinstance(message, Job):
                self._fold_job(message)
            else:
                for within, event in enumerate(message):
                    self._fold_event(event, place(self.folded, within))
        self._pulse.beat()

    def _fold_job(self, job: Job) -> None:
        self._of[job.id] = {node.machine for node in job.plan}
        self._events[job.id] = []
        self.states[job.id] = JobState(job)
        self._open.add(job)

    def _fold_event(self, event: Event, at: int) -> None:
        self._events[event.job].append(event)
        if event.kind == RELEASED:
            self._of[event.job].update(node.machine for node in event.nodes or ())
        self.states[event.job].apply(event, at)
        self._open.apply(event, at)
        for folded in self._on_event:
            folded(event)

    # As the indexer

    def subscribe(self, folded: Callable[[Event], None]) -> None:
        self._on_event.append(folded)

    async def catch_up(self) -> None:
        if not await self.until({CHANGES: len(self._log.messages)}):
            raise BrokerUnreachable("The index is behind the journal.", "try again")

    async def until(self, ends: Mapping[str, int]) -> bool:
        deadline = self._loop.time() + CATCH_UP
        while self.folded < ends[CHANGES]:
            remaining = deadline - self._loop.time()
            if remaining <= 0:
                return False
            await self._pulse.wait(remaining)
        return True

    # As the index

    def deleted(self, job_id: str) -> bool:
        return False

    def has_task(self, job_id: str, machine: str) -> bool:
        return machine in self._of.get(job_id, ())

    def has_report(self, event: Event) -> bool:
        return event in self._events.get(event.job, ())

    def status(self, job_id: str) -> str | None:
        return "there" if job_id in self.states else None

    def find(self, job_id: str) -> tuple[JobState, list[Event]] | None:
        state = self.states.get(job_id)
        return None if state is None else (state, self._events[job_id])


class _Lease:
    """A lease that a controller has, or believes to have."""

    def __init__(self, valid: bool) -> None:
        self.valid = valid

    async def take(self) -> bool:
        return self.valid

    async def give_back(self) -> None:
        pass


class _Nodes:
    """What a controller reaches nodes by."""

    def __init__(self, process: Process, send: Callable[[str, bytes], None]) -> None:
        self._process = process
        self._send = send

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        if self._process.alive:
            self._send(subject, payload)


class Parts(msgspec.Struct, frozen=True):
    """Which classes a controller is made of."""

    view: type[FleetView] = FleetView
    decisions: type[Decisions] = Decisions
    reports: type[Reports] = Reports
    runner: type[Runner] = Runner


async def _no_supplies(job: Job, machines: Sequence[str]) -> dict[str, Supply]:
    return {}


def _no_cooldown(job: Job) -> Cooldown | None:
    return None


class ModelController:
    """A controller that starts, dies and starts again, with nothing but the journal.

    Attributes:
        up: whether it runs.
        lags: whether it folds only when it is let.
        prompt: whether the journal answers it at once.
        leads: whether it has the lease, when it runs.

    Args:
        send: sends something to the nodes: subject and body.
        answered: is given what a request is answered.
    """

    def __init__(
        self,
        name: str,
        machines: Sequence[str],
        loop: VirtualLoop,
        network: Network,
        log: Log,
        parts: Parts,
        *,
        send: Callable[[str, bytes], None],
        answered: Callable[[JobState], None],
    ) -> None:
        self.name = name
        self.up = False
        self.lags = False
        self.prompt = True
        self.leads = False
        self._machines = machines
        self._loop = loop
        self._network = network
        self._log = log
        self._parts = parts
        self._send = send
        self._answered = answered

    def start(self) -> None:
        """Start it."""
        self.up = True
        self.process = Process(self._loop)
        self.process.do(self._make)
        self.process.spawn(keep_running("runner", self.runner.run))
        self.process.spawn(self.reports.run())
        self.process.spawn(self._watch())
        self.follow()

    def _make(self) -> None:
        loop, clock = self._loop, self._loop.clock()
        self.fleet = Fleet(clock)
        for each in self._machines:
            self.fleet.register(Registration(each, f"host-{each}", "1", loop.wall))
        self.open = OpenJobs()
        self.fold = _Fold(loop, self._log, self.open)
        self.journal = JournalClient(self.name, self.process, loop, self._network, self._log)
        self.journal.prompt = self.prompt
        self.lease = _Lease(self.leads)
        self.able = asyncio.Event()
        self._end = len(self._log.messages)
        self._settled_at = loop.time() + SETTLED_AFTER
        indexer, journal = cast(Indexer, self.fold), cast(Journal, self.journal)
        nodes = cast(Connection, _Nodes(self.process, self._send))
        releases = Releases(nodes, SIGNER, self.fleet, _no_supplies, _no_cooldown, clock=clock)
        self.waiting = Waiting(indexer, self.fleet)
        self.decisions = self._parts.decisions(journal, self.open, indexer, clock=clock)
        self.runner = self._parts.runner(
            self.open,
            self.fleet,
            self.decisions,
            releases,
            cast(Lease, self.lease),
            self.able,
            clock=clock,
        )
        self.view = self.runner._view = self._parts.view(self.fleet)
        self.reports = self._parts.reports(
            nodes,
            SIGNER,
            journal,
            cast(Index, self.fold),
            self.open,
            indexer,
            self.decisions,
            clock=clock,
        )

    async def _watch(self) -> None:
        """Look who is away, and whether this controller may act."""
        while True:
            settled = self._loop.time() >= self._settled_at or all(
                member.received is not None for member in self.fleet.members()
            )
            if self.caught_up and settled:
                self.able.set()
            self.fleet.find_silent(self._settled_at)
            await asyncio.sleep(LOOK_EVERY)

    @property
    def caught_up(self) -> bool:
        """Whether it has folded what there was when it started: from then on it takes reports."""
        return self.up and self.fold.folded >= self._end

    # What comes to pass

    def follow(self) -> None:
        """Fold what there is, unless it lags."""
        if self.up and not self.lags:
            self.process.do(self.fold.fold, len(self._log.messages))

    def fold_next(self, count: int) -> None:
        """Fold the next messages, though it lags."""
        self.process.do(self.fold.fold, count)

    def crash(self) -> None:
        """End it where it stands."""
        self.up = False
        self.process.kill()

    def take_heartbeat(self, machine: str, heartbeat: Heartbeat) -> None:
        """Receive a heartbeat."""
        if self.up:
            self.process.do(self.fleet.receive, machine, heartbeat)

    def take_report(self, received: Received) -> bool:
        """Receive a report; return False where it comes to nobody."""
        if not self.caught_up:
            return False
        self.process.do(self.reports.receive, received)
        return True

    def miss(self, machine: str) -> None:
        """Take a node for away, though it may be here."""
        member = self.fleet.get(machine)
        if self.up and member is not None and member.here:
            member.received = self._loop.clock().moment(1000.0)
            self.process.do(self.fleet.find_silent, 0.0)

    # What people want

    def submit(self, job: Job) -> Job | None:
        """Make a job of a draft that has no plan; return it, None where no node can do it."""
        refused = job.effect != CONVERGE
        members = self.fleet.members()
        plan = [
            PlannedNode(each.machine, each.hostname, WAITS)
            if each.here or not refused
            else PlannedNode(each.machine, each.hostname, "failed", "not kept")
            for each in members
        ]
        nodes = 1 if job.target == ANY else sum(node.state == WAITS for node in plan)
        if not nodes or (refused and not any(each.here for each in members)):
            return None
        job = msgspec.structs.replace(job, nodes=nodes, leads=job.leads and nodes > 1)
        plan = first_turns(job, plan, self.fleet, self.view)
        job = msgspec.structs.replace(job, plan=plan)
        self.process.spawn(self._submit(job))
        return job

    async def _submit(self, job: Job) -> None:
        state = JobState(job)

        async def make() -> None:
            # As `Submitter` does it.
            await self.journal.add_job(job)
            made = None if state.done else self.open.add(job)
            if made is not None:
                await self.runner.first(made)

        await self._answer(state, make)

    def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        found = self.fold.find(job_id)
        if found is not None and not found[0].done:
            state = _copy(*found)

            async def cancel() -> None:
                await self.decisions.cancel(job_id, "ci")

            self.process.spawn(self._answer(state, cancel))

    async def _answer(self, state: JobState, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await self.waiting.wait(state, 30.0, act)
        except TowlineError:
            return
        self._answered(state)

    def pause(self, job_id: str, *, resume: bool) -> None:
        """Pause a job, or resume it, where that is possible."""

        async def pause() -> None:
            state = self.fold.states[job_id]
            act = self.decisions.resume if resume else self.decisions.pause
            try:
                await act(state, "ci")
            except TowlineError:
                return

        if job_id in self.fold.states:
            self.process.spawn(pause())


def _copy(state: JobState, events: Sequence[Event]) -> JobState:
    copy = JobState(state.job)
    for event in events:
        copy.apply(event)
    return copy
