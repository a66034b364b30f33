"""Tasks as a node's providers are given them, and controllers that answer as a test says."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from towline.agent.provider import Questions, Task
from towline.errors import BrokerUnreachable
from towline.wire.cooldown import Cooldown
from towline.wire.event import Lead, Step
from towline.wire.job import Job
from towline.wire.release import Release

AWAY = BrokerUnreachable("The broker is out of reach.", "nobody answers")


def a_release(job: Job, **more: Any) -> Release:
    """Return a release of a task of a job, sent now unless `more` says otherwise."""
    fields = {"time": time.time(), "expires": job.expires, "job": job, **more}
    return Release(job.id, "machine", **fields)


def a_task(
    job: Job,
    *,
    fresh: bool = True,
    step: Callable[[Step], None] = lambda _: None,
    found: Callable[[str], Awaitable[Lead]] | None = None,
    **release: Any,
) -> Task:
    """Return a task of a job, whose release holds `release`."""
    return Task(job, a_release(job, **release), fresh, step, lambda _: None, found)


class Answers(Questions):
    """Controllers that answer each question with the next of what a test says.

    Attributes:
        tasks: what is answered to questions for a task: a release's fields or an error; the last
            one again and again.
        asked: the ids of the jobs that were asked for.
        cooldowns: the same, of questions about a cooldown.
        refusals: what those questions said.
    """

    def __init__(self, *tasks: dict[str, Any] | Exception) -> None:
        self.tasks = list(tasks) or [AWAY]
        self.asked: list[str] = []
        self.cooldowns: list[Cooldown | Exception | None] = [AWAY]
        self.refusals: list[tuple[str, str, float | None, float | None]] = []

    async def task(self, job_id: str) -> Release:
        """Answer a question for a task."""
        self.asked.append(job_id)
        answer = self.tasks.pop(0) if len(self.tasks) > 1 else self.tasks[0]
        if isinstance(answer, Exception):
            raise answer
        return Release(job_id, "machine", **{"time": time.time(), "expires": 0.0, **answer})

    async def cooldown(
        self, job_id: str, *, reason: str, known: float | None, asked: float | None
    ) -> Cooldown | None:
        """Answer a question about a cooldown."""
        self.refusals.append((job_id, reason, known, asked))
        answer = self.cooldowns.pop(0) if len(self.cooldowns) > 1 else self.cooldowns[0]
        if isinstance(answer, Exception):
            raise answer
        return answer
