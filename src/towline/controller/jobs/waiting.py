"""Requests that wait for jobs: futures that the fold resolves, or the fleet when nodes go away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from towline.controller.asker import while_asked
from towline.controller.fleet import Fleet
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.state import JobState
from towline.wire.event import NOBODY, Event


class _Wait:
    """A request that waits for a job.

    Attributes:
        missing: the machine ids of the nodes that it waits for.
        armed: whether `missing` is known.
    """

    def __init__(self, state: JobState) -> None:
        self.state = state
        self.missing: set[str] = set()
        self.armed = False
        self.done = asyncio.get_running_loop().create_future()

    def consider(self) -> None:
        """End a wait that would wait for no node that is here."""
        if self.armed and not self.missing and not self.done.done():
            self.done.set_result(None)


class Waiting:
    """The requests that wait at this controller. None of them polls."""

    def __init__(self, indexer: Indexer, fleet: Fleet) -> None:
        self._fleet = fleet
        self._waits: dict[str, list[_Wait]] = {}
        self._stopped = False
        indexer.subscribe(self._event_folded)
        fleet.subscribe(self._fleet_changed)

    async def wait(
        self,
        state: JobState,
        seconds: float,
        act: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wait until all nodes of a job that are here have ended, or nobody waits for the answer.

        Args:
            state: the job as it is known; the events that are folded meanwhile are applied to it.
            seconds: how long at most.
            act: awaited first; no event that follows from it is missed.
        """
        job_id, wait = state.job.id, _Wait(state)
        self._waits.setdefault(job_id, []).append(wait)
        try:
            if act is not None:
                await act()
            wait.missing.update(filter(self._fleet.is_here, state.unfinished))
            wait.armed = True
            wait.consider()
            if not self._stopped:
                await while_asked(seconds, wait.done)
        finally:
            waits = self._waits[job_id]
            waits.remove(wait)
            if not waits:
                del self._waits[job_id]

    def stop(self) -> None:
        """End all waits, and those to come: who waits is answered with what is known."""
        self._stopped = True
        for waits in self._waits.values():
            for wait in waits:
                if not wait.done.done():
                    wait.done.set_result(None)

    def _event_folded(self, event: Event) -> None:
        for wait in self._waits.get(event.job, ()):
            state = wait.state
            state.apply(event)
            if event.machine == NOBODY:
                # A decision may end the tasks of any nodes, or give one to another.
                wait.missing = set(filter(self._fleet.is_here, state.unfinished))
            elif event.machine not in state.unfinished:
                wait.missing.discard(event.machine)
            elif wait.armed:
                # It runs: whatever this controller thinks of where it is.
                wait.missing.add(event.machine)
            wait.consider()

    def _fleet_changed(self, machines: set[str]) -> None:
        for waits in self._waits.values():
            for wait in waits:
                for machine in machines & wait.state.unfinished:
                    if self._fleet.is_here(machine):
                        wait.missing.add(machine)
                    else:
                        wait.missing.discard(machine)
                wait.consider()
