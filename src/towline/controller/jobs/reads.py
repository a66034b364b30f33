"""Reads: asked of nodes and answered by them at once, and recorded when they are answered.

Nothing of a read stands in a ledger: what isn't answered is asked again until the deadline. Its
job, its plan and its ends are recorded together, in a group with the other reads of that moment;
the caller's answer waits for that.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator

import msgspec
import structlog

from towline.broker.connection import REQUEST_TIMEOUT, Connection
from towline.broker.journal import Journal
from towline.broker.listener import Listener, Received
from towline.controller.asker import while_asked
from towline.controller.fleet import Fleet
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.recorder import LARGEST_GROUP, Recorder
from towline.controller.jobs.state import JobState
from towline.controller.rollout.decisions import decision
from towline.controller.rollout.releases import Releases
from towline.controller.rollout.view import FleetView
from towline.errors import BrokerError
from towline.runtime.part import keep_running
from towline.runtime.pauses import within
from towline.units import timestamp
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.event import (
    CANCELLED,
    CANCELLING,
    EXPIRED,
    NOBODY,
    RELEASED,
    RESULT_STATUS,
    TAKEN_BACK,
    Event,
    NamedNode,
)
from towline.wire.job import SOON, Job, PlannedNode, new_id
from towline.wire.messages import Answered
from towline.wire.subjects import answer_subject

log = structlog.get_logger()

ASK_EVERY = 2.0
"""Seconds after which a node is asked again that has not answered."""
PER_NODE = 0.001
"""Seconds that each node which is asked adds to that: thousands take a while to answer."""
CANCELLED_WITHIN = 5.0
"""Seconds that a node has to answer that it has stopped a read which was cancelled."""
AT_ONCE = 2000
"""Ends that are recorded in one message at most."""


class _Read:
    """A read that goes on.

    Attributes:
        new: the events that are not recorded yet.
        size: their bytes, about.
        recorded: whether the job is.
        missing: the nodes that are here and have not answered.
        asked: when each was asked last, by the event loop's clock.
        wake: set when none is missing any more, or another one may be asked.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.state = JobState(job)
        self.new: list[tuple[Event, int]] = []
        self.recorded = False
        self.missing: set[str] = set()
        self.asked: dict[str, float] = {}
        self.wake = asyncio.Event()

    def apply(self, event: Event, size: int) -> None:
        """Take what has become of it: how it has ended on a node, or that another one is asked."""
        if event.machine == NOBODY or event.machine in self.state.unfinished:
            self.state.apply(event)
            self.new.append((event, size))
            self.leave_out(event.machine)

    def leave_out(self, machine: str) -> None:
        """Wait for a node no more."""
        self.missing.discard(machine)
        if not self.missing:
            self.wake.set()


class Reads:
    """The reads that this controller was asked for, and that go on.

    Args:
        nodes: the connection to the nodes' account.
        ask_every: seconds; see the constant.
    """

    def __init__(
        self,
        nodes: Connection,
        journal: Journal,
        fleet: Fleet,
        releases: Releases,
        indexer: Indexer,
        *,
        ask_every: float = ASK_EVERY,
    ) -> None:
        self._nodes = nodes
        self._fleet = fleet
        self._view = FleetView(fleet)
        self._releases = releases
        self._ask_every = ask_every
        self._own = new_id()
        self._reads: dict[str, list[_Read]] = {}
        """By job: of one whose request was sent again, each attempt is a read of its own."""
        self._later: set[asyncio.Task[None]] = set()
        self._recorder = Recorder(journal.add_reads)
        self.answers = Listener(nodes, answer_subject(self._own, "*"), self.receive)
        fleet.subscribe(self._fleet_changed)
        indexer.subscribe(self._folded)

    async def run(self) -> None:
        """Receive answers and record them, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("recorder of reads", self._recorder.run))
            group.create_task(keep_running("answers", self.answers.run))

    def receive(self, received: Received) -> None:
        """Take a node's answer.

        Raises:
            Unreadable: it can't be read, or is none.
        """
        if not received.data:
            # The broker's word that the node has just gone.
            return
        machine = received.subject.rpartition(".")[2]
        event = messages.report(f"report.{machine}", received.data)
        if event.kind not in RESULT_STATUS:
            raise Unreadable("it is no answer to what was asked")
        for read in self._reads.get(event.job, ()):
            if machine in read.state.unfinished:
                hostname = read.state.tasks[machine].hostname
                read.apply(msgspec.structs.replace(event, hostname=hostname), len(received.data))

    def _folded(self, event: Event) -> None:
        """Take what was decided about a read: that it is cancelled."""
        for read in self._reads.get(event.job, ()) if event.kind == CANCELLING else ():
            read.state.apply(event)
            # From now on its nodes are sent that; who doesn't answer it in time does no harm.
            read.asked.clear()
            read.wake.set()
            why = read.state.cancelled or "cancelled"
            loop = asyncio.get_running_loop()
            loop.call_later(CANCELLED_WITHIN, self._end_rest, read, CANCELLED, why)

    def _fleet_changed(self, machines: set[str]) -> None:
        for read in itertools.chain.from_iterable(self._reads.values()):
            for machine in machines & read.state.unfinished:
                if self._fleet.is_here(machine):
                    # What it was sent before may be lost.
                    read.asked.pop(machine, None)
                    read.missing.add(machine)
                    read.wake.set()
                else:
                    read.leave_out(machine)
            if not read.state.tasks:
                read.wake.set()

    async def ask(self, job: Job, wait: float) -> JobState:
        """Ask the nodes of a job, and return what they have answered within `wait` seconds.

        The answer comes when all nodes that are here have answered. Those that have not, answer
        later, until the job expires.

        Raises:
            BrokerError: no node could be asked, or it could not be recorded.
        """
        # What nobody can be asked is no job that waits for an answer.
        await self._nodes.client(REQUEST_TIMEOUT)
        read = _Read(job)
        self._reads.setdefault(job.id, []).append(read)
        later: asyncio.Task[None] | None = None
        try:
            await while_asked(wait, self._ask(read, here=True))
            if not read.state.done:
                later = asyncio.create_task(self._go_on(read))
                self._later.add(later)
                later.add_done_callback(self._later.discard)
            await self._record(read)
        except BaseException:
            if later is not None:
                later.cancel()
            raise
        finally:
            if later is None:
                self._remove(read)
        return read.state

    async def look(self, job: Job, wait: float) -> JobState:
        """Ask nodes as `ask` does, for `wait` seconds at most, and record nothing.

        Raises:
            BrokerError: no node could be asked.
        """
        await self._nodes.client(REQUEST_TIMEOUT)
        read = _Read(job)
        self._reads.setdefault(job.id, []).append(read)
        try:
            await while_asked(wait, self._ask(read, here=True))
        finally:
            self._remove(read)
        return read.state

    def _remove(self, read: _Read) -> None:
        reads = self._reads[read.job.id]
        reads.remove(read)
        if not reads:
            del self._reads[read.job.id]

    async def _ask(self, read: _Read, *, here: bool) -> None:
        """Ask nodes again and again, until all have answered.

        Args:
            here: whether to return when those have that are here.
        """
        loop = asyncio.get_running_loop()
        asked = read.asked
        while True:
            read.wake.clear()
            self._pick(read)
            state = read.state
            again = self._ask_every + PER_NODE * len(state.tasks)
            read.missing = {each for each in state.unfinished if self._fleet.is_here(each)}
            if state.done or (here and not read.missing):
                return
            now = loop.time()
            due = [each for each in read.missing if now - asked.get(each, -1e9) >= again]
            if due:
                asked.update(dict.fromkeys(due, now))
                try:
                    await self._releases.send(
                        state, due, lambda machine: answer_subject(self._own, machine)
                    )
                except BaseException:
                    # Whoever waits no longer breaks off between two of them.
                    for machine in due:
                        asked.pop(machine, None)
                    raise
            # Thousands of answers wake it once. A timer costs less than a timeout, for each read.
            timer = loop.call_later(self._ask_every / 4, read.wake.set)
            try:
                await read.wake.wait()
            finally:
                timer.cancel()

    def _pick(self, read: _Read) -> None:
        """Give a read for any node to another one where its own is gone."""
        state, job = read.state, read.job
        if not job.for_any or state.done or any(map(self._fleet.is_here, state.tasks)):
            return
        machine = self._view.pick(job)
        member = None if machine is None else self._fleet.get(machine)
        if member is None:
            return
        if not read.recorded:
            plan = [PlannedNode(member.machine, member.hostname)]
            read.job = msgspec.structs.replace(job, plan=plan)
            read.state = JobState(read.job)
            return
        before = [NamedNode(task.machine, task.hostname) for task in state.tasks.values()]
        if before:
            read.apply(decision(job.id, TAKEN_BACK, time.time(), nodes=before), 300)
        nodes = [NamedNode(member.machine, member.hostname)]
        read.apply(decision(job.id, RELEASED, time.time(), nodes=nodes), 300)

    async def _go_on(self, read: _Read) -> None:
        """Record what comes after the caller was answered, until the job expires."""
        try:
            await within(max(0.0, read.job.expires - time.time()), self._ask(read, here=False))
            why = f"no answer before the job expired at {timestamp(read.job.expires)}"
            self._end_rest(read, EXPIRED, why)
            await self._insist(read)
        finally:
            self._remove(read)

    async def _insist(self, read: _Read) -> None:
        """Record what came late, however long that takes; some time after the job has expired
        another controller ends it.
        """
        while True:
            late = read.new
            try:
                await self._record(read)
                return
            except BrokerError as error:
                log.warning("late answers not recorded", job=read.job.id, reason=error.details)
            if time.time() > read.job.expires + SOON:
                return
            # What is stored twice counts once.
            read.new = late + read.new
            await asyncio.sleep(self._ask_every)

    def _end_rest(self, read: _Read, kind: str, why: str) -> None:
        for machine in list(read.state.unfinished):
            hostname = read.state.tasks[machine].hostname
            event = Event(read.job.id, machine, hostname, kind, time.time(), error=why)
            read.apply(event, 300)

    async def _record(self, read: _Read) -> None:
        """Record what is not recorded yet."""
        new, read.new = read.new, []
        first = None if read.recorded else read.job
        read.recorded = True
        parts = []
        for events, size in _chunks(new, LARGEST_GROUP if first is None else LARGEST_GROUP // 2):
            if first is not None:
                size += 100 * len(first.plan) + 1000
            parts.append((Answered(first, events), size))
            first = None
        if first is not None:
            parts.append((Answered(first), 100 * len(first.plan) + 1000))
        stored = [
            self._recorder.store(part, size, places=1 + len(part.events)) for part, size in parts
        ]
        await (stored[0] if len(stored) == 1 else asyncio.gather(*stored))


def _chunks(events: Iterable[tuple[Event, int]], largest: int) -> Iterator[tuple[list[Event], int]]:
    """Yield events in pieces that fit into a message each, with their bytes."""
    piece: list[Event] = []
    total = 0
    for event, size in events:
        if piece and (total + size > largest or len(piece) >= AT_ONCE):
            yield piece, total
            piece, total = [], 0
        piece.append(event)
        total += size
    if piece:
        yield piece, total
