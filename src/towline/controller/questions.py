"""Questions of nodes: each is answered by one controller, and only about what is the node's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from towline.broker.connection import Connection
from towline.broker.listener import Listener, Received
from towline.controller.budget import LOOKED_UP, STORED, Budget
from towline.controller.cooldowns import Cooldowns
from towline.controller.fleet import Fleet
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.reports import sender_of
from towline.controller.jobs.state import JobState
from towline.controller.joining import Joining
from towline.controller.presence import Presence
from towline.controller.rollout.releases import Releases
from towline.errors import BrokerError, Forbidden
from towline.trust.signing import Signer, answer_to
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.report import Answer
from towline.wire.subjects import (
    CONTROLLERS,
    COOLDOWN,
    QUESTIONS,
    REGISTER,
    RENEW,
    TASK,
    machine_of,
)

log = structlog.get_logger()


class Questions:
    """Answers what nodes ask: to register them, a task anew, about a cooldown, for a new login.

    Args:
        nodes: the connection to the nodes' account.
        signer: signs the answers.
        budget: what each node may send.
        joining: makes logins; None where this controller can make none.
    """

    def __init__(
        self,
        nodes: Connection,
        signer: Signer,
        presence: Presence,
        fleet: Fleet,
        jobs: OpenJobs,
        indexer: Indexer,
        releases: Releases,
        cooldowns: Cooldowns,
        budget: Budget,
        joining: Joining | None,
    ) -> None:
        self._nodes = nodes
        self._signer = signer
        self._presence = presence
        self._fleet = fleet
        self._open = jobs
        self._indexer = indexer
        self._releases = releases
        self._cooldowns = cooldowns
        self._budget = budget
        self._joining = joining
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[str, Callable[[Received], Awaitable[Answer]]] = {
            REGISTER: presence.register,
            TASK: self._task,
            COOLDOWN: self._cooldown,
            RENEW: self._renew,
        }
        receive = budget.limited(self.receive)
        self.listener = Listener(nodes, QUESTIONS, receive, queue=CONTROLLERS)

    def receive(self, received: Received) -> None:
        """Answer a question.

        Raises:
            Unreadable: it is about nothing that is known here, or could be answered nowhere.
        """
        machine_of(received.subject)
        reply = sender_of(received)
        about = received.subject.rpartition(".")[2]
        if about not in self._answers:
            raise Unreadable(f"nothing is known of {about!r} here")
        task = asyncio.create_task(self._answer(received, reply, self._answers[about]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self,
        received: Received,
        reply: str,
        find: Callable[[Received], Awaitable[Answer]],
    ) -> None:
        now = time.time()
        try:
            answer = await find(received)
        except (Unreadable, ValueError) as error:
            self.listener.count_unreadable(received, error)
            answer = Answer(now, error=f"the question, or its job, can't be read: {error}")
        except BrokerError as error:
            answer = Answer(now, error=f"{error.error} {error.details}", again=True)
        except Exception:
            # Whatever a question brings about, the others are answered.
            log.exception("question broke off", subject=received.subject)
            answer = Answer(now, error="the controller failed at this: see its log", again=True)
        purpose = answer_to(received.subject, received.data, reply)
        await self._nodes.publish(reply, self._signer.seal(answer, purpose))

    async def _task(self, received: Received) -> Answer:
        """Give a node its task anew."""
        question = messages.task_question(received.data)
        machine = machine_of(received.subject)
        state = await self._share(question.job, machine)
        if state is None:
            return Answer(time.time(), error=_not_its(question.job))
        found = await self._releases.compose(state, [machine], whole=True)
        return Answer(time.time(), release=found[machine])

    async def _cooldown(self, received: Received) -> Answer:
        """Take that a node was refused for too many requests."""
        question = messages.cooldown_question(received.data)
        machine = machine_of(received.subject)
        state = await self._share(question.job, machine)
        if state is None:
            return Answer(time.time(), error=_not_its(question.job))
        self._budget.spend(machine, STORED)
        hostname = state.tasks[machine].hostname
        cooldown = await self._cooldowns.limited(state.job, hostname, question)
        return Answer(time.time(), cooldown=cooldown)

    async def _renew(self, received: Received) -> Answer:
        """Give a node a new login, for the key that it came in with, and what it is to trust."""
        machine = machine_of(received.subject)
        if self._joining is None:
            error = "this controller has no keys to make logins with"
            return Answer(time.time(), error=error, again=True)
        self._budget.spend(machine, LOOKED_UP)
        try:
            renewal = await self._joining.renewed(machine)
        except Forbidden as error:
            return Answer(time.time(), error=error.error)
        return Answer(time.time(), renewal=renewal)

    async def _share(self, job_id: str, machine: str) -> JobState | None:
        """Return a job in which a node has its turn, and has not ended; None for any other."""
        state = self._open.get(job_id)
        if state is None or machine not in state.turns.under_way:
            # Perhaps this controller has not folded it yet.
            self._budget.spend(machine, LOOKED_UP)
            await self._indexer.catch_up()
            state = self._open.get(job_id)
        if state is None or machine not in state.turns.under_way:
            return None
        return state


def _not_its(job_id: str) -> str:
    return f"job {job_id} is not for this node, or has ended here"
