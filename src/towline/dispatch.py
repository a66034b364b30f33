"""Dispatch: make a job, wait for its results, and answer for it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import msgspec
import structlog

from towline.broker import Connection
from towline.errors import BrokerUnreachable, NoNodes, TowlineError
from towline.fleet import Fleet, Member
from towline.index import Index
from towline.job import PLANNED, Event, Job, PlannedNode, Progress, new_id, timestamp
from towline.journal import (
    ALL_SUBJECT,
    EVENTS,
    JOBS,
    WHOLE_JOB,
    Follower,
    Journal,
    any_subject,
    label_subject,
    node_subject,
)
from towline.operation import Effect, Operation
from towline.target import ALL, ANY, Label, Target

log = structlog.get_logger()

FLUSH_EVERY = 0.2
"""Seconds that folded messages may wait in memory before the index writes them."""
FLUSH_AT = 2000
PRUNE_EVERY = 600.0
CATCH_UP = 3.0
"""Seconds that a question for an unknown job may wait for the index to catch up."""
SOON = 60.0
"""Seconds within which a read or an operation that runs once must be begun: nobody wants
yesterday's reboot to happen today."""

_job = msgspec.json.Decoder(Job)
_event = msgspec.json.Decoder(Event)


class _Wait:
    """A request that waits for a job."""

    def __init__(self, progress: Progress, capability: str) -> None:
        self.progress = progress
        self.capability = capability
        self.done = asyncio.get_running_loop().create_future()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Dispatch:
    """Makes jobs, folds the journal, and wakes the requests that wait.

    Args:
        expires: seconds within which a converging operation must be begun.
        retention: seconds that the journal keeps jobs.
    """

    def __init__(
        self, broker: Connection, index: Index, *, expires: float, retention: float
    ) -> None:
        self.broker = broker
        self.journal = Journal(broker)
        self.index = index
        self.fleet = Fleet(broker, self._fleet_changed)
        self._expires = expires
        self._retention = retention
        self._waits: dict[str, list[_Wait]] = {}
        self._folded: dict[str, int] = {}
        self._behind = {JOBS, EVENTS}
        self._caught_up = asyncio.Event()
        self._advanced = asyncio.Event()

    # Folding

    async def fold(self, stream: str) -> None:
        """Follow `stream` into the index, for ever."""
        info = await self._stream_info(stream)
        last = int(info["state"]["last_seq"])
        after = self.index.position(stream, info["created"], last)
        self._folded[stream] = after
        if after >= last:
            self._up_to_date(stream)
        unwritten = 0
        async for message in Follower(self.broker, stream, after=after):
            try:
                if stream == JOBS:
                    self._fold_job(message.subject, message.data)
                else:
                    self._fold_event(message.data, message.sequence)
            except msgspec.MsgspecError as error:
                log.error(
                    "message not readable",
                    stream=stream,
                    sequence=message.sequence,
                    reason=str(error),
                )
            self.index.advance(stream, message.sequence)
            self._folded[stream] = message.sequence
            self._advanced.set()
            unwritten += 1
            if unwritten >= FLUSH_AT:
                self.index.flush()
                unwritten = 0
            if message.pending == 0 and stream in self._behind:
                self._up_to_date(stream)

    async def _stream_info(self, stream: str) -> dict[str, Any]:
        while True:
            try:
                return await self.broker.call(f"STREAM.INFO.{stream}")
            except TowlineError as error:
                log.warning("index waits for the broker", stream=stream, reason=error.details)
                await asyncio.sleep(0.5)

    def _up_to_date(self, stream: str) -> None:
        self._behind.discard(stream)
        if not self._behind:
            self._caught_up.set()

    def _fold_job(self, subject: str, data: bytes) -> None:
        job = _job.decode(data)
        machine = subject[9:] if subject.startswith("job.node.") else None
        self.index.add_job(job, machine, data)

    def _fold_event(self, data: bytes, sequence: int) -> None:
        event = _event.decode(data)
        self.index.add_event(event, sequence, data)
        for wait in self._waits.get(event.job, ()):
            wait.progress.apply(event)
            if not self._worth_waiting(wait):
                wait.finish()

    async def flush(self) -> None:
        """Write the index now and then, and forget what the journal has forgotten, for ever."""
        pruned = time.monotonic() - PRUNE_EVERY
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            self.index.flush()
            if time.monotonic() - pruned >= PRUNE_EVERY:
                self.index.forget(time.time() - self._retention)
                pruned = time.monotonic()

    @property
    def caught_up(self) -> bool:
        """Whether the index has folded all that the streams held when it began."""
        return self._caught_up.is_set()

    # Waiting

    def _fleet_changed(self, machines: set[str]) -> None:
        for waits in self._waits.values():
            for wait in waits:
                if not self._worth_waiting(wait):
                    wait.finish()

    def _worth_waiting(self, wait: _Wait) -> bool:
        progress = wait.progress
        if progress.done:
            return False
        if not progress.planned:
            return any(member.can(wait.capability) for member in self.fleet.here())
        for task in progress.tasks.values():
            if task.ended is None:
                member = self.fleet.get(task.machine)
                if member is not None and member.here:
                    return True
        return False

    async def _wait_for(self, wait: _Wait, seconds: float) -> None:
        if self._worth_waiting(wait):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await wait.done

    # Making jobs

    async def submit(
        self,
        operation: Operation[..., Any],
        parameters: dict[str, Any],
        *,
        target: Target,
        caller: str,
        wait: float,
        expires: float | None = None,
        trace: str | None = None,
    ) -> Progress:
        """Make a job and wait up to `wait` seconds for the nodes that are there.

        Raises:
            InvalidRequest, NoNodes: the target means no node.
            BrokerUnreachable: the job may not have been stored; `job_id` says which.
        """
        members = self.fleet.resolve(target)
        now = time.time()
        kept = operation.effect is Effect.CONVERGE
        lifetime = expires if expires is not None else self._expires if kept else SOON
        if not kept and not any(member.here for member in members):
            raise NoNodes(
                f"No node that {str(target)!r} means is reachable.",
                f"{members[0].hostname} is {members[0].absence}; {operation.name} is not kept "
                "for nodes that are away",
            )
        refused = [] if kept else [member for member in members if not member.here]
        job = Job(
            id=new_id(),
            operation=operation.name,
            parameters=parameters,
            target=str(target),
            caller=caller,
            created=now,
            expires=now + lifetime,
            trace=trace,
            excluded=[] if target == ANY else [member.machine for member in refused],
        )
        progress = Progress(job, None if target == ANY else self._plan(members, refused))
        waiting = _Wait(progress, operation.requires)
        self._waits.setdefault(job.id, []).append(waiting)
        try:
            await self._append(job, operation, target, members, refused)
            await self._wait_for(waiting, wait)
        finally:
            self._forget(job.id, waiting)
        self._explain(progress)
        return progress

    def _plan(self, members: list[Member], refused: list[Member]) -> list[PlannedNode]:
        gone = {member.machine for member in refused}
        return [
            PlannedNode(
                member.machine,
                member.hostname,
                f"{member.absence}; not kept for nodes that are away"
                if member.machine in gone
                else None,
            )
            for member in members
        ]

    async def _append(
        self,
        job: Job,
        operation: Operation[..., Any],
        target: Target,
        members: list[Member],
        refused: list[Member],
    ) -> None:
        if target == ANY:
            subject = any_subject(operation.requires)
        elif target == ALL:
            subject = ALL_SUBJECT
        elif isinstance(target, Label):
            subject = label_subject(target)
        else:
            subject = node_subject(members[0].machine)
        try:
            if target == ALL or isinstance(target, Label):
                # Before the job: a job whose plan is missing could never be said to be done,
                # while a plan without its job is noticed by nobody.
                nodes = self._plan(members, refused)
                plan = Event(job.id, WHOLE_JOB, "", PLANNED, job.created, nodes=nodes)
                await self.journal.add_event(plan)
            await self.journal.add_job(job, subject)
        except BrokerUnreachable as error:
            raise BrokerUnreachable(
                error.error,
                f"{error.details}; whether job {job.id} was stored is not known, "
                f"GET /job/{job.id} tells when the broker is back",
                job_id=job.id,
            ) from error

    def _forget(self, job_id: str, wait: _Wait) -> None:
        waits = self._waits[job_id]
        waits.remove(wait)
        if not waits:
            del self._waits[job_id]

    def _explain(self, progress: Progress) -> None:
        """Say of each node that hasn't ended why, where that is known."""
        progress.expire(time.time())
        until = f"runs when it returns, until {timestamp(progress.job.expires)}"
        for task in progress.tasks.values():
            if task.ended is None:
                member = self.fleet.get(task.machine)
                if member is not None and not member.here:
                    task.error = f"{member.absence}, {until}"

    # Asking for jobs

    async def job(self, job_id: str, *, wait: float = 0.0) -> tuple[Progress, list[Event]] | None:
        """Return a job's progress and events, or None where there is no such job.

        An unknown job may have been made at another controller a moment ago: then the answer
        waits until the index has folded what the journal holds by now.

        Args:
            wait: seconds to wait for the job to end.

        Raises:
            BrokerUnreachable: the job isn't known here, and the journal can't be asked.
        """
        found = self.index.find(job_id, self.fleet.hostnames())
        if found is None:
            await self._catch_up()
            found = self.index.find(job_id, self.fleet.hostnames())
        if found is None:
            return None
        progress, events = found
        if wait > 0 and not progress.done:
            waiting = _Wait(progress, "")
            self._waits.setdefault(job_id, []).append(waiting)
            try:
                await self._wait_for(waiting, wait)
            finally:
                self._forget(job_id, waiting)
            again = self.index.find(job_id, self.fleet.hostnames())
            if again is not None:
                progress, events = again
        self._explain(progress)
        return progress, events

    async def _catch_up(self) -> None:
        ends = {stream: await self.journal.last_sequence(stream) for stream in (JOBS, EVENTS)}
        deadline = time.monotonic() + CATCH_UP
        while any(self._folded.get(stream, 0) < end for stream, end in ends.items()):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise BrokerUnreachable(
                    "The index is behind the journal.", "try again in a few seconds"
                )
            self._advanced.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._advanced.wait()
