"""What the protocol promises, looked at after every step."""

from collections import Counter, defaultdict

from tests.unit.model.node import Run
from towline.controller.jobs.state import JobState
from towline.controller.rollout.rule import limits
from towline.wire.event import CANCELLING, LEAVE, WITHHELD, Event
from towline.wire.job import ONCE, READ, Job
from towline.wire.target import ANY


class Broken(AssertionError):
    """A promise was broken."""


class Promises:
    """Watches what runs, what is stored and what is answered.

    Attributes:
        running: what runs at this moment.
        truth: all jobs, as the whole journal has them.
        losses: how often each machine has lost its ledger.
    """

    def __init__(self, losses: dict[str, int]) -> None:
        self.running: list[Run] = []
        self.truth: dict[str, JobState] = {}
        self.losses = losses
        self.broken: list[str] = []
        self._ran: Counter[tuple[str, str]] = Counter()
        self._leave: set[tuple[str, str]] = set()
        self._never: dict[tuple[str, str], str] = {}
        self._ends: dict[str, dict[str, str]] = defaultdict(dict)
        self._answered: dict[tuple[str, str], str] = {}
        self._used: dict[str, set[str]] = defaultdict(set)

    def breaks(self, text: str) -> None:
        """Note that a promise is broken: it may be inside a part that catches all errors."""
        self.broken.append(text)

    # What runs

    def begins(self, run: Run) -> None:
        """See that a task runs."""
        job, machine = run.job, run.machine
        key = job.id, machine
        others = {each.machine for each in self.running if each.job.id == job.id}
        self._ran[key] += 1
        self.running.append(run)
        if job.effect == ONCE and self._ran[key] > 1:
            self.breaks(f"a job that runs once ran twice on {machine}")
        if machine in others:
            self.breaks(f"{machine} runs one task twice at the same time")
        if job.target == ANY and job.effect == ONCE and self._nodes_that_ran(job) > 1:
            self.breaks("a job for any node that runs once ran on two")
        if job.target == ANY and job.effect != READ and others - {machine}:
            self.breaks("a job for any node runs on two at the same time")
        if job.needs_leave and key not in self._leave:
            self.breaks(f"{machine} runs without leave")
        if key in self._never:
            self.breaks(f"{machine} runs, but {self._never[key]}")
        if job.waves is not None:
            self._look_at_wave(job, others | {machine})

    def _nodes_that_ran(self, job: Job) -> int:
        return sum(1 for job_id, _ in self._ran if job_id == job.id)

    def _look_at_wave(self, job: Job, machines: set[str]) -> None:
        given = limits(job.waves, job.nodes)
        if len(machines) > given.parallel:
            self.breaks(f"{len(machines)} run, max_parallel is {given.parallel}")
        turns = self.truth[job.id].turns
        if turns.tried < given.canary and not machines <= turns.canaries.keys():
            self.breaks(f"{sorted(machines)} run, and the canary has not ended")

    def ends(self, run: Run) -> None:
        """See that a task runs no more."""
        self.running.remove(run)

    def uses(self, run: Run, value: str, *, leads: bool) -> None:
        """See which value a task goes on with."""
        self._used[run.job.id].add(value)
        stored = self.truth[run.job.id].lead
        if stored is None or stored.value != value:
            self.breaks(f"{run.machine} uses {value}, {stored and stored.value} is stored")
        if len(self._used[run.job.id]) > 1:
            self.breaks(f"one job uses {sorted(self._used[run.job.id])}")

    # What is stored

    def stored(self, entry: Job | Event, at: int) -> None:
        """See that something is stored."""
        if isinstance(entry, Job):
            self.truth[entry.id] = JobState(entry)
        else:
            self._look_at_event(entry, at)
        job_id = entry.id if isinstance(entry, Job) else entry.job
        self._look_at_ends(self.truth[job_id])

    def _look_at_event(self, event: Event, at: int) -> None:
        state = self.truth[event.job]
        open_before = set(state.unfinished)
        state.apply(event, at)
        if event.kind == LEAVE:
            given = {
                node.machine
                for node in event.nodes or ()
                if (turn := state.turns.under_way.get(node.machine)) is not None and turn.leave
            }
            self._leave.update((event.job, machine) for machine in given)
        if event.kind in (CANCELLING, WITHHELD):
            for machine in open_before - state.unfinished:
                task = state.tasks[machine]
                needs = state.job.needs_leave
                if task.status in ("cancelled", "skipped") or (task.status == "expired" and needs):
                    self._promise_never(event.job, machine, f"was {task.status} by decision")

    def _promise_never(self, job_id: str, machine: str, why: str) -> None:
        key = job_id, machine
        self._never[key] = why
        if self._ran[key]:
            self.breaks(f"{machine} {why}, but has run")

    def _look_at_ends(self, state: JobState) -> None:
        ends = self._ends[state.job.id]
        now = {task.machine: task.status for task in state.tasks.values() if task.ended is not None}
        for machine, status in ends.items():
            if now.get(machine) != status:
                self.breaks(f"{machine} had ended {status}, then {now.get(machine)}")
        self._ends[state.job.id] = now
        for run in self.running:
            said = now.get(run.machine)
            # Whoever has lost its ledger since may be asked once more by a controller that lags.
            if run.job.id == state.job.id and said == "cancelled" and not self.losses[run.machine]:
                self.breaks(f"{run.machine} runs, and was said to be cancelled")
        self._look_at_answers(state.job.id)

    # What is answered

    def answered(self, state: JobState) -> None:
        """See what somebody was answered of a job."""
        for task in state.tasks.values():
            if task.ended is not None:
                self.answer(state.job.id, task.machine, task.status)
        self._look_at_answers(state.job.id)
        if state.job.target == ANY and state.done and not self.truth[state.job.id].done:
            self.breaks("a job was said to have ended that goes on")

    def answer(self, job_id: str, machine: str, status: str) -> None:
        """See what somebody was answered of a task."""
        self._answered.setdefault((job_id, machine), status)

    def _look_at_answers(self, job_id: str) -> None:
        for (job, machine), status in self._answered.items():
            if job == job_id:
                stored = self._ends[job].get(machine)
                if stored is not None and stored != status:
                    self.breaks(f"{machine} was said to be {status}, stored is {stored}")
