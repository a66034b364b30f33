"""The issuer: gives nodes the credentials that their tasks need, sealed to each."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from towline.broker.answers import BrokerRefused
from towline.broker.connection import Connection
from towline.controller.credentials.store import CredentialStore, StoredCredential
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.errors import BrokerUnreachable
from towline.operation import catalog
from towline.runtime.keys import WrongKey, seal
from towline.wire.credential import Answer, Issued, Question
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.event import UNFINISHED
from towline.wire.job import Job
from towline.wire.subjects import QUESTIONS

log = structlog.get_logger()

_question = Decoder(Question)

T = TypeVar("T")

QUEUE = "controllers"
"""The queue group of all controllers, one of which answers each question."""
RETRY_EVERY = 0.5
"""Seconds between attempts to subscribe to the questions."""


class _Lookups:
    """What was looked up for several questions at once, so that a thousand of them cost one."""

    def __init__(self) -> None:
        self._found: dict[object, object] = {}

    async def once(self, key: object, look: Callable[[], Awaitable[T]]) -> T:
        if key not in self._found:
            self._found[key] = await look()
        return self._found[key]  # type: ignore[return-value]


class Issuer:
    """Answers nodes that ask for credentials.

    A node is given what it needs for a job that it has a part in and that has not ended there, and
    nothing else; sealed to the key that it has registered.

    Args:
        retry_every: seconds; see the constant.
    """

    def __init__(
        self,
        connection: Connection,
        index: Index,
        fleet: Fleet,
        indexer: Indexer,
        store: CredentialStore,
        *,
        retry_every: float = RETRY_EVERY,
    ) -> None:
        self._connection = connection
        self._index = index
        self._fleet = fleet
        self._indexer = indexer
        self._store = store
        self._retry_every = retry_every
        self._questions: list[Msg] = []
        self._arrived = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer nodes, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive())
            group.create_task(self._answer_all())

    async def _receive(self) -> None:
        async def receive(message: Msg) -> None:
            self._questions.append(message)
            self._arrived.set()

        while True:
            client = await self._connection.client()
            try:
                await client.subscribe(QUESTIONS, queue=QUEUE, cb=receive)
            except (nats.errors.Error, OSError) as error:
                log.warning("questions of nodes not received yet", reason=str(error))
                await asyncio.sleep(self._retry_every)
                continue
            await self._connection.lost()

    async def _answer_all(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            questions, self._questions = self._questions, []
            # All of these arrived before the first look: what it finds is news to none.
            lookups = _Lookups()
            for message in questions:
                await self._answer(message, lookups, patient=True)

    async def _answer(self, message: Msg, lookups: _Lookups, *, patient: bool) -> None:
        """Answer a question; one for a job that isn't known yet later, where `patient`."""
        machine = message.subject.rpartition(".")[2]
        try:
            question = _question.decode(message.data)
            job = self._share(question.job, machine)
            if job is None and patient:
                # Perhaps this controller has not folded it yet; the others needn't wait for that.
                task = asyncio.create_task(self._answer_late(message))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                return
            answer = await self._issue(question.job, job, machine, lookups)
        except (Unreadable, KeyError, ValueError) as error:
            answer = Answer(error=f"the question, or its job, can't be read: {error}")
        except sqlite3.Error as error:
            answer = Answer(error=f"the index can't be read: {error}", again=True)
        except WrongKey as error:
            log.error("credential not readable", machine=machine, reason=error.details)
            answer = Answer(error=str(error), again=True)
        except (BrokerUnreachable, BrokerRefused) as error:
            answer = Answer(error=str(error), again=True)
        except Exception:
            # Whatever a question brings about, the others are answered.
            log.exception("question broke off", machine=machine)
            answer = Answer(error="the controller failed at this: see its log", again=True)
        await self._connection.publish(message.reply, msgspec.json.encode(answer))

    async def _answer_late(self, message: Msg) -> None:
        try:
            await self._indexer.catch_up()
        except (BrokerUnreachable, BrokerRefused) as error:
            answer = Answer(error=str(error), again=True)
            await self._connection.publish(message.reply, msgspec.json.encode(answer))
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
        stored = await self._stored(job, registry, lookups)
        if stored is None:
            if job.credential:
                return Answer(error=f"the credential that came with job {job_id} is gone")
            return Answer()
        credential = self._store.open(stored, job_id=job_id if job.credential else None)
        member = self._fleet.get(machine)
        issued = Issued(job_id, registry, credential, job.credential)
        try:
            key = "" if member is None else member.registration.public_key
            sealed = seal(msgspec.json.encode(issued), key)
        except ValueError:
            return Answer(error="this controller does not know the node's public key", again=True)
        log.info(
            "credential issued",
            job=job_id,
            machine=machine,
            registry=registry,
            whose=credential.who,
        )
        return Answer(sealed)

    async def _stored(self, job: Job, registry: str, lookups: _Lookups) -> StoredCredential | None:
        if job.credential:
            return await lookups.once(job.id, lambda: self._store.get_for_job(job.id))
        return await lookups.once(registry, lambda: self._store.get(registry))
