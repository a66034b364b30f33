"""This node's tasks: taken on, run, and reported, each through the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from towline import __version__
from towline.agent.heartbeat import Presence
from towline.agent.ledger import Ledger
from towline.agent.node import Node
from towline.agent.progress import Reports
from towline.broker.connection import BrokerRefused
from towline.broker.consumer import Message
from towline.broker.journal import LONGEST_AGE, Journal
from towline.errors import BrokerUnreachable, ProviderUnreachable, TowlineError
from towline.operation import Effect, catalog
from towline.units import timestamp
from towline.wire.event import (
    CANCELLED,
    CLAIMED,
    COMPLETED,
    EXPIRED,
    FAILED,
    SKIPPED,
    STARTED,
    Event,
)
from towline.wire.job import CANCEL, Job
from towline.wire.subjects import cancelling_subject
from towline.wire.target import ANY

log = structlog.get_logger()

ANNOUNCED_AFTER = 0.5
"""Seconds that a task must run before the fleet is told that it was started: what ends sooner
says so with its end, and costs one event less."""
EXTEND_EVERY = 5.0
"""Seconds between signs to the broker that a read goes on; it waits 10 s for one."""
ANSWERED_REMEMBERED = 1000
"""Ids of answered reads kept in memory against a second delivery."""
LONG_PAST = 60.0
"""Seconds past which an expired read is no news: a consumer that was made anew brings those that
were answered long ago again."""
TIDY_EVERY = 300.0
TIDY_AFTER = 5000
"""Tasks after which the ledger is tidied all the same."""
LATE = 5.0
"""Seconds after which a job has waited for its node: it may have been cancelled meanwhile."""
DELIVER_WITHIN = 60.0
"""Seconds that an event may take to the broker, which has those of all the fleet to store."""
LONGEST_ERROR = 4000
"""Characters of an error that are told: an engine may quote a whole page, and the broker takes no
message without bounds."""
OUTBOX_BATCH = 64
RETRY_EVERY = 0.5
LEDGER_RETRY_EVERY = 1.0
LEDGER_LOOK_EVERY = 2.0
"""Seconds between looks at the ledger's disk: the fleet is told that it is full before, not when,
a job can't be taken on."""
LEDGER_KEEPS = LONGEST_AGE + 86400.0
"""Seconds that ended tasks stay known: longer than any journal keeps jobs."""


class Tasks:
    """Runs what this node has been given to do.

    Args:
        presence: what this node offers, and whom to tell that its engine went away.
        reports: tells how far tasks are.
    """

    def __init__(
        self, journal: Journal, ledger: Ledger, node: Node, presence: Presence, reports: Reports
    ) -> None:
        self._journal = journal
        self._clock = journal.broker.clock
        self._ledger = ledger
        self._node = node
        self._presence = presence
        self._reports = reports
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stoppable: dict[str, asyncio.Task[Event]] = {}
        self._cancelled: dict[str, str] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._deliver = asyncio.Event()
        self._untidied = 0
        self._untidy = asyncio.Event()

    @property
    def running(self) -> int:
        """How many tasks there are just now."""
        return len(self._running)

    def connected(self) -> None:
        """Deliver what waits: the broker is there."""
        self._deliver.set()

    # In

    async def take(self, job: Job, message: Message) -> None:
        """Begin a job that was delivered, unless it has been already.

        The message is acknowledged once the job stands in the ledger, or, for a read, once it is
        answered.
        """
        if job.operation == CANCEL:
            if "job" in job.parameters:
                self._stop(str(job.parameters["job"]), job.caller, message)
            else:
                log.error("cancellation not understood", job=job.id)
                await message.acknowledge()
            return
        if job.id in self._running:
            # A second delivery of what is under way: its task acknowledges for both.
            return
        if not job.is_for(self._node.machine) and job.target == str(ANY):
            # This node is drained, and doesn't know it yet.
            self._presence.doubt_state()
            await message.refuse()
            return
        if job.id in self._answered or not job.is_for(self._node.machine):
            await message.acknowledge()
            return
        operation = catalog.get(job.operation)
        if operation is not None and operation.effect is Effect.READ:
            if self._clock.now() > job.expires + LONG_PAST:
                await message.acknowledge()
                return
            self._spawn(job, self._answer(job, message))
        else:
            self._spawn(job, self._take_on(job, message))

    def resume(self) -> None:
        """Go on with what was under way when the agent ended."""
        for job, started in self._ledger.unfinished():
            self._spawn(job, self._resume(job, started))

    def _spawn(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=job.id)
        self._running[job.id] = task
        self._untidied += 1
        if self._untidied >= TIDY_AFTER:
            self._untidy.set()

        def finished(task: asyncio.Task[None]) -> None:
            self._running.pop(job.id, None)
            self._cancelled.pop(job.id, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("task broke off", job=job.id, exc_info=error)

        task.add_done_callback(finished)

    def _stop(self, job_id: str, caller: str, message: Message) -> None:
        """Stop a task; acknowledged once its end stands in the ledger."""
        running = self._running.get(job_id)
        if running is not None:
            self._cancelled[job_id] = caller
            if job_id in self._stoppable:
                self._stoppable[job_id].cancel()

        async def settle() -> None:
            if running is not None:
                await asyncio.wait([running])
            else:
                self._ledger.refuse(job_id)
                await self._ledger.commit()
            await message.acknowledge()

        task = asyncio.create_task(settle())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def tidy(self) -> None:
        """Learn now and then what will not be delivered again, and forget it, for ever."""
        while True:
            self._untidied = 0
            self._untidy.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(TIDY_EVERY / 2, TIDY_EVERY)):
                    await self._untidy.wait()
            await self.learn_position()

    async def learn_position(self) -> None:
        """Learn up to where the broker will not deliver this node's jobs again."""
        try:
            await self.settle(*await self._journal.delivered(self._node.machine))
        except (BrokerUnreachable, BrokerRefused) as error:
            log.warning("position not known", reason=error.details)

    async def settle(self, stream: str, sequence: int) -> None:
        """Forget what the broker will not deliver again; what is known for its age, by its age.

        That is jobs for any node, and refused ones.

        Args:
            stream, sequence: see `Ledger.settle`.
        """
        try:
            self._ledger.forget(time.time() - LEDGER_KEEPS)
            self._ledger.settle(stream, sequence)
            await self._ledger.commit()
        except sqlite3.Error as error:
            log.warning("position not recorded", reason=str(error))

    async def watch_ledger(self, changed: Callable[[], None]) -> None:
        """Tell the fleet when the ledger can't be written, and when it can again, for ever.

        Args:
            changed: called when that has changed.
        """
        while True:
            trouble = await self._ledger.trouble()
            if trouble != self._presence.ledger_trouble:
                if trouble:
                    log.error("ledger not writable", reason=trouble)
                else:
                    log.info("ledger writable again")
                self._presence.ledger_trouble = trouble
                self._presence.soon()
                changed()
            await asyncio.sleep(LEDGER_LOOK_EVERY)

    async def stop(self) -> None:
        """Leave what runs to the next start, and deliver what is known."""
        for task in (*self._running.values(), *self._settling):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        with contextlib.suppress(TowlineError):
            await self._deliver_events(timeout=2.0)

    # Through the ledger

    async def _take_on(self, job: Job, message: Message) -> None:
        try:
            shared = job.target == str(ANY)
            if not self._ledger.accept(job, None if shared else message.sequence):
                if self._ledger.refused(job.id):
                    await self._record(self._event(job, CANCELLED, error="cancelled"))
                await message.acknowledge()
                return
            if shared:
                await self._ledger.commit()
                if not await self._claim(job):
                    await message.acknowledge()
                    return
            elif self._clock.now() - job.created > LATE:
                await self._ask_whether_cancelled(job)
            await self._perform(job, None, message)
        except sqlite3.Error as error:
            # Not acknowledged: it is delivered again in a while.
            log.error("job not taken on", job=job.id, reason=str(error))

    async def _resume(self, job: Job, started: float | None) -> None:
        if self._clock.now() > job.expires:
            # Perhaps only by this node's clock; nobody could be told now anyway.
            await self._clock.known.wait()
        if started is None and job.target == str(ANY) and not await self._claim(job):
            return
        await self._perform(job, started)

    async def _ask_whether_cancelled(self, job: Job) -> None:
        """Learn of a cancellation that comes right behind a job that has waited for this node."""
        try:
            event = await self._journal.last_event(cancelling_subject(job.id))
        except (BrokerUnreachable, BrokerRefused) as error:
            # Then the cancellation stops it when it comes.
            log.warning("not known whether cancelled", job=job.id, reason=error.details)
            return
        if event is not None:
            self._cancelled[job.id] = str((event.data or {}).get("caller", "?"))

    async def _claim(self, job: Job) -> bool:
        """Make an `_any` job this node's own; False where another one has it.

        Its subject holds one claim for good, so that a second delivery to another node, after an
        acknowledgement that was lost, is no second run.
        """
        claim = Event(job.id, self._node.machine, self._node.hostname, CLAIMED, time.time())
        while True:
            try:
                holder = await self._journal.claim(claim)
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("claim not made yet", job=job.id, reason=error.details)
                await asyncio.sleep(RETRY_EVERY)
                continue
            if holder == self._node.machine:
                return True
            self._ledger.drop(job.id)
            await self._ledger.commit()
            return False

    async def _perform(
        self, job: Job, started: float | None, message: Message | None = None
    ) -> None:
        """Run a task that stands in the ledger, and put its end there.

        Raises:
            sqlite3.Error: the ledger could not be written; nothing was begun, and `message` not
                acknowledged.
        """
        begun = time.monotonic()
        ended = self._refused(job, started)
        if ended is None and started is None:
            started = time.time()
            self._ledger.start(job.id, started)
        settled = asyncio.create_task(self._settle(message))
        try:
            if ended is None:
                operation = catalog.get(job.operation)
                if operation is not None and operation.effect is Effect.ONCE:
                    await settled
                ended = await self._run_unless_cancelled(job, started)
            await settled
        finally:
            settled.cancel()
        self._log(job, ended, begun)
        await self._record(ended)

    async def _settle(self, message: Message | None) -> None:
        """Acknowledge what the ledger has on the disk.

        What may run twice need not wait for this: if it is lost, the job is delivered again.
        """
        await self._ledger.commit()
        if message is not None:
            await message.acknowledge()

    async def _record(self, event: Event) -> None:
        """Put a task's end into the ledger, however long that takes, and deliver it.

        Both at once: should the ledger lose it, the broker has it first and keeps no second one.
        """
        while True:
            sending = asyncio.create_task(self._send(event))
            try:
                number = self._ledger.end(event)
                await self._ledger.commit()
            except sqlite3.Error as error:
                log.error("end of task not recorded yet", job=event.job, reason=str(error))
                await asyncio.sleep(LEDGER_RETRY_EVERY)
                continue
            if await sending:
                self._ledger.delivered(number)
            else:
                self._deliver.set()
            return

    def _note(self, job: Job, kind: str, message: str) -> None:
        """Put a step of a task into the ledger, to be delivered like its end."""
        try:
            self._ledger.tell(self._event(job, kind, error=message))
        except sqlite3.Error as error:
            # Its end will wait until there is room; this step is told by the log only.
            log.error("step not recorded", job=job.id, kind=kind, step=message, reason=str(error))
            return
        self._deliver.set()

    async def _send(self, event: Event) -> bool:
        if not self._journal.broker.connected:
            return False
        try:
            await self._journal.add_event(event, timeout=DELIVER_WITHIN)
        except (BrokerUnreachable, BrokerRefused) as error:
            log.warning("event waits in the ledger", job=event.job, reason=error.details)
            return False
        return True

    async def _announce(self, job: Job, started: float | None) -> None:
        """Tell the fleet that a task was started."""
        event = self._event(job, STARTED, moment=started)
        while True:
            try:
                await self._journal.add_event(event)
                return
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("start of task not told yet", job=job.id, reason=error.details)
                await asyncio.sleep(RETRY_EVERY)

    # Past the ledger

    async def _answer(self, job: Job, message: Message) -> None:
        """Answer a read, and acknowledge it when the journal has the answer."""

        async def extend() -> None:
            while True:
                await asyncio.sleep(EXTEND_EVERY)
                await message.extend()

        begun = time.monotonic()
        keeper = asyncio.create_task(extend())
        try:
            event = self._refused(job, None) or await self._run_unless_cancelled(job, None)
            self._log(job, event, begun)
            await self._journal.add_event(event, timeout=DELIVER_WITHIN)
        except (BrokerUnreachable, BrokerRefused) as error:
            # Not acknowledged: it is delivered again when the broker is back, if still wanted.
            log.warning("answer not delivered", job=job.id, reason=error.details)
            return
        except asyncio.CancelledError:
            # This agent ends: another node may take it over at once.
            await message.refuse()
            raise
        finally:
            keeper.cancel()
        self._answered[job.id] = None
        if len(self._answered) > ANSWERED_REMEMBERED:
            self._answered.popitem(last=False)
        await message.acknowledge()

    # Running

    def _event(
        self,
        job: Job,
        kind: str,
        *,
        moment: float | None = None,
        started: float | None = None,
        error: str | None = None,
        data: Any = None,
    ) -> Event:
        return Event(
            job.id,
            self._node.machine,
            self._node.hostname,
            kind,
            time.time() if moment is None else moment,
            started=started,
            data=data,
            error=error if error is None or len(error) <= LONGEST_ERROR else _cut(error),
        )

    def _refused(self, job: Job, started: float | None) -> Event | None:
        """Return the event that ends a task which is not to be begun (again), or None."""

        def ended(kind: str, error: str) -> Event:
            return self._event(job, kind, started=started, error=error)

        if job.id in self._cancelled:
            return self._was_cancelled(job, started)
        operation = catalog.get(job.operation)
        if operation is None:
            return ended(SKIPPED, f"this agent ({__version__}) does not know {job.operation}")
        if started is not None and operation.effect is Effect.ONCE:
            return ended(FAILED, "interrupted: the agent ended while it ran, it is not run again")
        if self._clock.now() > job.expires:
            reason = (
                "not begun before" if started is None else "interrupted, and not begun again after"
            )
            return ended(EXPIRED, f"{reason} the job expired at {timestamp(job.expires)}")
        if not self._presence.offers(operation.requires):
            return ended(SKIPPED, f"this node has no {operation.requires}")
        return None

    async def _run_unless_cancelled(self, job: Job, started: float | None) -> Event:
        if job.id in self._cancelled:
            return self._was_cancelled(job, started)
        task = asyncio.create_task(self._run(job, started))
        self._stoppable[job.id] = task
        try:
            return await task
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if job.id not in self._cancelled or (own is not None and own.cancelling()):
                raise
            return self._was_cancelled(job, started)
        finally:
            del self._stoppable[job.id]

    def _was_cancelled(self, job: Job, started: float | None) -> Event:
        reason = f"cancelled by {self._cancelled[job.id]}"
        return self._event(job, CANCELLED, started=started, error=reason)

    async def _run(self, job: Job, started: float | None) -> Event:
        """Run the operation and return the event that ends the task."""
        announcing: list[asyncio.Task[None]] = []

        def announce() -> None:
            announcing.append(asyncio.create_task(self._announce(job, started)))

        timer = asyncio.get_running_loop().call_later(ANNOUNCED_AFTER, announce)
        try:
            return await self._call(job, started)
        finally:
            timer.cancel()
            for task in announcing:
                task.cancel()

    async def _call(self, job: Job, started: float | None) -> Event:
        def failed(error: str) -> Event:
            return self._event(job, FAILED, started=started, error=error)

        operation = catalog.get(job.operation)
        assert operation is not None
        try:
            parameters = operation.read(job.parameters)
        except (msgspec.ValidationError, ValueError) as error:
            return failed(f"this agent ({__version__}) can't read the parameters: {error}")
        node = self._node.serving(
            job,
            lambda kind, message: self._note(job, kind, message),
            lambda report: self._reports.report(job.id, report),
        )
        try:
            result = await operation.function(node, **msgspec.structs.asdict(parameters))
        except TowlineError as error:
            if isinstance(error, ProviderUnreachable):
                self._presence.soon()
            return failed(error.error)
        except Exception as error:
            log.exception("operation broke off", job=job.id, operation=job.operation)
            return failed(f"unexpected {type(error).__name__}: {error}")
        finally:
            self._reports.end(job.id)
        return self._event(job, COMPLETED, started=started, data=msgspec.to_builtins(result))

    def _log(self, job: Job, ended: Event, begun: float) -> None:
        log.info(
            "task ended",
            job=job.id,
            node=self._node.hostname,
            operation=job.operation,
            outcome=ended.kind,
            error=ended.error,
            milliseconds=round((time.monotonic() - begun) * 1000, 1),
            trace=job.trace,
        )

    # Out

    async def report(self) -> None:
        """Deliver events from the ledger, for ever."""
        while True:
            await self._deliver.wait()
            self._deliver.clear()
            try:
                await self._deliver_events()
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("events wait in the ledger", reason=error.details)
                await asyncio.sleep(RETRY_EVERY)
                self._deliver.set()

    async def _deliver_events(self, timeout: float = DELIVER_WITHIN) -> None:
        while events := self._ledger.undelivered(OUTBOX_BATCH):
            # Sent in order and all at once; each is stored once, and folding minds no order.
            await asyncio.gather(
                *(self._journal.add_event(event, timeout=timeout) for _, event in events)
            )
            for number, _ in events:
                self._ledger.delivered(number)


def _cut(error: str) -> str:
    return f"{error[:LONGEST_ERROR]} … ({len(error)} characters in all)"
