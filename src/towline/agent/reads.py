"""Reads: answered past the ledger, since nothing is lost if they are not."""

from __future__ import annotations

import time
from collections import OrderedDict

import msgspec
import structlog

from towline.agent.executor import Executor, Mode, job_of
from towline.broker.connection import Connection
from towline.wire.release import Cancellation, Release

log = structlog.get_logger()

REMEMBERED = 1000
"""Answers kept in memory: a controller that has not received one asks again."""
LARGEST_REMEMBERED = 16 * 1024
"""Bytes of an answer that is kept; the reads of larger ones are done again."""
MOST_REPLIES = 8
"""Subjects on which one read that is under way is answered, at most."""


class Reads:
    """Answers tasks that only read, each on the subject that its release names."""

    def __init__(self, connection: Connection, executor: Executor) -> None:
        self._connection = connection
        self._executor = executor
        self._answered: OrderedDict[str, bytes] = OrderedDict()
        self._replies: dict[str, list[str]] = {}

    def take(self, release: Release, reply: str) -> None:
        """Begin to answer a task, unless that is under way.

        Args:
            reply: the subject on which its end is published, once.
        """
        known = self._replies.get(release.id)
        if known is not None:
            if reply not in known and len(known) < MOST_REPLIES:
                known.append(reply)
        elif not self._executor.runs(release.id):
            self._replies[release.id] = [reply]
            self._executor.spawn(release.id, self._answer(release))

    def cancel(self, order: Cancellation) -> bool:
        """Cancel a task; return False where it is none that is, or was, answered here."""
        if order.id not in self._replies:
            return order.id in self._answered
        self._executor.cancel(order.id, f"cancelled by {order.caller}")
        return True

    async def _answer(self, release: Release) -> None:
        try:
            body = self._answered.get(release.id)
            if body is None:
                body = await self._read(release)
            for reply in self._replies[release.id]:
                await self._connection.publish(reply, body)
        finally:
            del self._replies[release.id]

    async def _read(self, release: Release) -> bytes:
        job = job_of(release)
        begun = time.monotonic()
        ended = self._executor.refusal(release, None)
        if ended is None:
            mode = Mode(announced=True, recorded=False)
            started = self._executor.now(job.id)
            ended = await self._executor.execute(release, started, mode)
        self._executor.log_end(job, ended, begun)
        body = msgspec.json.encode(ended)
        if len(body) <= LARGEST_REMEMBERED:
            self._answered[job.id] = body
            if len(self._answered) > REMEMBERED:
                self._answered.popitem(last=False)
        return body
