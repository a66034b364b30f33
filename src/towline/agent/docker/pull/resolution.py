"""One digest for all nodes of a job: one of them resolves the tag, and all pull what it found.

What it found is stored on a subject that takes one message for good. A node that resolves takes its
turn on another one; a turn that brings nothing for a while, or a refusal, passes to the next node.
A node that can't resolve pulls the tag as any engine does: what that has brought is stored as well,
and where another digest has been by then the node pulls that.
"""

from __future__ import annotations

import asyncio
import random
import time

import structlog

from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import Hopeless
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.faults import classify
from towline.agent.docker.pull.words.registry import NO_BLOB, NO_MANIFEST
from towline.broker.answers import BrokerRefused, WrongLastSequence
from towline.broker.journal import Journal
from towline.errors import BrokerUnreachable, TaskFailed
from towline.units import timestamp
from towline.wire.event import LEADING, LED, NOBODY, Event, Lead

log = structlog.get_logger()

TURN = 10.0
"""Seconds after which a node that resolves has had its turn: it died, or its registry is slow."""
TURNS = 3
"""Turns that bring nothing before all resolve at once: then it isn't the node's fault, most likely,
and each node that fails has to say so."""
FIRST_LOOK = 0.1
LONGEST_LOOK = 2.0
"""Seconds between looks for the job's lead, at first and at most: a thousand nodes that wait for a
slow registry ask the broker some 700 times a second."""
RETRY_EVERY = 0.5
_GONE = (NO_BLOB, NO_MANIFEST)


class Resolution(Hook):
    """Has each attempt of a pull that is one of many pull what all pull.

    Args:
        engine: the engine that asks the registry (`GET /distribution/{name}/json`).
        turn: seconds after which a node that resolves has had its turn.
        first_look, longest_look: seconds between looks for the job's lead.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        machine: str,
        hostname: str,
        *,
        turn: float = TURN,
        first_look: float = FIRST_LOOK,
        longest_look: float = LONGEST_LOOK,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._machine = machine
        self._hostname = hostname
        self._turn = turn
        self._first_look = first_look
        self._longest_look = longest_look

    async def prepare(self, attempt: Attempt) -> None:
        """Find what to pull: the tag where it was this node's turn, and it could not resolve it."""
        order = attempt.order
        attempt.lead = order.lead
        if order.once is not None:
            attempt.lead = await self._lead(attempt, order.once)

    async def fetched(self, attempt: Attempt, digest: str | None) -> None:
        """Have all nodes pull what this one has got, unless another was first."""
        job = attempt.order.once
        while job is not None:
            try:
                if digest is None:
                    attempt.lead = await self._journal.lead(job)
                else:
                    attempt.lead = await self._record(job, digest)
                return
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("lead not recorded yet", job=job, reason=error.details)
                await asyncio.sleep(RETRY_EVERY)

    def explain(self, attempt: Attempt, error: TaskFailed) -> TaskFailed:
        """Say of a digest that is gone which node resolved the tag to it."""
        lead = attempt.lead
        if lead is None or classify(error, attempt.order.reference).row not in _GONE:
            return error
        return Hopeless(
            f"{attempt.order.name} was {lead.value} when {lead.hostname} resolved it for this "
            f"job at {timestamp(lead.time)}, and the registry does not have that any more; "
            f"another pull resolves the tag anew: {error.error}",
            Kind.MISSING,
        )

    async def _lead(self, attempt: Attempt, job: str) -> Lead | None:
        """Return the job's lead; the node of this agent may become that.

        Returns:
            None where this node has had its turn, and could not resolve the tag.
        """
        pause = self._first_look
        while True:
            try:
                found = await self._journal.lead(job)
                if found is not None:
                    return found
                if await self._take_turn(job):
                    return await self._resolve(attempt, job)
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("lead not known yet", job=job, reason=error.details)
                await asyncio.sleep(RETRY_EVERY)
                continue
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, self._longest_look)

    async def _take_turn(self, job: str) -> bool:
        """Take this node's turn to resolve the tag; return False while it is another's.

        Raises:
            BrokerUnreachable, BrokerRefused: it isn't known.
        """
        last = await self._journal.last_turn(job)
        failures = 0
        if last is not None:
            failures = _failures(last.event)
            if failures >= TURNS:
                return True
            own = self._is_own(last.event)
            if last.event.error is None and not own and last.age < self._turn:
                return False
            failures += last.event.error is None and not own
        return await self._store_turn(job, failures, None, 0 if last is None else last.sequence)

    async def _store_turn(self, job: str, failures: int, error: str | None, last: int) -> bool:
        data = {"machine": self._machine, "hostname": self._hostname, "failures": failures}
        event = Event(job, NOBODY, "", LEADING, time.time(), data=data, error=error)
        try:
            await self._journal.decide(event, last)
        except WrongLastSequence:
            return False
        return True

    async def _resolve(self, attempt: Attempt, job: str) -> Lead | None:
        name = attempt.order.name
        try:
            digest = await self._engine.digest(name, attempt.auth)
        except TaskFailed as error:
            log.info("tag not resolved", job=job, image=name, reason=error.error)
            await self._give_up(job, f"{self._hostname}: {error.error}")
            return None
        return await self._record(job, digest)

    async def _record(self, job: str, digest: str) -> Lead:
        """Store what this node has found; return what is stored then."""
        log.info("tag resolved", job=job, digest=digest)
        lead = Lead(digest, self._hostname, self._journal.jetstream.clock.now())
        event = Event(job, NOBODY, "", LED, lead.time, data=lead.data)
        return await self._journal.record_lead(event)

    async def _give_up(self, job: str, error: str) -> None:
        """Let another node have its turn, where this one has it still."""
        last = await self._journal.last_turn(job)
        if last is None:
            return
        if self._is_own(last.event) and last.event.error is None:
            await self._store_turn(job, _failures(last.event) + 1, error, last.sequence)

    def _is_own(self, turn: Event) -> bool:
        return (turn.data or {}).get("machine") == self._machine


def _failures(turn: Event) -> int:
    """Return how many turns have brought nothing, up to one."""
    failures = (turn.data or {}).get("failures")
    return failures if isinstance(failures, int) else 0
