"""How many bytes this node's tasks have done, sent over a plain subject: none of it is kept.

What is sent of a task is whole. It is sent when it differs from what was sent before, at most twice
a second, and again now and then, when the broker is back, and when a controller asks.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from towline.broker.connection import Connection
from towline.wire.progress import TaskProgress
from towline.wire.subjects import progress_subject

PACE = 0.5
"""Seconds between two messages of a task, at least, and before the first."""
REPEAT_EVERY = 10.0
"""Seconds after which the same is sent again: a message may be lost on its way."""


class Progress:
    """The progress of one task.

    Attributes:
        newest: what there is to send, encoded.
        sent: what was sent last; empty for nothing, or for what is to be sent again.
        sent_at: when, by the loop's clock; at first when the task's progress began: what is soon
            over sends none.

    Args:
        began: when it began, by the loop's clock.
        pace: see `ProgressSender`.
    """

    def __init__(
        self,
        subject: str,
        began: float,
        *,
        pace: float = PACE,
    ) -> None:
        self.subject = subject
        self.newest = b""
        self.sent = b""
        self.sent_at = began
        self._pace = pace

    @property
    def due_at(self) -> float:
        """When it is to be sent, by the loop's clock."""
        return self.sent_at + (REPEAT_EVERY if self.sent == self.newest else self._pace)


class ProgressSender:
    """Sends the progress of this node's tasks.

    Args:
        pace: seconds between two messages of a task, at least.
    """

    def __init__(
        self,
        connection: Connection,
        machine: str,
        *,
        pace: float = PACE,
    ) -> None:
        self._connection = connection
        self._machine = machine
        self._pace = pace
        self._tasks: dict[str, Progress] = {}
        self._due = asyncio.Event()

    def send(self, job_id: str, report: TaskProgress) -> None:
        """Send the progress of the task of a job, as soon as that is due."""
        task = self._tasks.get(job_id)
        if task is None:
            task = self._tasks[job_id] = Progress(
                progress_subject(self._machine, job_id),
                asyncio.get_running_loop().time(),
                pace=self._pace,
            )
        task.newest = msgspec.json.encode(report)
        if task.sent != task.newest:
            self._due.set()

    def end(self, job_id: str) -> None:
        """Send nothing more of the task of a job."""
        self._tasks.pop(job_id, None)

    def refresh(self, job_id: str) -> None:
        """Send the progress of the task of a job again, as soon as anything new would be sent."""
        task = self._tasks.get(job_id)
        if task is not None:
            task.sent = b""
            self._due.set()

    async def run(self) -> None:
        """Send what there is to send, for ever."""
        while True:
            await self._connection.client()
            lost = asyncio.create_task(self._connection.lost())
            lost.add_done_callback(lambda _: self._due.set())
            for task in self._tasks.values():
                task.sent = b""
            try:
                while not lost.done():
                    await self._send_due()
            finally:
                lost.cancel()

    async def _send_due(self) -> None:
        """Send what is due, and wait until something is."""
        loop = asyncio.get_running_loop()
        self._due.clear()
        for task in list(self._tasks.values()):
            if task.due_at <= loop.time():
                task.sent, task.sent_at = task.newest, loop.time()
                await self._connection.publish(task.subject, task.sent)
        next_at = min((task.due_at for task in self._tasks.values()), default=None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(next_at):
                await self._due.wait()
