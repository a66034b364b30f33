"""Dispatch: make jobs, wait for their results, steer them, and answer for them afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from towline.broker.connection import BrokerRefused, Connection
from towline.broker.journal import EVENTS, JOBS, Journal
from towline.controller.credentials.issuer import Issuer
from towline.controller.credentials.store import Registries
from towline.controller.fleet import Fleet, Member
from towline.controller.jobs.idempotency import Keys, digest
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Fold
from towline.controller.jobs.state import JobState
from towline.controller.progress.watches import Watches
from towline.controller.rollout.decisions import Decisions, explain
from towline.controller.rollout.runner import SOON, Driver
from towline.errors import BrokerUnreachable, Conflict, InvalidRequest, NoNodes, NotFound
from towline.operation import NODE, Effect, Operation, catalog
from towline.runtime.keys import Vault
from towline.units import timestamp
from towline.wire.credential import Credential
from towline.wire.event import (
    ANY_NODE,
    BAD,
    CANCELLED,
    CANCELLING,
    DELETED,
    NOBODY,
    PLANNED,
    Event,
    Lead,
    PlannedNode,
)
from towline.wire.job import CANCEL, Job, new_id
from towline.wire.rollout import Waves
from towline.wire.subjects import (
    ALL_SUBJECT,
    any_subject,
    event_subject,
    label_subject,
    node_subject,
    wave_subject,
)
from towline.wire.target import ALL, ANY, Hostname, Label, Target, parse_target

log = structlog.get_logger()


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
        credential: what the request brought for the registry of the operation's image.
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


class _Wait:
    """A request that waits for a job.

    Attributes:
        missing: the machine ids of the nodes that it waits for.
        armed: whether `missing` is known.
    """

    def __init__(self, progress: JobState, capability: str) -> None:
        self.progress = progress
        self.capability = capability
        self.missing: set[str] = set()
        self.armed = False
        self.done = asyncio.get_running_loop().create_future()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


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


class Dispatch:
    """Makes jobs, wakes the requests that wait for them, and steers them.

    Args:
        vault: what locks the credentials that are kept.
        expires: seconds within which a converging operation must be begun.
        retention: seconds that the journal keeps jobs.
    """

    def __init__(
        self, broker: Connection, index: Index, vault: Vault, *, expires: float, retention: float
    ) -> None:
        self.broker = broker
        self.journal = Journal(broker)
        self.index = index
        self.fleet = Fleet(broker, self._fleet_changed)
        self.fold = Fold(
            broker, index, self._happened, lambda: self.driver.made(), retention=retention
        )
        self.decisions = Decisions(self.journal, index, self.fleet, self.fold)
        self.driver = Driver(broker, index, self.fleet, self.fold, self.decisions)
        self.keys = Keys(broker)
        self.registries = Registries(broker, vault)
        self.watches = Watches(broker, self._found, self._explain)
        self.issuer = Issuer(broker, index, self.fleet, self.fold, self.registries)
        self._expires = expires
        self._waits: dict[str, list[_Wait]] = {}
        self.stopping = False

    def stop(self) -> None:
        """End the streams of events: they would hold the controller up."""
        self.stopping = True
        self.fold.pulse.beat()

    # Waiting

    def _happened(self, event: Event) -> None:
        self.driver.happened(event)
        self.watches.happened(event)
        self.issuer.happened(event)
        for wait in self._waits.get(event.job, ()):
            wait.progress.apply(event)
            wait.missing.discard(event.machine)
            if event.machine in wait.progress.unfinished:
                wait.missing.add(event.machine)
            if wait.progress.done:
                wait.missing.clear()
            self._consider(wait)

    def _fleet_changed(self, machines: set[str]) -> None:
        self.driver.fleet_changed()
        for waits in self._waits.values():
            for wait in waits:
                for machine in machines & wait.progress.unfinished:
                    member = self.fleet.get(machine)
                    if member is not None and member.here:
                        wait.missing.add(machine)
                    else:
                        wait.missing.discard(machine)
                self._consider(wait)

    def _consider(self, wait: _Wait) -> None:
        """End a wait that would wait for nobody who is there."""
        if not wait.armed:
            return
        if wait.progress.planned:
            if not wait.missing:
                wait.finish()
        elif not any(member.can(wait.capability) for member in self.fleet.here()):
            wait.finish()

    async def _wait(
        self,
        progress: JobState,
        capability: str,
        seconds: float,
        act: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wait for the nodes that are there; nothing that happens after `act` is missed."""
        job_id, wait = progress.job.id, _Wait(progress, capability)
        self._waits.setdefault(job_id, []).append(wait)
        try:
            if act is not None:
                await act()
            for machine in progress.unfinished:
                member = self.fleet.get(machine)
                if member is not None and member.here:
                    wait.missing.add(machine)
            wait.armed = True
            self._consider(wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await wait.done
        finally:
            waits = self._waits[job_id]
            waits.remove(wait)
            if not waits:
                del self._waits[job_id]

    # Making jobs

    async def submit(self, request: Submission, *, wait: float) -> JobState:
        """Make a job and wait up to `wait` seconds for the nodes that are there.

        Raises:
            InvalidRequest, NoNodes: the target means no node that could do it.
            Conflict: the request's key came with another request before.
            BrokerUnreachable: the job may not have been stored; `job_id` says which.
        """
        if request.key is not None:
            # Before the target: what it means may have changed since the job was made.
            held = await self.keys.held(request.caller, request.key, _digest(request))
            if held is not None and (found := await self._made(request, held, wait)) is not None:
                return found
        plan = self._plan(request)
        job = self._job(request, plan)
        if request.key is not None:
            held = await self.keys.hold(request.caller, request.key, _digest(request), job.id)
            if held != job.id:
                if (found := await self._made(request, held, wait)) is not None:
                    return found
                # Whoever held the key didn't come to make the job.
                job = msgspec.structs.replace(job, id=held)
        progress = JobState(job, None if request.target == ANY else plan.nodes())

        async def append() -> None:
            await self._hold_credential(job.id, request)
            await self._append(job, request.operation, request.target, plan)

        await self._wait(progress, request.operation.requires, wait, append)
        self._explain(progress)
        return progress

    def _plan(self, request: Submission) -> _Plan:
        target, operation = request.target, request.operation
        if request.waves is not None and not (target == ALL or isinstance(target, Label)):
            given = ", ".join(msgspec.to_builtins(request.waves))
            raise InvalidRequest(
                f"{str(target)!r} is one node, and {given} tells how several get their turns.",
                f"Leave out {given}, or name several nodes: _all, or a label such as group:web",
            )
        plan = _Plan(self.fleet.resolve(target), {})
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
            raise NoNodes(
                f"No node that {str(target)!r} means is reachable.",
                f"{member.hostname} is {member.absence}; {operation.name} is not kept "
                "for nodes that are away",
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

    async def _made(self, request: Submission, held: str, wait: float) -> JobState | None:
        """Return the job that a request's key stands for, None where it was not made yet."""
        found = await self.job(held, wait=wait)
        if found is None and self.index.deleted(held):
            raise Conflict(
                f"The job of the Idempotency-Key {request.key!r} was deleted.",
                "Use another key to make another job",
            )
        return None if found is None else found[0]

    async def _hold_credential(self, job_id: str, request: Submission) -> None:
        """Keep what the request brought, before the job: no node may look for it in vain."""
        registry = request.operation.credential_for(request.parameters)
        if request.credential is not None and registry is not None:
            await self.registries.hold(job_id, registry, request.credential, request.caller)
            self.issuer.held(job_id)

    async def _append(
        self, job: Job, operation: Operation[..., Any], target: Target, plan: _Plan
    ) -> None:
        try:
            if target == ALL or isinstance(target, Label):
                # Before the job: a job whose plan is missing could never be said to be done,
                # while a plan without its job is noticed by nobody.
                event = Event(job.id, NOBODY, "", PLANNED, job.created, nodes=plan.nodes())
                await self.journal.add_event(event)
            subject = _subject(target, plan.members, operation)
            await self.journal.add_job(job, subject if job.waves is None else wave_subject(job.id))
        except BrokerUnreachable as error:
            raise BrokerUnreachable(
                error.error,
                f"{error.details}; whether job {job.id} was stored is not known, "
                f"GET /job/{job.id} tells when the broker is back",
                job_id=job.id,
            ) from error

    def _found(self, job_id: str) -> JobState | None:
        found = self.index.find(job_id, self.fleet.hostnames)
        return None if found is None else found[0]

    def _explain(self, progress: JobState) -> None:
        """Say of each node that hasn't ended why, where that is known."""
        progress.expire(time.time())
        until = f"runs when it returns, until {timestamp(progress.job.expires)}"
        if progress.cancelled:
            until = "is cancelled when it returns"
        for machine in progress.unfinished:
            member = self.fleet.get(machine)
            if member is not None and not member.here:
                progress.tasks[machine].error = f"{member.absence}, {until}"
        explain(progress)

    # Asking for jobs

    async def job(self, job_id: str, *, wait: float = 0.0) -> tuple[JobState, list[Event]] | None:
        """Return a job's progress and events, or None where there is no such job.

        An unknown job may have been made at another controller a moment ago: then the answer
        waits until the index has folded what the journal holds by now.

        Args:
            wait: seconds to wait for the job to end.

        Raises:
            BrokerUnreachable: the job isn't known here, and the journal can't be asked.
        """
        found = self.index.find(job_id, self.fleet.hostnames)
        if found is None:
            await self.fold.catch_up()
            found = self.index.find(job_id, self.fleet.hostnames)
        if found is None:
            return None
        progress, events = found
        # Nobody begins it any more: there is nothing to wait for but what runs.
        progress.expire(time.time())
        if wait > 0 and not progress.done:
            operation = catalog.get(progress.job.operation)
            await self._wait(progress, operation.requires if operation else NODE, wait)
            progress, events = self.index.find(job_id, self.fleet.hostnames) or found
        self._explain(progress)
        return progress, events

    async def known(self, job_id: str, *, wait: float = 0.0) -> tuple[JobState, list[Event]]:
        """As `job`, but raises `NotFound` where there is no such job."""
        found = await self.job(job_id, wait=wait)
        if found is None:
            raise NotFound(f"There is no job {job_id}.", "It may be older than the journal keeps")
        return found

    # Steering jobs

    async def cancel(self, progress: JobState, *, caller: str, wait: float) -> JobState:
        """Stop a job wherever it has not ended, and wait up to `wait` seconds for that.

        Raises:
            Conflict: it has ended, and not because it was cancelled.
            BrokerUnreachable: the nodes may not have been told.
        """
        job = progress.job
        if progress.done:
            if progress.cancelled:
                return progress
            raise Conflict(
                f"Job {job.id} has ended already: {progress.status}.", "There is nothing to cancel"
            )

        async def tell() -> None:
            now = time.time()
            data = {"caller": caller}
            reason = f"cancelled by {caller}"
            await self.journal.add_event(Event(job.id, NOBODY, "", CANCELLING, now, data=data))
            if job.waves is not None:
                await self.decisions.cancel(job.id, reason)
            subject = await self._reaches(progress, reason)
            if subject is not None:
                message = Job(
                    f"{job.id}.cancel",
                    *(CANCEL, {"job": job.id}, job.target, caller, now),
                    expires=max(job.expires, now + SOON),
                )
                await self.journal.add_job(message, subject)

        await self._wait(progress, NODE, wait, tell)
        self._explain(progress)
        return progress

    async def pause(self, progress: JobState, *, caller: str) -> JobState:
        """Let no more nodes of a job have their turn; raises as `Decisions.pause`."""
        return await self.decisions.pause(progress.job.id, caller) or progress

    async def resume(self, progress: JobState, *, caller: str) -> JobState:
        """Let nodes of a paused job have their turn again; raises as `Decisions.resume`."""
        return await self.decisions.resume(progress.job.id, caller) or progress

    async def _reaches(self, progress: JobState, reason: str) -> str | None:
        """Return the subject that reaches all nodes that a job is for; None where no node is."""
        job, target = progress.job, parse_target(progress.job.target)
        if target == ALL:
            return ALL_SUBJECT
        if isinstance(target, Label):
            return label_subject(target)
        machine = next(iter(progress.tasks), None)
        if machine is None:
            end = Event(job.id, NOBODY, ANY_NODE, CANCELLED, time.time(), error=reason)
            machine = await self.journal.claim(end)
        return None if machine == NOBODY else node_subject(machine)

    def retry(
        self,
        progress: JobState,
        *,
        caller: str,
        target: Target | None,
        expires: float | None = None,
        waves: Waves | None = None,
    ) -> Submission:
        """Return the request that does a job again.

        Args:
            target: where; None for the nodes on which it failed, expired or was cancelled.
            waves: how; None for as the job was done, where that is for several nodes too.

        Raises:
            InvalidRequest: there is nothing to retry, or nothing here can do that any more.
        """
        job = progress.job
        operation = catalog.get(job.operation)
        if operation is None:
            raise InvalidRequest(
                f"This controller does not know the operation {job.operation}.",
                "It may be one of a newer version",
            )
        only = None
        if target is None:
            failed = {task.machine for task in progress.tasks.values() if task.status in BAD}
            if not failed:
                raise InvalidRequest(
                    f"Job {job.id} has failed nowhere.",
                    "Name a target_hostname to run it there again",
                )
            target = parse_target(job.target)
            if target == ALL or isinstance(target, Label):
                only = frozenset(failed)
        if waves is None and (target == ALL or isinstance(target, Label)):
            waves = job.waves
        return Submission(
            *(operation, job.parameters, target, caller),
            expires=expires,
            retries=job.id,
            only=only,
            waves=waves,
            # The same job, done again: what its other nodes have pulled, these pull too.
            lead=progress.lead,
        )

    async def delete(self, progress: JobState) -> None:
        """Delete a job that has ended from the journal, and so from every index.

        Raises:
            InvalidRequest: it goes on.
            BrokerUnreachable: it may not have been deleted.
        """
        job = progress.job
        if not progress.done:
            raise InvalidRequest(
                f"Job {job.id} goes on.", f"POST /job/{job.id}/cancel stops it: then delete it"
            )
        sequences = [self.index.sequence(job.id), *self.index.turns(job.id).values()]
        # First, so that every index forgets the job even if nothing below comes to be done.
        tombstone = Event(job.id, NOBODY, "", DELETED, time.time())
        await self.journal.add_event(tombstone)
        last = await self.journal.last_of(event_subject(tombstone))
        await self.broker.call(
            f"STREAM.PURGE.{EVENTS}", {"filter": f"event.*.{job.id}.*", "seq": last}
        )
        for sequence in sequences:
            with contextlib.suppress(BrokerRefused):  # gone already
                await self.broker.call(f"STREAM.MSG.DELETE.{JOBS}", {"seq": sequence})
        await self.fold.catch_up()


def _refuse_old(plan: _Plan) -> None:
    """Leave out nodes whose agents would take no notice of a request's credential.

    Raises:
        InvalidRequest: there are no others.
    """
    for member in plan.members:
        if not member.registration.public_key:
            reason = f"its agent ({member.registration.version}) takes no credentials: update it"
            plan.refused.setdefault(member.machine, ("skipped", reason))
    if len(plan.refused) == len(plan.members):
        member = plan.members[0]
        raise InvalidRequest(
            "No node that is meant can take the credential of this request.",
            f"{member.hostname}: {plan.refused[member.machine][1]}",
        )


def _digest(request: Submission) -> str:
    parts = [request.operation.name, request.parameters, str(request.target), request.expires]
    # Without waves it is what a controller gets that knows none.
    return digest(*parts) if request.waves is None else digest(*parts, request.waves)


def _subject(target: Target, members: list[Member], operation: Operation[..., Any]) -> str:
    if target == ANY:
        return any_subject(operation.requires)
    if target == ALL:
        return ALL_SUBJECT
    if isinstance(target, Label):
        return label_subject(target)
    assert isinstance(target, Hostname)
    return node_subject(members[0].machine)
