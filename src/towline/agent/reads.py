"""Reads: answered past the ledger, since nothing is lost if they are not."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

import msgspec
import structlog

from towline.agent.executor import Executor, Mode, job_of
from towline.broker.connection import Connection
from towline.wire.event import Event
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
        job, begun, ended = job_of(release), time.monotonic(), None
        try:
            body = self._answered.get(job.id)
            if body is None:
                ended = await self._read(release)
                body = self._remember(ended)
            for reply in self._replies[job.id]:
                await self._connection.publish(reply, body)
        finally:
            del self._replies[job.id]
        if ended is not None:
            # Behind the answer, which is sent in the event loop's next turn: nobody waits for this.
            asyncio.get_running_loop().call_soon(self._executor.log_end, job, ended, begun)

    async def _read(self, release: Release) -> Event:
        ended = self._executor.refusal(release, None)
        if ended is not None:
            return ended
        mode = Mode(announced=True, recorded=False)
        return await self._executor.execute(release, self._executor.now(release.id), mode)

    def _remember(self, ended: Event) -> bytes:
        """Return an answer as it is sent, and keep it."""
        body = msgspec.json.encode(ended)
        if len(body) <= LARGEST_REMEMBERED:
            self._answered[ended.job] = body
            if len(self._answered) > REMEMBERED:
                self._answered.popitem(last=False)
        return body
