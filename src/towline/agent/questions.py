"""What an agent asks controllers: to register it, a task anew, about a cooldown, a new login."""

from __future__ import annotations

import msgspec
import structlog

from towline.agent.asking import Controllers
from towline.agent.fields import clean
from towline.broker.connection import unreachable
from towline.errors import BrokerUnreachable, TaskFailed
from towline.runtime.pauses import Pauses
from towline.trust.claims import NotTrusted
from towline.wire import messages
from towline.wire.cooldown import Cooldown
from towline.wire.joining import Renewal
from towline.wire.node import Registration
from towline.wire.release import Release
from towline.wire.report import Answer, CooldownQuestion, RenewalQuestion, TaskQuestion
from towline.wire.subjects import COOLDOWN, REGISTER, RENEW, TASK, question_subject

log = structlog.get_logger()

ANSWER_WITHIN = 5.0
"""Seconds that an answer may take: a controller that lags waits for its fold before it answers."""
ATTEMPTS = 3
RETRY_EVERY = 0.5
"""Attempts at a question that nobody answers, or that another controller may know an answer to, and
seconds between them, at least half of that: one of several controllers may be frozen."""


class SecondAgent(BrokerUnreachable):
    """Another agent with the identity of this one is here, and counts."""


class ControllerQuestions:
    """Asks controllers; see `towline.agent.provider.Questions`.

    Args:
        retry_every: seconds; see the constant.
    """

    def __init__(
        self,
        controllers: Controllers,
        machine: str,
        *,
        retry_every: float = RETRY_EVERY,
    ) -> None:
        self._machine = machine
        self._controllers = controllers
        self._retry_every = retry_every

    async def register(self, registration: Registration) -> Answer:
        """Register the node; asked once.

        Raises:
            SecondAgent: another agent with this identity is here.
            BrokerUnreachable: nobody answers, or not with yes.
        """
        answer = await self._ask(REGISTER, registration)
        if answer.second:
            raise SecondAgent("Not registered.", f"not registered: {answer.error}")
        if answer.error:
            raise unreachable(f"not registered: {answer.error}")
        return answer

    async def task(self, job_id: str) -> Release:
        """Return a task of this node's anew; see `Questions`."""
        answer = await self._insist(TASK, TaskQuestion(job_id))
        release = answer.release
        if release is None:
            raise TaskFailed(answer.error or "the controllers know nothing of this task")
        if release.id != job_id or release.job is None:
            raise unreachable("what was answered is not the task that was asked for")
        return release

    async def cooldown(
        self, job_id: str, *, reason: str, known: float | None, asked: float | None
    ) -> Cooldown | None:
        """Report a refusal, and return the cooldown in force; see `Questions`."""
        question = CooldownQuestion(job_id, clean(reason), known, asked)
        answer = await self._insist(COOLDOWN, question)
        if answer.error:
            log.warning("no cooldown", job=job_id, reason=answer.error)
        return answer.cooldown

    async def renew(self) -> Renewal:
        """Return a new login for this node's key, and what the node is to trust.

        Raises:
            NotTrusted: the controllers give it none.
            BrokerUnreachable: nobody answers.
        """
        answer = await self._insist(RENEW, RenewalQuestion())
        if answer.renewal is None:
            raise NotTrusted("The controllers give this node no new login.", answer.error)
        return answer.renewal

    async def _insist(self, about: str, question: msgspec.Struct) -> Answer:
        """Ask until there is an answer which another attempt wouldn't better.

        Raises:
            BrokerUnreachable: there is none after some attempts.
        """
        reason = ""
        pauses = Pauses(self._retry_every, 2 * self._retry_every)
        for attempt in range(ATTEMPTS):
            if attempt:
                await pauses.wait()
            try:
                answer = await self._ask(about, question)
            except BrokerUnreachable as error:
                reason = error.details
            else:
                if not answer.again:
                    return answer
                reason = answer.error
            log.info("no answer yet", about=about, reason=reason)
        raise unreachable(reason)

    async def _ask(self, about: str, question: msgspec.Struct) -> Answer:
        subject = question_subject(self._machine, about)
        body = msgspec.json.encode(question)
        return await self._controllers.ask(subject, body, ANSWER_WITHIN, messages.answer)
