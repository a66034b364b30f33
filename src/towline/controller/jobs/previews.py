"""Dry runs: what a request for a job would come to. Nothing is stored, and no node does anything.

Who would do it, who not and why, is known here, from what a job would be planned by. What else
could be foreseen only nodes know: where an operation says how they are asked for it, they are, as
for a read that nobody records.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from towline.controller.fleet import Fleet
from towline.controller.jobs.reads import Reads
from towline.controller.jobs.state import Task
from towline.controller.jobs.submission import Submission
from towline.controller.jobs.submit import Submitter
from towline.controller.rollout.releases import LARGEST_BODY
from towline.controller.rollout.rule import Limits, limits
from towline.controller.rollout.view import FleetView
from towline.signature.preview import Preview
from towline.units import timestamp
from towline.wire.event import Lead
from towline.wire.job import READ, TURN, WAITS, Job, PlannedNode, new_id

ASKED_FOR = 5.0
"""Seconds that nodes have for saying what they foresee."""


class Foresight(msgspec.Struct):
    """What is foreseen of one node; see `towline.endpoints.dry_run.DryRunResult`."""

    machine: str
    hostname: str
    status: str
    reason: str | None = None
    plan: dict[str, object] | None = None
    not_told: str | None = None


class Forecast(msgspec.Struct, frozen=True):
    """What a request would come to.

    Attributes:
        job: what would be made of it.
        waves: what its options for waves come to; None where it has none.
        made: the id of the job that its key has made already.
    """

    job: Job
    nodes: list[Foresight]
    waves: Limits | None = None
    made: str | None = None


class Previews:
    """Says what requests would come to.

    Args:
        asked_for: seconds; see the constant.
    """

    def __init__(
        self, submitter: Submitter, reads: Reads, fleet: Fleet, *, asked_for: float = ASKED_FOR
    ) -> None:
        self._submitter = submitter
        self._reads = reads
        self._fleet = fleet
        self._view = FleetView(fleet)
        self._asked_for = asked_for

    async def foresee(self, request: Submission, *, wait: float) -> Forecast:
        """Return what would become of a request, which is refused as if it were made.

        Args:
            wait: seconds that it may take to ask nodes at most; 0 for not to ask them.
        """
        job, plan, made = await self._submitter.foresee(request)
        if made is not None:
            why = f"the Idempotency-Key has made job {made} already"
            nodes = [Foresight(each.machine, each.hostname, "skipped", why) for each in plan]
        else:
            nodes = [self._node(job, each) for each in plan]
        if made is None and (preview := request.operation.preview) is not None and wait > 0:
            await self._ask(preview, job, nodes, self._fleet.clock.running() + wait)
        waves = None if job.waves is None else limits(job.waves, job.nodes)
        return Forecast(job, nodes, waves, made)

    def _node(self, job: Job, planned: PlannedNode) -> Foresight:
        """Return what is foreseen of a node by what is known of it here."""
        machine, hostname = planned.machine, planned.hostname
        if planned.state != WAITS:
            # Of a job for any node another one does it.
            fails = planned.state == "failed" and not job.for_any
            status = "would_fail" if fails else "skipped"
            return Foresight(machine, hostname, status, planned.reason)
        member = self._fleet.get(machine)
        if member is None or not member.here:
            away = "not reachable" if member is None else member.absence
            until = f"runs when it returns, until {timestamp(job.expires)}"
            if job.for_any:
                until = "another one would do it unless it returns first"
            return Foresight(machine, hostname, "pending", f"{away}, {until}")
        if not member.can(job.requires):
            return Foresight(machine, hostname, "skipped", f"this node has no {job.requires}")
        trouble = member.trouble(job.requires) or None
        if not job.for_any:
            return Foresight(machine, hostname, "would_run", trouble)
        return Foresight(machine, hostname, "skipped" if trouble else "could_run", trouble)

    async def _ask(
        self, preview: Preview, job: Job, nodes: Sequence[Foresight], until: float
    ) -> None:
        """Ask those that would do it what they foresee.

        Args:
            until: seconds since the machine was started, when it is to be over.
        """
        able = {node.machine: node for node in nodes if node.status == "would_run"}
        if job.for_any:
            # One of them would do it, and one says what that is.
            picked = self._view.pick(job)
            able = {node.machine: node for node in nodes if node.machine == picked}
        if not able:
            return
        if job.leads and preview.finds is not None:
            first = min(able.values(), key=lambda node: node.reason is not None)
            del able[first.machine]
            await self._told(preview, job, [first], until)
            found = (first.plan or {}).get(preview.finds)
            if isinstance(found, str):
                lead = Lead(found, first.hostname, time.time())
                job = msgspec.structs.replace(job, lead=lead)
        if able:
            await self._told(preview, job, list(able.values()), until)

    async def _told(
        self, preview: Preview, job: Job, nodes: Sequence[Foresight], until: float
    ) -> None:
        within = min(self._asked_for, until - self._fleet.clock.running())
        if within <= 0:
            # The node that goes first took it all.
            for node in nodes:
                node.not_told = "no time was left to ask it"
            return
        now = time.time()
        question = Job(
            id=new_id(),
            operation=preview.name,
            parameters=job.parameters,
            target="_all",
            caller=job.caller,
            created=now,
            expires=now + within,
            effect=READ,
            plan=[PlannedNode(node.machine, node.hostname, TURN) for node in nodes],
            trace=job.trace,
            nodes=len(nodes),
            lead=job.lead,
            requires=job.requires,
        )
        if len(msgspec.json.encode(question.order)) > LARGEST_BODY:
            # Nodes would ask for it by its id, which nobody knows.
            for node in nodes:
                node.not_told = "the request is too large for nodes to be asked about"
            return
        state = await self._reads.look(question, within)
        for node in nodes:
            _take(node, state.tasks[node.machine], within)


def _take(node: Foresight, told: Task, within: float) -> None:
    """Take what a node has said."""
    if told.status == "ok" and isinstance(told.data, dict):
        node.plan = told.data
    elif told.status == "failed":
        node.status, node.reason = "would_fail", told.error
    elif told.status == "skipped":
        # Of another version, most likely: that can't be asked.
        node.not_told = told.reason
    else:
        node.not_told = f"no answer within {within:.2g} s"
