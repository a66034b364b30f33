"""Requests that wait for jobs: futures that the fold resolves, or the fleet when nodes go away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from towline.controller.fleet import Fleet
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.state import JobState
from towline.wire.event import Event
from towline.wire.target import ANY


class _Wait:
    """A request that waits for a job.

    Attributes:
        missing: the machine ids of the nodes that it waits for.
        armed: whether `missing` is known.
    """

    def __init__(self, state: JobState, capability: str) -> None:
        self.state = state
        self.capability = capability
        self.missing: set[str] = set()
        self.armed = False
        self.done = asyncio.get_running_loop().create_future()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Waiting:
    """The requests that wait at this controller. None of them polls."""

    def __init__(self, indexer: Indexer, fleet: Fleet) -> None:
        self._fleet = fleet
        self._waits: dict[str, list[_Wait]] = {}
        indexer.subscribe(self._event_folded)
        fleet.subscribe(self._fleet_changed)

    async def wait(
        self,
        state: JobState,
        capability: str,
        seconds: float,
        act: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wait until all nodes of a job that are here have ended.

        Args:
            state: the job as it is known; the events that are folded meanwhile are applied to it.
            capability: what a node needs to do the job: where it is for any node, and no node that
                is here has it, nothing is waited for.
            seconds: how long at most.
            act: awaited first; no event that follows from it is missed.
        """
        job_id, wait = state.job.id, _Wait(state, capability)
        self._waits.setdefault(job_id, []).append(wait)
        try:
            if act is not None:
                await act()
            wait.missing.update(machine for machine in state.unfinished if self._here(machine))
            wait.armed = True
            self._consider(wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await wait.done
        finally:
            waits = self._waits[job_id]
            waits.remove(wait)
            if not waits:
                del self._waits[job_id]

    def _here(self, machine: str) -> bool:
        member = self._fleet.get(machine)
        return member is not None and member.here

    def _event_folded(self, event: Event) -> None:
        for wait in self._waits.get(event.job, ()):
            unfinished = wait.state.unfinished
            wait.state.apply(event)
            if event.nodes is not None or wait.state.job.target == ANY:
                # Such an event may have ended the tasks of any nodes. Not at every event: with
                # thousands of nodes that would be work quadratic in their number.
                wait.missing &= unfinished
            if event.machine in unfinished:
                wait.missing.add(event.machine)
            else:
                wait.missing.discard(event.machine)
            self._consider(wait)

    def _fleet_changed(self, machines: set[str]) -> None:
        for waits in self._waits.values():
            for wait in waits:
                for machine in machines & wait.state.unfinished:
                    if self._here(machine):
                        wait.missing.add(machine)
                    else:
                        wait.missing.discard(machine)
                self._consider(wait)

    def _consider(self, wait: _Wait) -> None:
        """End a wait that would wait for no node that is here."""
        if not wait.armed:
            return
        if wait.state.planned:
            if not wait.missing:
                wait.finish()
        elif not any(member.can(wait.capability) for member in self._fleet.here()):
            wait.finish()
