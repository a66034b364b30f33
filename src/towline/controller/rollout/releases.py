"""Releases: tasks given to their nodes, with all that a node needs for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec
import structlog

from towline.broker.connection import Connection
from towline.controller.fleet import Fleet
from towline.controller.jobs.state import JobState
from towline.controller.moment import LocalClock
from towline.controller.rollout.turns import Turn
from towline.trust.signing import Signer, order_for
from towline.wire.cooldown import Cooldown
from towline.wire.credential import Supply
from towline.wire.fact_references import refers
from towline.wire.job import Job
from towline.wire.release import FACTS, Cancellation, Order, Release
from towline.wire.subjects import task_subject

log = structlog.get_logger()

LARGEST_BODY = 32 * 1024
"""Bytes of a job up to which every node is sent it; a larger one each node fetches for itself."""
SLICE = 200
"""Messages that are sent without a break: other requests have their turn in between."""


class Releases:
    """Composes what nodes are sent of jobs, and sends it.

    Args:
        nodes: the connection to the nodes' account.
        signer: signs what is sent.
        supplies: returns the credentials that machines are given for a job.
        cooldown: returns the cooldown that a job has to mind.
        clock: this machine's clocks.
    """

    def __init__(
        self,
        nodes: Connection,
        signer: Signer,
        fleet: Fleet,
        supplies: Callable[[Job, Sequence[str]], Awaitable[dict[str, Supply]]],
        cooldown: Callable[[Job], Cooldown | None],
        *,
        clock: LocalClock | None = None,
    ) -> None:
        self._nodes = nodes
        self._signer = signer
        self._fleet = fleet
        self._supplies = supplies
        self._cooldown = cooldown
        self._clock = clock or LocalClock()

    async def compose(
        self, state: JobState, machines: Sequence[str], *, whole: bool = False
    ) -> dict[str, Release]:
        """Return what those machines are sent of a job.

        Args:
            whole: whether the job is in it however large it is.
        """
        job = state.job.order
        try:
            cooldown = self._cooldown(job)
        except ValueError as error:
            # Of another version, most likely: the node says what it makes of it.
            log.warning("cooldown not known", job=job.id, reason=str(error))
            cooldown = None
        supplies = await self._supplies(job, machines)
        sent: Job | None = job
        if not whole and len(msgspec.json.encode(job)) > LARGEST_BODY:
            sent = None
        needs = [FACTS] if refers(job.parameters) else []
        found = {}
        for machine in machines:
            turn = state.turns.under_way.get(machine) or Turn(0.0)
            found[machine] = Release(
                job.id,
                machine,
                self._clock.wall(),
                job.expires if turn.until is None else min(job.expires, turn.until),
                sent,
                leave=job.needs_leave,
                leads=machine in state.turns.leading and state.lead is None,
                lead=state.lead,
                supply=supplies.get(machine),
                cooldown=cooldown,
                needs=needs,
            )
        return found

    async def send(
        self,
        state: JobState,
        machines: Iterable[str],
        reply: Callable[[str], str] = lambda machine: "",
    ) -> None:
        """Send machines their task, or its cancellation where the job is cancelled.

        Args:
            reply: returns the subject on which a machine answers; "" for none.
        """
        wanted = list(machines)
        if state.cancelled is not None:
            await self._send({each: self._cancellation(state, each) for each in wanted})
            return
        for begin in range(0, len(wanted), SLICE):
            batch = wanted[begin : begin + SLICE]
            await self._send(await self.compose(state, batch), reply)

    def _cancellation(self, state: JobState, machine: str) -> Cancellation:
        job = state.job
        who = (state.cancelled or "").removeprefix("cancelled by ")
        return Cancellation(job.id, machine, who, self._clock.wall(), job.created, job.expires)

    async def _send(
        self, orders: Mapping[str, Order], reply: Callable[[str], str] = lambda machine: ""
    ) -> None:
        wanted: list[tuple[str, str, Order]] = []
        for machine, order in orders.items():
            member = self._fleet.get(machine)
            if member is not None and member.start:
                wanted.append((task_subject(machine, member.start), reply(machine), order))
        sealed = await self._signer.seal_all(
            [(order, order_for(subject, answered)) for subject, answered, order in wanted]
        )
        for number, ((subject, answered, _), message) in enumerate(
            zip(wanted, sealed, strict=True), 1
        ):
            await self._nodes.publish(subject, message, answered)
            if number % SLICE == 0:
                await asyncio.sleep(0)
