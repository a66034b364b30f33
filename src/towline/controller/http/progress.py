"""How far a job is: server-sent events, bounded however many nodes it is for.

A follower is sent what has changed since the last message, the oldest changes first, and no more
than its share of bytes a second: of a thousand nodes each one comes a little more seldom. The sum
is always the present one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec

from towline.controller.http.sse import KEEP_ALIVE
from towline.controller.progress.picture import FEW
from towline.controller.progress.watches import Watches
from towline.wire.progress import JobProgress, Total

PROGRESS = "progress"
END = "end"
RATE = 75_000
"""Bytes a second that a follower is sent, on average: with what HTTP adds less than 100 kB."""
BURST = 20_000
"""Bytes that it may be sent at a time."""
PACE = 0.25
"""Seconds between two messages, at least."""
SUM_EVERY = 1.0
"""Seconds between sums over many nodes."""
LOOK_EVERY = 1.0


def _encode(kind: str, data: object, place: str = "") -> bytes:
    head = f"id: {place}\n" if place else ""
    return b"%bevent: %b\ndata: %b\n\n" % (head.encode(), kind.encode(), msgspec.json.encode(data))


class ProgressStreams:
    """Streams of how far jobs are.

    Args:
        watches: the jobs that somebody follows at this controller.
        stopping: set when the controller stops: then all streams end.
    """

    def __init__(self, watches: Watches, stopping: asyncio.Event) -> None:
        self._watches = watches
        self._stopping = stopping

    async def of_job(self, job_id: str, machine: str | None) -> AsyncIterator[bytes]:
        """Yield how far a job is until it has ended.

        Args:
            machine: the only node that is followed; None for all.
        """
        yield b"retry: 1000\n\n"
        async with self._watches.follow(job_id) as watch:
            picture = watch.picture
            feed = picture.follow(machine)
            known: Total | None = None
            allowance, at = float(BURST), time.monotonic()
            summed = sent = float("-inf")
            try:
                while not self._stopping.is_set():
                    now = time.monotonic()
                    allowance, at = min(BURST, allowance + RATE * (now - at)), now
                    done = picture.state.done
                    total = None
                    few = len(picture.state.tasks) <= FEW
                    if (few or done or now - summed >= SUM_EVERY) and picture.total() != known:
                        known, summed = picture.total(), now
                        total = known
                    message = dict[str, object](job_id=job_id, status=picture.state.status)
                    if total is not None:
                        message["total"] = total
                        allowance -= len(msgspec.json.encode(total))
                    # Whatever the sum has taken: a large one would leave room for nothing.
                    if nodes := feed.take(max(1, int(allowance))):
                        message["nodes"] = nodes
                        allowance -= sum(len(bytes(node)) + 1 for node in nodes)
                    if len(message) > 2:
                        sent = now
                        yield _encode(PROGRESS, message)
                    elif now - sent >= KEEP_ALIVE:
                        sent = now
                        yield b": still here\n\n"
                    if done and not feed:
                        counts = picture.total().nodes
                        ended = {"job_id": job_id, "status": picture.state.status, "nodes": counts}
                        yield _encode(END, ended, END)
                        return
                    await asyncio.sleep(PACE)
                    if not feed:
                        await watch.pulse.wait(LOOK_EVERY)
            finally:
                picture.leave(feed)

    async def snapshot(self, job_id: str, machine: str | None) -> JobProgress:
        """Return how far a job is now; as `of_job`."""
        async with self._watches.follow(job_id) as watch:
            return watch.picture.snapshot(machine)
