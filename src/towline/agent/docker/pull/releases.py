"""What controllers say of a pull now: the release of a task that shares it.

On the usual way that is what they have sent with the task, and nothing is asked. They are asked for
the task anew where the release came from the node's ledger, after a wait, and before a later
attempt; one answer serves all hooks of an attempt.
"""

from __future__ import annotations

from collections.abc import Callable

from towline.agent.docker.pull.attempt import Attempt, Reply
from towline.agent.provider import Questions, Task
from towline.errors import BrokerUnreachable, TaskFailed
from towline.wire.release import Release

FRESH_FOR = 5.0
"""Seconds for which what controllers have said counts as what they would say now."""
FRESH_PER_NODE = 0.002
"""Seconds that each node of a job adds to that. What is sent to thousands takes a while to be sent
and begun, and a question from each of them would come just then."""


class Releases:
    """Has the present release of each attempt.

    Args:
        now: returns seconds since 1970, by the controllers' clock.
        fresh_for: seconds; see the constant.
    """

    def __init__(
        self, questions: Questions, now: Callable[[], float], *, fresh_for: float = FRESH_FOR
    ) -> None:
        self._questions = questions
        self._now = now
        self._fresh_for = fresh_for

    async def current(self, attempt: Attempt) -> Release | None:
        """Return the release of a task that shares the pull, asked for anew where that is due.

        Returns:
            None where there is no task to ask for.

        Raises:
            BrokerUnreachable: no controller could be asked.
            TaskFailed: controllers refuse it for each task that shares the pull.
        """
        if attempt.reply is None and not attempt.asks:
            attempt.reply = _sent(attempt)
        reply = attempt.reply
        if reply is None:
            return await self.ask(attempt)
        fresh_for = self._fresh_for
        if reply.release is not None and reply.release.job is not None:
            fresh_for += FRESH_PER_NODE * reply.release.job.nodes
        if self._now() - reply.moment > fresh_for:
            return await self.ask(attempt)
        if reply.error is not None:
            raise reply.error
        return reply.release

    async def ask(self, attempt: Attempt) -> Release | None:
        """Ask controllers; returns and raises as `current`.

        Any task that shares the pull will do: one may have ended when they receive the question.
        """
        refusal: TaskFailed | None = None
        for task in _askers(attempt):
            try:
                release = await self._questions.task(task.job.id)
            except BrokerUnreachable as error:
                attempt.reply = Reply(self._now(), error=error)
                raise
            except TaskFailed as error:
                refusal = error
            else:
                attempt.reply = Reply(self._now(), release)
                return release
        if refusal is not None:
            attempt.reply = Reply(self._now(), error=refusal)
            raise refusal
        return None


def _askers(attempt: Attempt) -> list[Task]:
    """Return the tasks whose release will do: where a request brought a credential, its own."""
    login = attempt.order.login
    return [task for task in attempt.tasks() if login in (None, task.job.id)]


def _sent(attempt: Attempt) -> Reply | None:
    """Return the newest release that a controller has just sent."""
    sent = [task.release for task in _askers(attempt) if task.fresh]
    newest = max(sent, key=lambda release: release.time, default=None)
    return None if newest is None else Reply(newest.time, newest)
