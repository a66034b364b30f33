"""Reports of nodes: received by one controller, stored in groups, answered when they are stored."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog

from towline.broker.answers import BrokerRefused
from towline.broker.connection import Connection
from towline.broker.journal import Journal
from towline.broker.listener import Listener, Received
from towline.controller.budget import LOOKED_UP, Budget
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.recorder import Recorder
from towline.controller.jobs.state import JobState
from towline.controller.moment import LocalClock
from towline.controller.rollout.decisions import Decisions
from towline.errors import BrokerError
from towline.runtime.part import keep_running
from towline.runtime.pauses import within
from towline.trust.signing import Signer, answer_to
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.event import LED, RESULT_STATUS, STARTED, Event
from towline.wire.report import AGAIN, REFUSED, STORED, Receipt
from towline.wire.subjects import CONTROLLERS, REPORTS, REPORTS_AGAIN, inbox_prefix, machine_of

log = structlog.get_logger()

FOLDED_WITHIN = 1.0
"""Seconds that a report waits for its job to be folded here: it may come before that."""


LONGEST_REPLY = 512
_LITERAL = re.compile(r"[!-)+-=?-~]+")
"""A subject without a wildcard."""


def sender_of(received: Received) -> str:
    """Return where a node's message may be answered: below that node's own inbox.

    Raises:
        Unreadable: it names another subject, which may be anybody's, or is no node's.
    """
    reply, inbox = received.reply, f"{inbox_prefix(machine_of(received.subject))}."
    if len(reply) > LONGEST_REPLY or not reply.startswith(inbox) or not _LITERAL.fullmatch(reply):
        raise Unreadable("it names no inbox of the node's for the answer")
    return reply


class Asked(NamedTuple):
    """Where a report is answered, and what the receipt is signed for."""

    subject: str
    purpose: bytes


def _asked(received: Received) -> Asked:
    reply = sender_of(received)
    return Asked(reply, answer_to(received.subject, received.data, reply))


def _has_turn(state: JobState, machine: str) -> bool:
    """Return whether a node may report of a job: reads are answered in another way."""
    return machine in state.turns.under_way and not state.job.answered


class Reports:
    """Receives what nodes report.

    Args:
        nodes: the connection to the nodes' account.
        signer: signs the receipts.
        budget: what each node may send.
        clock: this machine's clocks.
        folded_within: seconds; see the constant.
    """

    def __init__(
        self,
        nodes: Connection,
        signer: Signer,
        journal: Journal,
        index: Index,
        jobs: OpenJobs,
        indexer: Indexer,
        decisions: Decisions,
        *,
        budget: Budget | None = None,
        clock: LocalClock | None = None,
        folded_within: float = FOLDED_WITHIN,
    ) -> None:
        self._nodes = nodes
        self._signer = signer
        self._index = index
        self._open = jobs
        self._indexer = indexer
        self._decisions = decisions
        self._budget = budget or Budget()
        self._clock = clock or LocalClock()
        self._folded_within = folded_within
        self._recorder = Recorder(journal.add_reports)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unknown: dict[str, asyncio.Event] = {}
        self._receipts: list[tuple[Asked, Receipt]] = []
        self._answered = asyncio.Event()
        receive = self._budget.limited(self.receive)
        self.first = Listener(nodes, REPORTS, receive, queue=CONTROLLERS)
        self.again = Listener(nodes, REPORTS_AGAIN, receive)
        jobs.subscribe(self._job_folded)

    def _job_folded(self, state: JobState, turned: frozenset[str] | None) -> None:
        known = self._unknown.pop(state.job.id, None)
        if known is not None:
            known.set()

    async def run(self) -> None:
        """Store reports, for ever. The listeners are run apart: only while this may store."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("recorder of reports", self._recorder.run))
            group.create_task(keep_running("receipts", self._send))

    def receive(self, received: Received) -> None:
        """Store a report with the next group, and answer it then.

        Raises:
            Unreadable: it can't be read, or could be answered nowhere.
        """
        reply = _asked(received)
        try:
            event = messages.report(received.subject, received.data)
        except Unreadable as error:
            # Said to the node too: it would report that for ever.
            self._answer(reply, REFUSED, reason=f"it can't be read: {error}"[:500])
            raise
        state = self._open.get(event.job)
        if state is None or not _has_turn(state, event.machine):
            self._spawn(self._late(event, reply, len(received.data)))
        else:
            self._take(state, event, reply, len(received.data))

    def _take(self, state: JobState, event: Event, reply: Asked, size: int) -> None:
        """Store a report of a task that is open; what its node is called says the plan."""
        event = msgspec.structs.replace(event, hostname=state.tasks[event.machine].hostname)
        if event.kind == LED:
            self._spawn(self._lead(state, event, reply))
        elif event.kind == STARTED and state.job.needs_leave:
            self._spawn(self._leave(state, event, reply))
        else:
            self._recorder.add(event, size, partial(self._stored, reply))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("report not processed", exc_info=error)

    # Answers

    def _stored(self, reply: Asked, error: Exception | None) -> None:
        if isinstance(error, BrokerRefused):
            # It is full, most likely: what a node reports is not lost for that.
            self._answer(reply, AGAIN, reason=f"{error.error} {error.details}")
        elif error is None:
            self._answer(reply, STORED)
        # Otherwise it isn't known: no answer, and another controller stores it.

    def _answer(self, reply: Asked, status: str, **fields: Any) -> None:
        receipt = Receipt(status, self._clock.wall(), **fields)
        self._receipts.append((reply, receipt))
        self._answered.set()

    async def _send(self) -> None:
        while True:
            await self._answered.wait()
            self._answered.clear()
            receipts, self._receipts = self._receipts, []
            sealed = await self._signer.seal_all(
                [(receipt, reply.purpose) for reply, receipt in receipts]
            )
            for (reply, _), receipt in zip(receipts, sealed, strict=True):
                await self._nodes.publish(reply.subject, receipt)

    # What takes longer

    async def _late(self, event: Event, reply: Asked, size: int) -> None:
        """Store a report whose task is not open, as far as is known here."""
        state = await self._find(event)
        if state is None or not _has_turn(state, event.machine):
            self._budget.spend(event.machine, LOOKED_UP)
            try:
                await self._indexer.catch_up()
            except BrokerError:
                return  # Not known, so not answered.
            state = self._open.get(event.job)
        if state is not None and _has_turn(state, event.machine):
            self._take(state, event, reply, size)
            return
        if state is not None and event.machine in state.unfinished:
            reason = "this node has no turn, or had it taken back"
            self._answer(reply, REFUSED, reason=reason, over=True)
            return
        if self._index.deleted(event.job) or not self._index.has_task(event.job, event.machine):
            self._answer(reply, REFUSED, reason=f"job {event.job} is not for this node", over=True)
        elif self._index.has_report(event):
            self._answer(reply, STORED, over=True)
        elif event.kind in RESULT_STATUS:
            # The task has ended otherwise for us; that it came to this stands in its timeline.
            self._recorder.add(event, size, partial(self._stored, reply))
        else:
            self._answer(reply, REFUSED, reason="the task has ended", over=True)

    async def _find(self, event: Event) -> JobState | None:
        """Return the open job that a report is of; one that is being folded in a moment, too."""
        state = self._open.get(event.job)
        if state is not None or self._index.status(event.job) is not None:
            return state
        known = self._unknown.setdefault(event.job, asyncio.Event())
        await within(self._folded_within, known.wait())
        self._unknown.pop(event.job, None)
        return self._open.get(event.job)

    async def _lead(self, state: JobState, event: Event, reply: Asked) -> None:
        """Answer a node that has found what all nodes of its job are given."""
        if event.machine not in state.turns.leading:
            self._answer(reply, REFUSED, reason="this node does not go first", lead=state.lead)
            return
        try:
            lead = await self._decisions.lead(event.job, event)
        except BrokerError as error:
            self._answer(reply, AGAIN, reason=f"{error.error} {error.details}")
            return
        self._answer(reply, REFUSED if lead is None else STORED, lead=lead)

    async def _leave(self, state: JobState, event: Event, reply: Asked) -> None:
        """Answer a node that asks whether it may begin."""
        try:
            leave = await self._decisions.leave(state, event.machine)
        except BrokerError as error:
            self._answer(reply, AGAIN, reason=f"{error.error} {error.details}")
            return
        over = not leave
        self._answer(reply, STORED if leave else REFUSED, leave=leave, over=over)
