"""The open jobs: those that have not ended, folded into memory, as the rule and the reports need.

Of each job only the tasks that have not ended are kept, and how many there are of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from towline.controller.jobs.state import JobState
from towline.runtime.part import notify
from towline.wire.event import CANCELLING, DELETED, LED, NOBODY, RELEASED, Event
from towline.wire.job import Job


class OpenJobs:
    """All jobs that go on, as far as the journal is folded."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobState] = {}
        self._of_machine: dict[str, dict[str, JobState]] = {}
        self._listeners: list[Callable[[JobState, frozenset[str] | None], None]] = []

    def subscribe(self, turned: Callable[[JobState, frozenset[str] | None], None]) -> None:
        """Have `turned` called when a job has changed.

        Its second argument says which nodes have their turn since; None for all that have one.
        """
        self._listeners.append(turned)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[JobState]:
        return iter(list(self._jobs.values()))

    def get(self, job_id: str) -> JobState | None:
        """Return an open job's state, of its open tasks only; None where it isn't open."""
        return self._jobs.get(job_id)

    def of(self, machine: str) -> Iterable[JobState]:
        """Return the jobs in which a node has its turn, and has not ended."""
        return list(self._of_machine.get(machine, {}).values())

    def giving(self) -> Iterable[JobState]:
        """Return the jobs in which nodes wait for their turn, or that wait for a node."""
        return [state for state in self._jobs.values() if state.turns.waiting or not state.tasks]

    # Folding

    def add(self, job: Job) -> JobState | None:
        """Fold a job; return its state, None where it has ended from the beginning."""
        state = self._jobs.get(job.id)
        if state is None:
            state = JobState(job, open_only=True)
            self.load(state)
            notify(self._listeners, state, None)
        return self._jobs.get(job.id)

    def load(self, state: JobState) -> None:
        """Take a job as it was folded before."""
        if state.done:
            return
        self._jobs[state.job.id] = state
        self._place(state, state.turns.under_way)

    def apply(self, event: Event, place: int) -> JobState | None:
        """Fold an event; return the job's state then, None where the job was not open."""
        state = self._jobs.get(event.job)
        if state is None:
            return None
        if event.kind == DELETED:
            self.drop(state)
            return None
        before = list(state.unfinished) if _concerns_all(event) else []
        state.apply(event, place)
        if before:
            self._place(state, before)
        elif event.machine == NOBODY:
            self._place(state, [node.machine for node in event.nodes or ()])
        elif event.machine not in state.unfinished:
            self._forget(state, event.machine)
        if state.done:
            self.drop(state)
        turned: frozenset[str] | None = frozenset()
        if event.kind == RELEASED and event.nodes is not None:
            turned = frozenset(node.machine for node in event.nodes)
        elif event.kind in (RELEASED, LED, CANCELLING):
            turned = None
        notify(self._listeners, state, turned)
        return state

    def _place(self, state: JobState, machines: Iterable[str]) -> None:
        for machine in machines:
            if machine in state.turns.under_way:
                self._of_machine.setdefault(machine, {})[state.job.id] = state
            else:
                self._forget(state, machine)

    def _forget(self, state: JobState, machine: str) -> None:
        jobs = self._of_machine.get(machine)
        if jobs is not None:
            jobs.pop(state.job.id, None)
            if not jobs:
                del self._of_machine[machine]

    def drop(self, state: JobState) -> None:
        """Leave out a job that has ended, or that the journal has no more, or not as it was."""
        del self._jobs[state.job.id]
        for machine in list(state.turns.under_way):
            self._forget(state, machine)


def _concerns_all(event: Event) -> bool:
    """Return whether a decision changes the turns of nodes that it doesn't name."""
    return event.kind in (CANCELLING, LED) or (event.kind == RELEASED and event.nodes is None)
