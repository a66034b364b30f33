"""How far a job is: streams of events, bounded however many nodes it is for.

A follower is sent what has changed since the last message, the oldest changes first, and no more
than its share of bytes a second: of a thousand nodes each one comes a little more seldom. The sum
is always the present one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from towline.controller.progress.picture import FEW
from towline.controller.progress.watches import Watches
from towline.controller.turns import Turns
from towline.endpoint import Event
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


class ProgressStreams:
    """Streams of how far jobs are.

    Args:
        watches: the jobs that somebody follows at this controller.
        turns: those of all streams.
    """

    def __init__(self, watches: Watches, turns: Turns) -> None:
        self._watches = watches
        self._turns = turns

    async def of_job(self, job_id: str, machine: str | None) -> AsyncIterator[Event[Any]]:
        """Yield how far a job is until it has ended.

        Args:
            machine: the only node that is followed; None for all.
        """
        async with self._watches.follow(job_id) as watch:
            picture = watch.picture
            feed = picture.follow(machine)
            known: Total | None = None
            allowance, at = float(BURST), time.monotonic()
            summed = float("-inf")
            try:
                while True:
                    await self._turns.take()
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
                        yield Event(message, kind=PROGRESS)
                    if done and not feed:
                        counts = picture.total().nodes
                        ended = {"job_id": job_id, "status": picture.state.status, "nodes": counts}
                        yield Event(ended, END, END)
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
