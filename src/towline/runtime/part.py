"""A part of a process that runs for as long as the process does, whatever goes wrong in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec

import structlog

from towline.runtime.pauses import Pauses

log = structlog.get_logger()

P = ParamSpec("P")

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds between an unexpected error of a part and its next run; doubled each time, so that a
fault that stays fills no log, and back to the shortest once a run has lasted this long."""


async def keep_running(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    shortest_pause: float = SHORTEST_PAUSE,
) -> None:
    """Run a part for ever: an error that it did not expect is logged, and the part begins anew.

    Args:
        name: what the log calls the part.
        run: begins the part; it is called again whenever it has ended, until this is cancelled.
        shortest_pause: seconds.
    """
    loop = asyncio.get_running_loop()
    pauses = Pauses(shortest_pause, LONGEST_PAUSE)
    while True:
        begun = loop.time()
        try:
            await run()
            log.error("part ended", part=name)
        except asyncio.CancelledError:
            # A library that cancels its own futures must not end a part in silence.
            if is_cancelled():
                raise
            log.exception("part broke off", part=name)
        except Exception:
            log.exception("part broke off", part=name)
        if loop.time() - begun > LONGEST_PAUSE:
            pauses.reset()
        await pauses.wait()


def notify(listeners: Iterable[Callable[P, None]], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call each listener; one that raises costs its caller nothing, and no other listener."""
    for listener in listeners:
        try:
            listener(*args, **kwargs)
        except Exception:
            log.exception("listener broke off")


def is_cancelled() -> bool:
    """Return whether somebody wants the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
