"""Making jobs: from a request to what stands in the journal."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from towline.broker.journal import Journal
from towline.controller.credentials.jobs import JobCredentials
from towline.controller.fleet import Fleet, Member
from towline.controller.jobs.idempotency import Keys, digest
from towline.controller.jobs.index import Index
from towline.controller.jobs.lookup import Lookup
from towline.controller.jobs.state import JobState
from towline.controller.jobs.waiting import Waiting
from towline.errors import BrokerUnreachable, Conflict, InvalidRequest, NoNodes
from towline.operation import Effect, Operation
from towline.units import timestamp
from towline.wire.credential import Credential
from towline.wire.event import NOBODY, PLANNED, Event, Lead, PlannedNode
from towline.wire.job import SOON, Job, new_id
from towline.wire.rollout import Waves
from towline.wire.subjects import (
    ALL_SUBJECT,
    any_subject,
    label_subject,
    node_subject,
    wave_subject,
)
from towline.wire.target import ALL, ANY, Hostname, Label, Target


class Submission(msgspec.Struct, frozen=True):
    """A request for a job.

    Attributes:
        parameters: the operation's, validated, as plain data.
        caller: the token's subject.
        expires: seconds within which a node must begin it; None for what is usual.
        trace: the caller's `traceparent`.
        key: the caller's `Idempotency-Key`.
        retries: the job that this is to retry, and only on the machines `only`.
        waves: how its nodes get their turns; None for all at once.
        credential: what the request brought for the place that the operation asks.
        lead: that of the job that this is to retry.
    """

    operation: Operation[..., Any]
    parameters: dict[str, Any]
    target: Target
    caller: str
    expires: float | None = None
    trace: str | None = None
    key: str | None = None
    retries: str | None = None
    only: frozenset[str] | None = None
    waves: Waves | None = None
    credential: Credential | None = None
    lead: Lead | None = None

    @property
    def digest(self) -> str:
        """What is the same only for the same request: it says whether a key came with another."""
        parts: list[object] = [self.operation.name, self.parameters, str(self.target), self.expires]
        # What a request doesn't have stays out: a controller that knows less of requests digests
        # those that have no more just so.
        if self.waves is not None:
            parts.append(self.waves)
        if self.retries is not None:
            parts.append({"retries": self.retries})
        return digest(*parts)


class _Plan(msgspec.Struct):
    """Which nodes a job is for.

    Attributes:
        members: all of them.
        refused: by machine id, with the status and the reason: those that will not run it.
    """

    members: list[Member]
    refused: dict[str, tuple[str, str]] = {}

    def nodes(self) -> list[PlannedNode]:
        planned = []
        for member in self.members:
            status, reason = self.refused.get(member.machine, ("failed", None))
            planned.append(PlannedNode(member.machine, member.hostname, reason, status))
        return planned


class Submitter:
    """Makes jobs of requests, and waits for them as long as the caller does.

    Args:
        expires: seconds within which a job that is kept for nodes that are away must be begun.
    """

    def __init__(
        self,
        journal: Journal,
        index: Index,
        fleet: Fleet,
        keys: Keys,
        credentials: JobCredentials,
        waiting: Waiting,
        lookup: Lookup,
        *,
        expires: float,
    ) -> None:
        self._journal = journal
        self._index = index
        self._fleet = fleet
        self._keys = keys
        self._credentials = credentials
        self._waiting = waiting
        self._lookup = lookup
        self._expires = expires

    async def submit(self, request: Submission, *, wait: float) -> JobState:
        """Make a job and wait up to `wait` seconds for the nodes that are here.

        Raises:
            InvalidRequest, NoNodes: the target means no node that could do it.
            Conflict: the request's key came with another request before.
            BrokerUnreachable: the job may not have been stored; `job_id` says which.
        """
        if request.key is not None:
            # Before the target: what it means may have changed since the job was made.
            kept = await self._keys.find(request.caller, request.key, request.digest)
            if kept is not None and (found := await self._made(request, kept, wait)) is not None:
                return found
        plan = self._plan(request)
        job = self._job(request, plan)
        if request.key is not None:
            kept = await self._keys.reserve(request.caller, request.key, request.digest, job.id)
            if kept != job.id:
                if (found := await self._made(request, kept, wait)) is not None:
                    return found
                # Whoever reserved the key didn't come to make the job.
                job = msgspec.structs.replace(job, id=kept)
        state = JobState(job, None if request.target == ANY else plan.nodes())

        async def append() -> None:
            if request.credential is not None:
                # Before the job: no node may ask for it before it is there.
                await self._credentials.keep(job, request.credential)
            await self._append(job, request, plan)

        await self._waiting.wait(state, request.operation.requires, wait, append)
        self._lookup.explain(state)
        return state

    def _plan(self, request: Submission) -> _Plan:
        target, operation = request.target, request.operation
        if request.waves is not None and not (target == ALL or isinstance(target, Label)):
            given = ", ".join(msgspec.to_builtins(request.waves))
            raise InvalidRequest(
                f"{str(target)!r} is one node, and {given} says how several get their turns.",
                f"Leave out {given}, or name several nodes: _all, or a label such as group:web",
            )
        plan = _Plan(self._fleet.resolve(target), {})
        if request.only is not None:
            plan.members = [member for member in plan.members if member.machine in request.only]
            if not plan.members:
                raise InvalidRequest(
                    f"None of the nodes to retry on is meant by {str(target)!r} any more.",
                    "Name another with target_hostname",
                )
        if operation.effect is not Effect.READ:
            for member in plan.members:
                if member.drained is not None:
                    reason = f"drained since {timestamp(member.drained)}"
                    plan.refused[member.machine] = ("skipped", reason)
            if len(plan.refused) == len(plan.members):
                member = plan.members[0]
                raise InvalidRequest(
                    f"{member.hostname} is {plan.refused[member.machine][1]}: it takes no work."
                    if len(plan.members) == 1
                    else f"All nodes that {str(target)!r} means are drained.",
                    f"POST /agent/{member.hostname}/undrain lets it work again",
                )
        if request.credential is not None:
            _refuse_old(plan)
        if operation.effect is Effect.CONVERGE:
            return plan
        if not any(member.here for member in plan.members if member.machine not in plan.refused):
            member = plan.members[0]
            which = (
                f"{member.hostname} is {member.absence}"
                if len(plan.members) == 1
                else f"No node that {str(target)!r} means is reachable"
            )
            raise NoNodes(
                f"{which}, and {operation.name} is not kept for nodes that are away.",
                f"{member.hostname} is {member.absence}",
            )
        for member in plan.members:
            if not member.here:
                reason = f"{member.absence}; not kept for nodes that are away"
                plan.refused.setdefault(member.machine, ("failed", reason))
        return plan

    def _job(self, request: Submission, plan: _Plan) -> Job:
        now = time.time()
        # With waves it may be long until the last node's turn; from then on it has its own time.
        kept = request.operation.effect is Effect.CONVERGE or request.waves is not None
        usual = self._expires if kept else SOON
        refused = plan.refused
        if request.target == ANY:
            # One that is away asks for no work; one that is drained may not know it yet.
            refused = {machine: why for machine, why in refused.items() if why[0] == "skipped"}
        return Job(
            id=new_id(),
            operation=request.operation.name,
            parameters=request.parameters,
            target=str(request.target),
            caller=request.caller,
            created=now,
            expires=now + (usual if request.expires is None else request.expires),
            trace=request.trace,
            excluded=list(refused),
            only=None if request.only is None else [m.machine for m in plan.members],
            retries=request.retries,
            waves=request.waves,
            credential=request.credential is not None,
            nodes=1 if request.target == ANY else len(plan.members) - len(plan.refused),
            lead=request.lead,
        )

    async def _made(self, request: Submission, job_id: str, wait: float) -> JobState | None:
        """Return the job that a request's key stands for, None where it was not made yet."""
        found = await self._lookup.find(job_id, wait=wait)
        if found is None and self._index.deleted(job_id):
            raise Conflict(
                f"The job of the Idempotency-Key {request.key!r} was deleted.",
                "Use another key to make another job",
            )
        return None if found is None else found[0]

    async def _append(self, job: Job, request: Submission, plan: _Plan) -> None:
        target = request.target
        try:
            if target == ALL or isinstance(target, Label):
                # Before the job: a job whose plan is missing could never be said to be done,
                # while a plan without its job is noticed by nobody.
                event = Event(job.id, NOBODY, "", PLANNED, job.created, nodes=plan.nodes())
                await self._journal.add_event(event)
            await self._journal.add_job(job, _subject(job, request, plan))
        except BrokerUnreachable as error:
            raise BrokerUnreachable(
                error.error,
                f"{error.details}; whether job {job.id} was stored is not known, "
                f"GET /job/{job.id} says it when the broker is back",
                job_id=job.id,
            ) from error


def _refuse_old(plan: _Plan) -> None:
    """Refuse nodes whose agents can't use the credential of a request.

    Raises:
        InvalidRequest: there are no others.
    """
    for member in plan.members:
        if not member.registration.public_key:
            reason = f"its agent ({member.registration.version}) takes no credentials: update it"
            plan.refused.setdefault(member.machine, ("skipped", reason))
    if len(plan.refused) == len(plan.members):
        member = plan.members[0]
        raise InvalidRequest.because(
            "No node that is meant can take the credential of this request",
            f"{member.hostname}: {plan.refused[member.machine][1]}",
        )


def _subject(job: Job, request: Submission, plan: _Plan) -> str:
    """Return the subject that brings a job to its nodes, or to their controller."""
    target = request.target
    if job.waves is not None:
        return wave_subject(job.id)
    if target == ANY:
        return any_subject(request.operation.requires)
    if target == ALL:
        return ALL_SUBJECT
    if isinstance(target, Label):
        return label_subject(target)
    assert isinstance(target, Hostname)
    return node_subject(plan.members[0].machine)
