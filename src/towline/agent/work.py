"""The loop on the node: jobs in through the ledger, events out through the ledger."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import platform
import time
from collections import OrderedDict
from typing import Any

import msgspec
import structlog

from towline import __version__
from towline.agent.engine import Engine
from towline.agent.ledger import Ledger
from towline.agent.node import Node
from towline.broker import BrokerRefused, Connection, Settings
from towline.errors import BrokerUnreachable, EngineUnreachable, TowlineError
from towline.fleet import HEARTBEATS, NODES, Heartbeat, Registration
from towline.job import (
    CLAIMED,
    COMPLETED,
    EXPIRED,
    FAILED,
    SKIPPED,
    STARTED,
    Event,
    Job,
    timestamp,
)
from towline.journal import (
    ALL_SUBJECT,
    JOBS,
    LONGEST_AGE,
    WHOLE_JOB,
    Follower,
    Journal,
    Message,
    any_subject,
    label_subject,
    node_subject,
)
from towline.operation import NODE, Effect, registry
from towline.target import Label

log = structlog.get_logger()

PROBE_EVERY = 2.0
"""Seconds between looks at the engine: a node says so soon when it goes or comes back."""
EXTEND_EVERY = 5.0
"""Seconds between signs to the broker that a read goes on; it waits 10 s for one."""
ANSWERED_REMEMBERED = 1000
"""Ids of answered reads kept in memory against a second delivery."""
OUTBOX_BATCH = 64
LEDGER_KEEPS = LONGEST_AGE + 86400.0
"""Seconds that ended tasks stay known: longer than any journal keeps jobs."""
WRONG_LAST_SEQUENCE = 10071


class Agent:
    """Takes jobs on, runs them, reports.

    Args:
        settings: where the broker is.
        ledger: this node's ledger.
        labels: what the node carries.
        engine: the node's Docker Engine; None where it is to have none.
        engine_named: whether somebody named that engine: then it counts as there even if it has
            never been seen.
        interval: seconds between heartbeats.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        machine: str,
        hostname: str,
        labels: list[Label],
        engine: Engine | None,
        engine_named: bool,
        interval: float,
    ) -> None:
        self._broker = Connection(settings, f"agent {hostname}", self._connection_changed)
        self._journal = Journal(self._broker)
        self._ledger = ledger
        self._machine = machine
        self._hostname = hostname
        self._labels = labels
        self._engine = engine
        self._engine_seen = engine_named
        self._engine_trouble = "not asked yet"
        self._interval = interval
        self._registered = False
        self._started = time.time()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._deliver = asyncio.Event()
        self._beat = asyncio.Event()
        self._any_followers: dict[str, asyncio.Task[None]] = {}

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            # Again on each connection: the broker may have lost what it knew of us.
            self._registered = False
            self._beat.set()
            self._deliver.set()

    async def run(self) -> None:
        """Work until cancelled; then stop taking jobs on, and say good-bye."""
        await self._probe()
        async with self._broker:
            subjects = [node_subject(self._machine), ALL_SUBJECT]
            for label in self._labels:
                subjects += [label_subject(prefix) for prefix in label.prefixes()]
            own = Follower(self._broker, JOBS, subjects=subjects, after=None, durable=self._machine)
            try:
                # At once: what stands in the ledger needs no broker to be run.
                self._resume()
                # Before the first heartbeat: from then on jobs may be made for this node.
                await own.prepare()
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._follow(own, claim=False))
                    group.create_task(self._heartbeats())
                    group.create_task(self._watch_engine())
                    group.create_task(self._outbox())
            finally:
                await self._leave()

    async def _leave(self) -> None:
        for task in (*self._any_followers.values(), *self._running.values()):
            task.cancel()
        await asyncio.gather(
            *self._any_followers.values(), *self._running.values(), return_exceptions=True
        )
        with contextlib.suppress(TowlineError):
            await self._deliver_events(timeout=2.0)
        await self._broker.publish(
            f"$KV.{HEARTBEATS}.{self._machine}", msgspec.json.encode(Heartbeat(leaving=True))
        )
        if self._engine is not None:
            await self._engine.close()

    # Being there

    async def _register(self) -> None:
        subject = f"$KV.{NODES}.{self._machine}"
        registered = time.time()
        with contextlib.suppress(BrokerRefused):
            answer = await self._broker.request(f"$JS.API.DIRECT.GET.KV_{NODES}.{subject}", b"")
            if answer.data:
                registered = msgspec.json.decode(answer.data, type=Registration).registered
        registration = Registration(
            machine=self._machine,
            hostname=self._hostname,
            version=__version__,
            started=self._started,
            registered=registered,
            interval=self._interval,
            labels={label.key: label.value for label in self._labels},
            architecture=platform.machine(),
            kernel=platform.release(),
            cpu_count=os.cpu_count() or 0,
        )
        await self._broker.append(subject, msgspec.json.encode(registration))

    async def _heartbeats(self) -> None:
        while True:
            self._beat.clear()
            try:
                if not self._registered:
                    await self._register()
                    self._registered = True
                    log.info("agent registered", machine=self._machine, hostname=self._hostname)
                capabilities = {NODE: ""}
                if self._offers("docker"):
                    capabilities["docker"] = self._engine_trouble
                beat = Heartbeat(capabilities, len(self._running))
                # Acknowledged: right after a broker's restart the bucket may not be there yet.
                await self._broker.append(
                    f"$KV.{HEARTBEATS}.{self._machine}", msgspec.json.encode(beat)
                )
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("heartbeat not sent", reason=error.details)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._beat.wait(), self._interval)

    async def _watch_engine(self) -> None:
        while True:
            await self._probe()
            for capability in (NODE, "docker"):
                works = self._offers(capability) and (
                    capability != "docker" or not self._engine_trouble
                )
                self._follow_any(capability, works)
            await asyncio.sleep(PROBE_EVERY)

    async def _probe(self) -> None:
        if self._engine is None:
            return
        trouble = ""
        try:
            version = await self._engine.ping()
            if self._engine_trouble:
                log.info("engine here", engine=self._engine.url, version=version)
            self._engine_seen = True
        except TowlineError as error:
            trouble = error.error
        if trouble and trouble != self._engine_trouble:
            log.warning("engine away", engine=self._engine.url, reason=trouble)
        if trouble != self._engine_trouble:
            self._engine_trouble = trouble
            self._beat.set()

    def _offers(self, capability: str) -> bool:
        if capability == "docker":
            return self._engine is not None and self._engine_seen
        return capability == NODE

    def _follow_any(self, capability: str, works: bool) -> None:
        """Ask for `_any` jobs while this node can do them, and only then."""
        task = self._any_followers.get(capability)
        if works and task is None:
            follower = Follower(
                self._broker,
                JOBS,
                subjects=[any_subject(capability)],
                after=None,
                durable=f"_any-{capability}",
                batch=1,
            )
            self._any_followers[capability] = asyncio.create_task(
                self._follow(follower, claim=True)
            )
        elif not works and task is not None:
            task.cancel()
            del self._any_followers[capability]

    # Jobs in

    async def _follow(self, follower: Follower, *, claim: bool) -> None:
        async for message in follower:
            try:
                job = msgspec.json.decode(message.data, type=Job)
            except msgspec.MsgspecError as error:
                log.error("job not readable", sequence=message.sequence, reason=str(error))
                await message.acknowledge()
                continue
            await self._take(job, message, claim=claim)

    async def _take(self, job: Job, message: Message, *, claim: bool) -> None:
        if job.id in self._running:
            # A second delivery of what is under way. A read goes on being extended by its task.
            return
        if job.id in self._answered or self._machine in job.excluded:
            await message.acknowledge()
            return
        operation = registry.get(job.operation)
        if operation is not None and operation.effect is Effect.READ:
            self._spawn(job, self._read(job, message))
            return
        if not self._ledger.accept(job):
            await message.acknowledge()
            return
        if not claim:
            await message.acknowledge()
            self._spawn(job, self._perform(job, started=False))
            return
        if await self._claim(job):
            self._spawn(job, self._perform(job, started=False))
        await message.acknowledge()

    async def _claim(self, job: Job) -> bool:
        """Make an `_any` job this node's own; False where another one has it.

        Its subject holds one claim for good, so that a second delivery to another node, after an
        acknowledgement that was lost, is no second run.
        """
        claim = Event(job.id, self._machine, self._hostname, CLAIMED, time.time())
        subject = f"event.{WHOLE_JOB}.{job.id}.{CLAIMED}"
        while True:
            try:
                await self._broker.append(
                    subject,
                    msgspec.json.encode(claim),
                    message_id=f"{job.id}.{self._machine}.{CLAIMED}",
                    first=True,
                )
                return True
            except BrokerRefused as error:
                if error.number != WRONG_LAST_SEQUENCE:
                    raise
                if await self._claimed_by(subject) == self._machine:
                    return True
                self._ledger.drop(job.id)
                return False
            except BrokerUnreachable as error:
                log.warning("claim not made yet", job=job.id, reason=error.details)

    async def _claimed_by(self, subject: str) -> str:
        answer = await self._broker.call("STREAM.MSG.GET.EVENTS", {"last_by_subj": subject})
        body = base64.b64decode(answer["message"]["data"])
        return msgspec.json.decode(body, type=Event).machine

    def _resume(self) -> None:
        """Go on with what was under way when the agent ended."""
        self._ledger.forget(time.time() - LEDGER_KEEPS)
        for job, started in self._ledger.unfinished():
            if job.target == "_any" and not started:
                self._spawn(job, self._resume_claimed(job))
            else:
                self._spawn(job, self._perform(job, started=started))

    async def _resume_claimed(self, job: Job) -> None:
        if await self._claim(job):
            await self._perform(job, started=False)

    def _spawn(self, job: Job, work: Any) -> None:
        task = asyncio.create_task(work, name=job.id)
        self._running[job.id] = task

        def finished(task: asyncio.Task[None]) -> None:
            self._running.pop(job.id, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("task broke off", job=job.id, exc_info=error)

        task.add_done_callback(finished)

    # Running

    async def _read(self, job: Job, message: Message) -> None:
        """Answer a read, and acknowledge it when the journal has the answer."""

        async def extend() -> None:
            while True:
                await asyncio.sleep(EXTEND_EVERY)
                await message.extend()

        keeper = asyncio.create_task(extend())
        try:
            event = await self._execute(job, started=False)
            await self._journal.add_event(event)
        except BrokerUnreachable as error:
            # Not acknowledged: it is delivered again when the broker is back, if still wanted.
            log.warning("answer not delivered", job=job.id, reason=error.details)
            return
        finally:
            keeper.cancel()
        self._answered[job.id] = None
        if len(self._answered) > ANSWERED_REMEMBERED:
            self._answered.popitem(last=False)
        await message.acknowledge()

    async def _perform(self, job: Job, *, started: bool) -> None:
        """Run a task that stands in the ledger, and put its end there."""
        event = await self._execute(job, started=started, ledger=self._ledger)
        self._ledger.end(event)
        self._deliver.set()

    async def _execute(self, job: Job, *, started: bool, ledger: Ledger | None = None) -> Event:
        """Return the event that ends this task."""
        begun = time.monotonic()

        def ended(kind: str, error: str | None = None, data: Any = None) -> Event:
            log.info(
                "task ended",
                job=job.id,
                node=self._hostname,
                operation=job.operation,
                outcome=kind,
                error=error,
                milliseconds=round((time.monotonic() - begun) * 1000, 1),
                trace=job.trace,
            )
            return Event(
                job.id, self._machine, self._hostname, kind, time.time(), data=data, error=error
            )

        operation = registry.get(job.operation)
        if operation is None:
            return ended(SKIPPED, f"this agent ({__version__}) does not know {job.operation}")
        if started and operation.effect is Effect.ONCE:
            return ended(FAILED, "interrupted: the agent ended while it ran, it is not run again")
        if time.time() > job.expires:
            reason = "interrupted, and not begun again after" if started else "not begun before"
            return ended(EXPIRED, f"{reason} the job expired at {timestamp(job.expires)}")
        if not self._offers(operation.requires) and operation.requires != NODE:
            return ended(SKIPPED, f"this node has no {operation.requires}")
        try:
            parameters = operation.read(job.parameters)
        except (msgspec.ValidationError, ValueError) as error:
            return ended(FAILED, f"this agent ({__version__}) can't read the parameters: {error}")
        if ledger is not None and not started:
            ledger.start(Event(job.id, self._machine, self._hostname, STARTED, time.time()))
            self._deliver.set()
        node = Node(self._machine, self._hostname, self._engine)
        node.deadline = job.expires
        try:
            result = await operation.function(node, **msgspec.structs.asdict(parameters))
        except TowlineError as error:
            if isinstance(error, EngineUnreachable):
                self._beat.set()
            return ended(FAILED, error.error)
        except Exception as error:
            log.exception("operation broke off", job=job.id, operation=job.operation)
            return ended(FAILED, f"unexpected {type(error).__name__}: {error}")
        return ended(COMPLETED, data=msgspec.to_builtins(result))

    # Events out

    async def _outbox(self) -> None:
        while True:
            await self._deliver.wait()
            self._deliver.clear()
            try:
                await self._deliver_events()
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("events wait in the ledger", reason=error.details)
                await asyncio.sleep(0.5)
                self._deliver.set()

    async def _deliver_events(self, timeout: float = 5.0) -> None:
        while events := self._ledger.undelivered(OUTBOX_BATCH):
            # Sent in order and all at once; each is stored once, and folding minds no order.
            await asyncio.gather(
                *(self._journal.add_event(event, timeout=timeout) for _, event in events)
            )
            self._ledger.delivered([number for number, _ in events])
