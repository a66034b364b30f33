"""The issuer: gives nodes the credentials that their tasks need, sealed to each."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from towline.broker.connection import Connection
from towline.broker.jetstream import BrokerRefused
from towline.controller.credentials.store import Kept, Registries
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.errors import BrokerUnreachable
from towline.operation import catalog
from towline.runtime.keys import WrongKey, seal
from towline.wire.credential import Answer, Credential, Issued, Question
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.event import RESULT_STATUS, UNFINISHED, Event
from towline.wire.job import Job
from towline.wire.subjects import QUESTIONS

log = structlog.get_logger()

_question = Decoder(Question)

T = TypeVar("T")

QUEUE = "controllers"
"""Of all controllers one answers each question."""
RETRY_EVERY = 0.5
TIDY_EVERY = 5.0
"""Seconds between looks for credentials of jobs that have ended, where no event told of the end."""
NEVER_MADE = 600.0
"""Seconds after which a job that nobody knows was never made, though its credential was kept."""


class _Lookups:
    """What was looked up for several questions at once, so that a thousand of them cost one."""

    def __init__(self) -> None:
        self._found: dict[object, object] = {}

    async def once(self, key: object, look: Callable[[], Awaitable[T]]) -> T:
        if key not in self._found:
            self._found[key] = await look()
        return self._found[key]  # type: ignore[return-value]


class Issuer:
    """Answers nodes that ask for credentials, and forgets those of jobs that have ended.

    A node is told what it needs for a job that it has a part in and has not ended, for the
    registry of that job's image, and nothing else; sealed to the key that it has registered.
    """

    def __init__(
        self,
        broker: Connection,
        index: Index,
        fleet: Fleet,
        indexer: Indexer,
        registries: Registries,
    ) -> None:
        self._broker = broker
        self._index = index
        self._fleet = fleet
        self._indexer = indexer
        self._registries = registries
        self._asked: list[Msg] = []
        self._some = asyncio.Event()
        self._held: set[str] = set()
        self._ended = asyncio.Event()
        self._later: set[asyncio.Task[None]] = set()
        indexer.subscribe(self._event_folded)

    async def run(self) -> None:
        """Answer nodes, and forget what nobody needs any more, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.listen())
            group.create_task(self.answer())
            group.create_task(self.tidy())

    # Asked

    async def listen(self) -> None:
        """Hear what nodes ask, for ever."""

        async def hear(message: Msg) -> None:
            self._asked.append(message)
            self._some.set()

        while True:
            client = await self._broker.client()
            try:
                await client.subscribe(QUESTIONS, queue=QUEUE, cb=hear)
            except (nats.errors.Error, OSError) as error:
                log.warning("questions of nodes not heard yet", reason=str(error))
                await asyncio.sleep(RETRY_EVERY)
                continue
            await self._broker.lost()

    async def answer(self) -> None:
        """Answer what was asked, for ever."""
        while True:
            await self._some.wait()
            self._some.clear()
            asked, self._asked = self._asked, []
            # All of these were asked before the first look: what it finds is news to none.
            lookups = _Lookups()
            for message in asked:
                await self._answer(message, lookups, patient=True)

    async def _answer(self, message: Msg, lookups: _Lookups, *, patient: bool) -> None:
        machine = message.subject.rpartition(".")[2]
        try:
            question = _question.decode(message.data)
            job = self._share(question.job, machine)
            if job is None and patient:
                # Perhaps this controller has not folded it yet; the others needn't wait for that.
                task = asyncio.create_task(self._answer_late(message))
                self._later.add(task)
                task.add_done_callback(self._later.discard)
                return
            answer = await self._issue(question.job, job, machine, lookups)
        except (Unreadable, KeyError, ValueError) as error:
            answer = Answer(error=f"the question, or its job, can't be read: {error}")
        except sqlite3.Error as error:
            answer = Answer(error=f"the index can't be read: {error}", again=True)
        except WrongKey as error:
            log.error("credential not readable", machine=machine, reason=error.details)
            answer = Answer(error=f"{error.error} {error.details}", again=True)
        except (BrokerUnreachable, BrokerRefused) as error:
            answer = Answer(error=f"{error.error} {error.details}", again=True)
        await self._broker.publish(message.reply, msgspec.json.encode(answer))

    async def _answer_late(self, message: Msg) -> None:
        try:
            await self._indexer.catch_up()
        except (BrokerUnreachable, BrokerRefused) as error:
            answer = Answer(error=f"{error.error} {error.details}", again=True)
            await self._broker.publish(message.reply, msgspec.json.encode(answer))
            return
        await self._answer(message, _Lookups(), patient=False)

    def _share(self, job_id: str, machine: str) -> Job | None:
        """Return a job that a node has a part in which has not ended, or None."""
        job = self._index.job(job_id)
        if job is None or self._index.task_status(job_id, machine) not in UNFINISHED:
            return None
        if job.waves is not None and machine not in self._index.turns(job_id):
            return None
        return job

    async def _issue(self, job_id: str, job: Job | None, machine: str, lookups: _Lookups) -> Answer:
        if job is None:
            return Answer(error=f"job {job_id} is not for this node, or has ended here")
        operation = catalog.get(job.operation)
        registry = None if operation is None else operation.credential_for(job.parameters)
        if registry is None:
            return Answer(error=f"{job.operation} needs no registry, as far as controllers know")
        kept = await self._kept(job, registry, lookups)
        if kept is None:
            if job.credential:
                return Answer(error=f"the credential that came with job {job_id} is gone")
            return Answer()
        credential = self._registries.open(kept, job_id=job_id if job.credential else None)
        member = self._fleet.get(machine)
        issued = Issued(job_id, registry, credential, job.credential)
        try:
            key = "" if member is None else member.registration.public_key
            sealed = seal(msgspec.json.encode(issued), key)
        except ValueError:
            return Answer(error="this controller does not know the node's public key", again=True)
        log.info(
            "credential given",
            job=job_id,
            machine=machine,
            registry=registry,
            whose=credential.who,
        )
        return Answer(sealed)

    async def _kept(self, job: Job, registry: str, lookups: _Lookups) -> Kept | None:
        if job.credential:
            # Whoever kept it may be gone: this controller looks out for its end, too.
            self._held.add(job.id)
            return await lookups.once(job.id, lambda: self._registries.get_for_job(job.id))
        return await lookups.once(registry, lambda: self._registries.get(registry))

    # Forgotten

    async def keep(self, job: Job, credential: Credential) -> None:
        """Keep what a request brought for its job, until the job has ended.

        Raises:
            BrokerUnreachable, BrokerRefused: it may not have been kept.
        """
        operation = catalog.get(job.operation)
        registry = None if operation is None else operation.credential_for(job.parameters)
        if registry is not None:
            await self._registries.put_for_job(job.id, registry, credential, job.caller)
            self._held.add(job.id)

    def _event_folded(self, event: Event) -> None:
        if event.job in self._held and event.kind in RESULT_STATUS:
            self._ended.set()

    async def tidy(self) -> None:
        """Forget the credentials of jobs that have ended, for ever."""
        while True:
            self._ended.clear()
            try:
                before = set(self._held)
                held = set(await self._registries.jobs())
                # What was kept since that was asked stays; what another controller forgot goes.
                self._held = held | (self._held - before)
                for job_id in held:
                    if self._over(job_id):
                        await self._registries.remove_for_job(job_id)
                        self._held.discard(job_id)
            except (BrokerUnreachable, BrokerRefused, sqlite3.Error) as error:
                log.warning("credentials of ended jobs not forgotten yet", reason=str(error))
            try:
                async with asyncio.timeout(TIDY_EVERY):
                    await self._ended.wait()
            except TimeoutError:
                continue

    def _over(self, job_id: str) -> bool:
        state = self._index.status(job_id)
        if state is not None:
            return state.done
        if self._index.deleted(job_id):
            return True
        # Kept a moment before the job is made; and by an index that is behind no job is known.
        return self._indexer.caught_up and time.time() - made_at(job_id) > NEVER_MADE


def made_at(job_id: str) -> float:
    """Return when a job's id was made, in seconds since 1970; 0 where it is no id."""
    try:
        return int(job_id[:13].replace("-", ""), 16) / 1000
    except ValueError:
        return 0.0
