"""The inbox: jobs and cancellations as the broker delivers them, each to whom it is for.

Nodes follow the journal themselves, here and in `delivery`; nothing else of the agent knows that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3

import structlog

from towline.agent.capabilities import Capabilities
from towline.agent.delivery import Claims, Delivery
from towline.agent.drain import Drain
from towline.agent.executor import Executor
from towline.agent.ledger import Ledger
from towline.agent.part import keep_running
from towline.agent.reads import Reads
from towline.agent.runner import Runner
from towline.broker.answers import BrokerRefused
from towline.broker.consumer import Follower, Message
from towline.broker.durable import DurableFollower
from towline.broker.journal import JOBS, LONGEST_AGE, Journal
from towline.errors import BrokerUnreachable
from towline.operation import Effect, catalog
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.job import CANCEL, Job
from towline.wire.subjects import ALL_SUBJECT, any_subject, label_subject, node_subject
from towline.wire.target import ANY, Label

log = structlog.get_logger()

_job = Decoder(Job)

PLACES = 128
"""Nodes that wait for `_any` jobs at a time: enough for any rate, and any of them will do."""
TIDY_EVERY = 300.0
"""Seconds between looks at what the broker will not deliver again, at most."""
TIDY_AFTER = 5000
"""Jobs after which the ledger is tidied all the same."""
LEDGER_KEEPS = LONGEST_AGE + 86400.0
"""Seconds that ended tasks stay known: longer than any journal keeps jobs."""


class Inbox:
    """Takes what the broker delivers to one node.

    Attributes:
        ready: set once nothing is missed that is asked of this node from here on.

    Args:
        labels: what the node carries.
        drain: whether the node is drained.
        tidy_every: seconds, at most, until the ledger forgets what won't be delivered again.
    """

    def __init__(
        self,
        journal: Journal,
        machine: str,
        labels: list[Label],
        *,
        ledger: Ledger,
        runner: Runner,
        reads: Reads,
        executor: Executor,
        claims: Claims,
        capabilities: Capabilities,
        drain: Drain,
        tidy_every: float = TIDY_EVERY,
    ) -> None:
        self._journal = journal
        self._machine = machine
        self._labels = labels
        self._ledger = ledger
        self._runner = runner
        self._reads = reads
        self._executor = executor
        self._claims = claims
        self._capabilities = capabilities
        self._drain = drain
        self._tidy_every = tidy_every
        self._taken = 0
        self._untidy = asyncio.Event()
        self._changed = asyncio.Event()
        self.ready = asyncio.Event()

    def changed(self) -> None:
        """Look anew at what this node can do: it follows `_any` jobs for that, and only that."""
        self._changed.set()

    async def run(self) -> None:
        """Take jobs and cancellations, for ever."""
        subjects = [node_subject(self._machine), ALL_SUBJECT]
        for label in self._labels:
            subjects += [label_subject(prefix) for prefix in label.prefixes()]
        own = DurableFollower(
            self._journal.jetstream,
            JOBS,
            self._machine,
            subjects=subjects,
            resume=self._ledger.settled,
        )
        await own.prepare()
        await self._settle(str(own.created), own.delivered)
        self.ready.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(own))
            group.create_task(self._follow_shared())
            group.create_task(self._tidy())

    async def _follow(self, follower: Follower) -> None:
        async for message in follower:
            try:
                await self._take(message)
            except Exception:
                # Not acknowledged: it is delivered again in a while, and others meanwhile.
                log.exception("message not understood", sequence=message.sequence)

    async def _follow_shared(self) -> None:
        """Ask for `_any` jobs while this node can do them, and only then."""
        shared: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._changed.clear()
                for capability in self._capabilities.names:
                    works = not self._drain.drained and self._capabilities.works(capability)
                    if works and capability not in shared:
                        shared[capability] = asyncio.create_task(self._follow_any(capability))
                    elif not works and capability in shared:
                        shared.pop(capability).cancel()
                await self._changed.wait()
        finally:
            for task in shared.values():
                task.cancel()
            await asyncio.gather(*shared.values(), return_exceptions=True)

    async def _follow_any(self, capability: str) -> None:
        async def follow() -> None:
            follower = DurableFollower(
                self._journal.jetstream,
                JOBS,
                f"_any-{capability}",
                subjects=[any_subject(capability)],
                # The first node that can do it finds what was asked before it came.
                after=0,
                batch=1,
                places=PLACES,
                # Few, and all nodes depend on them.
                replicas=0,
            )
            await self._follow(follower)

        await keep_running(f"inbox for {capability}", follow)

    async def _take(self, message: Message) -> None:
        try:
            job = _job.decode(message.data)
        except Unreadable as error:
            log.error("job not readable", sequence=message.sequence, reason=str(error))
            await message.acknowledge()
            return
        delivery = Delivery(job, self._claims, message)
        self._taken += 1
        if self._taken >= TIDY_AFTER:
            self._untidy.set()
        if job.operation == CANCEL:
            if "job" in job.parameters:
                self._runner.cancel(str(job.parameters["job"]), delivery)
            else:
                log.error("cancellation not understood", job=job.id)
                await delivery.acknowledge()
            return
        if self._executor.runs(job.id):
            # A second delivery of what is under way: its task acknowledges for both.
            return
        if not job.is_for(self._machine):
            if job.target == str(ANY):
                # This node is drained, and doesn't know it yet.
                self._drain.check()
                await delivery.refuse()
            else:
                await delivery.acknowledge()
            return
        operation = catalog.get(job.operation)
        if operation is not None and operation.effect is Effect.READ:
            await self._reads.take(delivery)
        else:
            self._runner.take(delivery)

    async def _tidy(self) -> None:
        """Learn now and then what will not be delivered again, and forget it, for ever."""
        while True:
            self._taken = 0
            self._untidy.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(self._tidy_every / 2, self._tidy_every)):
                    await self._untidy.wait()
            try:
                await self._settle(*await self._journal.delivered(self._machine))
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("position not known", reason=error.details)

    async def _settle(self, stream: str, sequence: int) -> None:
        """Forget what the broker will not deliver again; what is known for its age, by its age.

        That is jobs for any node, and refused ones.

        Args:
            stream, sequence: see `Ledger.settle`.
        """
        try:
            if self._journal.jetstream.clock.known.is_set():
                self._ledger.forget(self._journal.jetstream.clock.now() - LEDGER_KEEPS)
            await self._ledger.settle(stream, sequence)
        except sqlite3.Error as error:
            log.warning("position not recorded", reason=str(error))
