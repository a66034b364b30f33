"""Making jobs: from a request to what stands in the journal."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from towline.broker.answers import BrokerRefused
from towline.broker.journal import FULL, Journal
from towline.controller.auth import Caller
from towline.controller.credentials.jobs import JobCredentials
from towline.controller.fleet import Fleet
from towline.controller.jobs.idempotency import BEHIND, Keys, check_time
from towline.controller.jobs.index import Index
from towline.controller.jobs.lookup import Lookup
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.reads import Reads
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submission import Submission
from towline.controller.jobs.waiting import Waiting
from towline.controller.member import Member
from towline.controller.rollout.rule import decide
from towline.controller.rollout.runner import Runner
from towline.controller.rollout.view import FleetView
from towline.errors import BrokerUnreachable, Conflict, InvalidRequest, NoNodes, TowlineError
from towline.operation import AnyOperation, Effect, Operation
from towline.options import RunOptions
from towline.runtime.pauses import within
from towline.units import timestamp
from towline.wire.event import NOBODY
from towline.wire.job import CANARY, LEADS, SOON, TURN, WAITS, Job, PlannedNode, new_id, own_id
from towline.wire.target import Target, is_any, is_several

NOTHING: Mapping[str, Callable[[frozenset[str]], list[str]]] = {}
SETTLED_WITHIN = 15.0
"""Seconds that a request waits for a controller that was just started to know who is here: longer
than nodes have until their absence is believed."""

FILLED_FOR = 1800.0
"""Seconds for which what a controller knows is good enough to be gone by: nodes that have not begun
by then, as they waited for their turn, don't begin."""


class Submitter:
    """Makes jobs of requests.

    Args:
        expires: seconds within which a job that is kept for nodes that are away must be begun.
        retention: seconds that the journal keeps jobs.
        settled: awaited before any request asks who is here.
        check: raises `Forbidden` for an operation that is not to be done with its parameters.
        ahead: looks up what a job's nodes will be given, within a block.
        known: returns what this controller adds, for some machines, to parameters that are marked
            as `Filled`, by the name in that mark; raises a `TowlineError` where that isn't known
            yet.
        settled_within: seconds; see the constant.
    """

    def __init__(
        self,
        journal: Journal,
        index: Index,
        jobs: OpenJobs,
        fleet: Fleet,
        keys: Keys,
        credentials: JobCredentials,
        waiting: Waiting,
        lookup: Lookup,
        runner: Runner,
        reads: Reads,
        *,
        expires: float,
        retention: float,
        settled: asyncio.Event,
        check: Callable[[AnyOperation, Mapping[str, Any]], None],
        ahead: Callable[[Job], AbstractContextManager[None]],
        known: Mapping[str, Callable[[frozenset[str]], list[str]]] = NOTHING,
        settled_within: float = SETTLED_WITHIN,
    ) -> None:
        self._journal = journal
        self._index = index
        self._open = jobs
        self._fleet = fleet
        self._view = FleetView(fleet)
        self._keys = keys
        self._credentials = credentials
        self._waiting = waiting
        self._lookup = lookup
        self._runner = runner
        self._reads = reads
        self._expires = expires
        self._retention = retention
        self._settled = settled
        self._check = check
        self._ahead = ahead
        self._known = known
        self._settled_within = settled_within

    def submission(
        self,
        operation: Operation[..., Any],
        parameters: dict[str, Any],
        target: Target,
        caller: Caller,
        options: RunOptions,
        *,
        trace: str | None,
    ) -> Submission:
        """Return a request for a job, to be made or foreseen; see `Submission`."""
        submission = Submission.of(operation, parameters, target, caller, options)
        return msgspec.structs.replace(submission, trace=trace)

    async def submit(self, request: Submission, *, wait: float) -> JobState:
        """Make a job and wait up to `wait` seconds for the nodes that are here.

        Raises:
            InvalidRequest, NoNodes: the target means no node that could do it.
            Forbidden: what is asked is not wholly inside of what the caller may do, or nobody may.
            Conflict: the request's key came with another request before.
            BrokerUnreachable: the job may not have been stored; `job_id` says which.
        """
        # Before the target: what it means may have changed since the job was made.
        if (found := await self._kept(request, wait)) is not None:
            return found
        job, _ = await self._intended(request)
        if request.key is not None:
            kept = await self._keys.reserve(request.caller, request.key, request.digest, job.id)
            if kept is not None:
                if (found := await self._made(request, kept, wait)) is not None:
                    return found
                # Whoever reserved the key didn't come to make the job.
                job = msgspec.structs.replace(job, id=kept)
        if job.answered:
            state = await self._reads.ask(job, wait)
        elif request.key is not None:
            # Of several attempts under one key another may be stored by now, with another plan.
            await self._make(JobState(job), request)
            state, _ = await self._lookup.get(job.id, wait=wait)
            self._lookup.check(state, request.bounds)
            return state
        else:
            state = JobState(job)
            await self._waiting.wait(state, wait, lambda: self._make(state, request))
        self._lookup.explain(state)
        return state

    async def foresee(self, request: Submission) -> tuple[Job, list[PlannedNode], str | None]:
        """Return the job that a request would make; raises as `submit`, and stores nothing.

        Returns:
            the job; the nodes that it would be for, each waiting or with the end that it would have
            from the beginning; and the id of the job that its key has made already, None for none.
            Of that one it is what it was made for.
        """
        made = await self._kept(request, 0.0)
        if made is None:
            return *await self._intended(request), None
        nodes = [
            PlannedNode(task.machine, task.hostname)
            for task in made.tasks.values()
            if task.machine != NOBODY
        ]
        return made.job, nodes, made.job.id

    async def _intended(self, request: Submission) -> tuple[Job, list[PlannedNode]]:
        """Return a request's job, and the nodes that it is for before any has its turn."""
        self._check(request.operation, request.parameters)
        await self._until_settled()
        plan = self._plan(request)
        machines = frozenset(node.machine for node in plan)
        parameters = request.operation.signature.filled(
            request.parameters,
            {name: functools.partial(more, machines) for name, more in self._known.items()},
        )
        return self._job(msgspec.structs.replace(request, parameters=parameters), plan), plan

    async def _until_settled(self) -> None:
        """Wait until it is known who is here; raises `BrokerUnreachable` if that takes too long."""
        if not await within(self._settled_within, self._settled.wait()):
            raise BrokerUnreachable(
                "This controller does not know yet which nodes are here: "
                "try again in a few seconds.",
                "It was started a moment ago, or the broker is out of reach",
            )

    async def _make(self, state: JobState, request: Submission) -> None:
        """Store a job, and send its first turns.

        Args:
            state: the job; what is folded of it meanwhile is applied to it.
        """
        job = state.job
        if request.credential is not None:
            # Before the job: it may be sent to its nodes as soon as it is there.
            await self._credentials.keep(job, request.credential)
        with self._ahead(job):
            try:
                await self._journal.add_job(job)
                if request.key is not None:
                    # Perhaps another attempt came first: only the journal knows.
                    await self._lookup.get(job.id)
            except BrokerRefused as error:
                if error.number != FULL:
                    raise
                raise TowlineError(
                    "The journal is full: no job is taken until it has room.",
                    f"{error.details}; jobs leave it by age (retention): give it more room "
                    "(retention-size, and the broker's disk), or wait",
                ) from error
            except BrokerUnreachable as error:
                raise BrokerUnreachable(
                    error.error,
                    f"{error.details}; whether job {job.id} was stored is not known, "
                    f"GET /job/{job.id} says it when the broker is back",
                    job_id=job.id,
                ) from error
            if request.key is not None:
                made = self._open.get(job.id)
            else:
                # It is stored: what is folded here a moment later is the same. But for one that was
                # cancelled before its acknowledgement came, and is folded to its end.
                made = None if state.done else self._open.add(job)
            if made is not None:
                await self._runner.first(made)

    def _plan(self, request: Submission) -> list[PlannedNode]:
        """Return the nodes that a job is for, each waiting or with the end that it has already.

        Of a job for any node those are all that it could be for.
        """
        target, operation = request.target, request.operation
        if request.waves is not None and not is_several(target):
            given = ", ".join(f"`{name}`" for name in msgspec.to_builtins(request.waves))
            raise InvalidRequest(
                f"{str(target)!r} is one node, and {given} says how several get their turns.",
                f"Leave out {given}, or name several nodes: _all, or a label such as group:web",
            )
        if request.only is None:
            members = self._fleet.resolve(target, request.seen)
        else:
            members = self._fleet.still(target, request.only)
            if not members:
                raise InvalidRequest(
                    f"None of the nodes to retry on is meant by {str(target)!r} any more.",
                    "Name another with `target_hostname`",
                )
        members = self._permitted(request, members)
        refused: dict[str, tuple[str, str | None]] = {}
        if operation.effect is not Effect.READ:
            for member in members:
                if member.drained is not None:
                    reason = f"drained since {timestamp(member.drained)}"
                    refused[member.machine] = ("skipped", reason)
            if len(refused) == len(members):
                member = members[0]
                raise InvalidRequest(
                    f"{member.hostname} is {refused[member.machine][1]}: it takes no work."
                    if len(members) == 1
                    else f"All nodes that {str(target)!r} means are drained.",
                    f"POST /agent/{member.hostname}/undrain lets it work again",
                )
        if request.credential is not None:
            _refuse_old(members, refused)
        if operation.effect is not Effect.CONVERGE:
            self._refuse_away(request, members, refused)
        return [
            PlannedNode(
                member.machine, member.hostname, *refused.get(member.machine, (WAITS, None))
            )
            for member in members
        ]

    def _permitted(self, request: Submission, members: list[Member]) -> list[Member]:
        """Return the nodes that a job is for; of one for any node those that the caller may use.

        Raises:
            Forbidden: the caller may not use all of them, or none.
        """
        bounds, asked = request.bounds, (request.operation, request.parameters)
        if bounds.everywhere:
            return members
        if not is_any(request.target):
            bounds.check(members, *asked)
            return members
        found = bounds.inside(members, *asked)
        if not found:
            raise bounds.refusal("no registered node is inside of that")
        return found

    def _refuse_away(
        self, request: Submission, members: list[Member], refused: dict[str, tuple[str, str | None]]
    ) -> None:
        """Refuse nodes that are away, for which such a job is not kept.

        Raises:
            NoNodes: there are no others.
        """
        if not any(member.here for member in members if member.machine not in refused):
            member = members[0]
            which = (
                f"{member.hostname} is {member.absence}"
                if len(members) == 1
                else f"No node that {str(request.target)!r} means is reachable"
            )
            raise NoNodes(
                f"{which}, and {request.operation.label} is not kept for nodes that are away.",
                f"{member.hostname} is {member.absence}",
            )
        for member in members:
            if not member.here:
                reason = f"{member.absence}; not kept for nodes that are away"
                refused.setdefault(member.machine, ("failed", reason))

    def _lasts(self, request: Submission) -> float:
        """Return within how many seconds nodes must begin a job; raises `InvalidRequest`."""
        operation, most = request.operation, self._retention
        cause = f"the journal keeps jobs for {most:g} s"
        mend = "give a shorter `expires`, or controllers a longer retention"
        if operation.signature.is_filled and most > FILLED_FOR:
            most = FILLED_FOR
            cause = f"{operation.label} goes by what the controller knows when the job is made"
            mend = f"give an `expires` of at most {most:g} s, and retry what has not begun by then"
        # With waves it may be long until the last node's turn; from then on it has its own time.
        kept = operation.effect is Effect.CONVERGE or request.waves is not None
        if request.expires is None:
            return min(most, self._expires if kept else SOON)
        if request.expires > most:
            what = f"The job would be kept for {request.expires:g} s"
            raise InvalidRequest.because(what, cause, mend)
        return request.expires

    def _job(self, request: Submission, plan: list[PlannedNode]) -> Job:
        operation = request.operation
        now = time.time()
        nodes = 1 if is_any(request.target) else sum(node.state == WAITS for node in plan)
        job = Job(
            id=self._id(request, now),
            operation=operation.name,
            parameters=request.parameters,
            target=str(request.target),
            caller=request.caller,
            created=now,
            expires=now + self._lasts(request),
            effect=operation.effect.value,
            trace=request.trace,
            retries=request.retries,
            waves=request.waves,
            credential=request.credential is not None,
            nodes=nodes,
            leads=nodes > 1 and request.lead is None and operation.leads_for(request.parameters),
            lead=request.lead,
            requires=operation.requires,
            within=request.bounds.patterns(operation, request.parameters)
            if is_any(request.target)
            else [],
        )
        return msgspec.structs.replace(job, plan=first_turns(job, plan, self._fleet, self._view))

    def _id(self, request: Submission, now: float) -> str:
        own = None if request.key is None else own_id(request.key)
        if own is None:
            return new_id()
        check_time(own, now, min(BEHIND, self._retention))
        return own

    async def _kept(self, request: Submission, wait: float) -> JobState | None:
        """Return the job that a request's key has made, None where it has made none.

        Raises:
            Conflict: the key came with another request, or is the id of a job made without it.
        """
        key = request.key
        if key is None:
            return None
        kept = await self._keys.find(request.caller, key, request.digest)
        if kept is None and await self._is_there(own_id(key)):
            # Perhaps another attempt has made it just now, which had reserved the key before.
            kept = await self._keys.find(request.caller, key, request.digest)
            if kept is None:
                raise Conflict(
                    f"The Idempotency-Key {key!r} is the id of a job that was made already.",
                    "Give this one a key of its own",
                )
        return None if kept is None else await self._made(request, kept, wait)

    async def _is_there(self, job_id: str | None) -> bool:
        """Whether there is a job of an id, or was until it was deleted."""
        if job_id is None:
            return False
        return await self._lookup.find(job_id) is not None or self._index.deleted(job_id)

    async def _made(self, request: Submission, job_id: str, wait: float) -> JobState | None:
        """Return the job that a request's key stands for, None where it was not made yet."""
        found = await self._lookup.find(job_id, wait=wait)
        if found is not None:
            self._lookup.check(found[0], request.bounds)
        if found is None and self._index.deleted(job_id):
            raise Conflict(
                f"The job of the Idempotency-Key {request.key!r} was deleted.",
                "Use another key to make another job",
            )
        return None if found is None else found[0]


def first_turns(
    job: Job, plan: list[PlannedNode], fleet: Fleet, view: FleetView
) -> list[PlannedNode]:
    """Return the plan of a job with the first turns, which the rule gives as all others."""
    if job.for_any:
        picked = view.pick(job)
        member = None if picked is None else fleet.get(picked)
        return [] if member is None else [PlannedNode(member.machine, member.hostname)]
    state = JobState(msgspec.structs.replace(job, plan=plan))
    found = decide(state, view, job.created)
    if found.withhold:
        # Those that are drained or away were refused above: what may still come is decided by
        # the runner, in order.
        return plan
    began = LEADS if found.leads else CANARY if found.canary else TURN
    turn = state.turns.waiting if found.everyone else frozenset(found.release)
    return [
        msgspec.structs.replace(node, state=began) if node.machine in turn else node
        for node in plan
    ]


def _refuse_old(members: list[Member], refused: dict[str, tuple[str, str | None]]) -> None:
    """Refuse nodes whose agents can't use the credential of a request.

    Raises:
        InvalidRequest: there are no others.
    """
    for member in members:
        if not member.registration.public_key:
            reason = f"its agent ({member.registration.version}) takes no credentials: update it"
            refused.setdefault(member.machine, ("skipped", reason))
    if len(refused) == len(members):
        member = members[0]
        raise InvalidRequest.because(
            "No node that is meant can take the credential of this request",
            f"{member.hostname}: {refused[member.machine][1]}",
        )
