"""A fleet whose sets are kept true by the real reconciler, in memory, by a clock that stands.

What the reconciler asks and does stands here; fleet, folds of jobs and rules are the real ones.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec

from tests.testing.jobs import a_decision, an_event
from tests.testing.sets import NOW
from tests.testing.turns import Nodes
from towline.controller.fleet import Fleet
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submission import Submission
from towline.controller.moment import LocalClock
from towline.controller.rollout import rule as turns
from towline.controller.sets.attempts import brings
from towline.controller.sets.changes import Changes
from towline.controller.sets.reconciler import Reconciler
from towline.controller.sets.record import SetRecord, SetState
from towline.errors import BrokerUnreachable, Conflict, InvalidRequest, NotFound
from towline.wire import event as events
from towline.wire.event import NamedNode
from towline.wire.job import CONVERGE, Job, PlannedNode
from towline.wire.node import Heartbeat, Registration
from towline.wire.reference import Reference

TURNS = 40
"""Turns of the event loop in which a reconciler comes to rest, in a fleet as small as these."""
DAY = 86400.0


class Inventories:
    """What a controller knows of images: what each node last said, not what it has."""

    def __init__(self) -> None:
        self.said: dict[str, dict[str, str]] = {}
        self._listeners: list[Callable[[set[str]], None]] = []

    def subscribe(self, changed: Callable[[set[str]], None]) -> None:
        """Have `changed` called with the machines that have said something."""
        self._listeners.append(changed)

    def say(self, machine: str, names: dict[str, str]) -> None:
        """Take what a node has."""
        if self.said.get(machine) != names:
            self.said[machine] = dict(names)
            for changed in self._listeners:
                changed({machine})

    def settled(self, machine: str) -> bool:
        """Whether a node has said anything."""
        return machine in self.said

    def holds(self, machine: str, image: Reference, digest: str, platform: str = "") -> bool | None:
        """Whether a node has a digest under a name."""
        names = self.said.get(machine)
        return None if names is None else names.get(str(image)) == digest


class Sets:
    """Sets and their states, as all controllers see them at once."""

    def __init__(self) -> None:
        self.known = asyncio.Event()
        self.known.set()
        self.records: dict[str, SetRecord] = {}
        self.states: dict[str, SetState] = {}
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called at each change."""
        self._listeners.append(changed)

    def all(self) -> list[SetRecord]:
        """Return the sets, the oldest first."""
        return sorted(self.records.values(), key=lambda each: (each.created, each.name))

    def get(self, name: str) -> SetRecord | None:
        """Return a set."""
        return self.records.get(name)

    def state(self, name: str) -> SetState:
        """Return what has come of a set."""
        record, state = self.records.get(name), self.states.get(name)
        if record is not None and (state is None or state.id != record.id):
            return SetState(record.id)
        return state or SetState("none")

    async def change(self, name: str, alter: Changes) -> SetState:
        """Change what has come of a set, in one step."""
        await asyncio.sleep(0)
        if name not in self.records:
            raise NotFound(f"no set is called {name}", "")
        before = self.state(name)
        after = alter(before)
        if after != before:
            self.states[name] = after
            self.tell()
        await asyncio.sleep(0)
        return after

    def tell(self) -> None:
        """Tell all of a change."""
        for changed in self._listeners:
            changed()


class Lease:
    """Whoever runs has it."""

    valid = False

    async def take(self) -> bool:
        """Take it."""
        self.valid = True
        return True

    async def give_back(self) -> None:
        """Give it back."""
        self.valid = False


class Reconciled:
    """A fleet, sets, a registry, and a controller that keeps the sets true.

    Attributes:
        names: by machine, what the node has: the digest behind each name.
        tags: what the tags of the registry name.
        away: whether the registry is.
        failing: the machines on which pulls fail.
        skipping: those that end jobs without having tried them.
        refuses: says why a job is not made, or "".
        jobs: every job that was made.
    """

    def __init__(self) -> None:
        self.now = NOW
        self.clock = LocalClock(lambda: self.now - NOW + 1000.0, lambda: self.now)
        self.fleet = Fleet(self.clock)
        self.sets = Sets()
        self.names: dict[str, dict[str, str]] = {}
        self.labels: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.away = False
        self.failing: set[str] = set()
        self.skipping: set[str] = set()
        self.refuses: Callable[[Submission], str] = lambda request: ""
        self.jobs: dict[str, JobState] = {}
        self._events: list[events.Event] = []
        self._keys: dict[tuple[str, str | None], str] = {}
        self._numbers = itertools.count(1)
        self._view = Nodes()
        self.loop = asyncio.new_event_loop()
        self._start()

    # The controller

    def _start(self) -> None:
        self.open, self.inventories = OpenJobs(), Inventories()
        able = asyncio.Event()
        able.set()
        # Fakes of what it asks: their types are protocols nobody else needs.
        parts: Any = SimpleNamespace(
            submit=self._submit, foresee=self._foresee, cancel=self._cancel, pause=self._pause
        )
        parts.resume, parts.find, parts.query = self._resume, self._find, self._query
        inventories: Any = self.inventories
        sets: Any = self.sets
        lease: Any = Lease()
        self.reconciler = Reconciler(
            *(sets, self.fleet, inventories, self.open, parts, parts, parts, parts, parts),
            *(lease, able),
            clock=self.clock,
            gathered_for=0.0,
            look_every=0.0,
        )
        # As an index that is folded from the beginning.
        for state in self.jobs.values():
            self.open.add(state.job)
        for event in self._events:
            self._fold(event)
        for machine in self.names:
            self.say(machine)
        self._task = self.loop.create_task(self.reconciler.run())

    def take_over(self) -> None:
        """End the controller wherever it is, and have another go on that knows what is stored."""
        self._task.cancel()
        self.loop.run_until_complete(asyncio.gather(self._task, return_exceptions=True))
        for subscribed in (self.fleet._listeners, self.fleet._on_heartbeat, self.sets._listeners):
            subscribed.clear()
        self._start()

    def keep(self, turns: int = TURNS) -> None:
        """Let the controller go on, for so many turns of its loop."""

        async def go() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(go())
        if self._task.done():
            self._task.result()

    def close(self) -> None:
        """End it."""
        self._task.cancel()
        self.loop.run_until_complete(asyncio.gather(self._task, return_exceptions=True))
        self.loop.close()

    # What it asks and does

    async def _submit(self, request: Submission, *, wait: float) -> JobState:
        await asyncio.sleep(0)
        key = (request.caller, request.key)
        if why := self.refuses(request):
            raise InvalidRequest(why, "")
        if key not in self._keys:
            self._keys[key] = self._make(request)
        await asyncio.sleep(0)
        made = self.jobs[self._keys[key]]
        if made.job.parameters != request.parameters:
            raise Conflict("this key has made another job", "")
        return made

    def _make(self, request: Submission) -> str:
        assert request.only is not None
        members = self.fleet.still(request.target, request.only)
        if not members:
            raise InvalidRequest("none of the nodes is meant any more", "")
        job = Job(
            f"00000000-0000-7000-8000-{next(self._numbers):012x}",
            *(request.operation.name, request.parameters, str(request.target), request.caller),
            *(self.now, self.now + (request.expires or DAY)),
            effect=CONVERGE,
            plan=[PlannedNode(each.machine, each.hostname, "waits") for each in members],
            nodes=len(members),
            lead=request.lead,
            waves=request.waves,
            requires="docker",
        )
        wanted = brings(job)
        for other in self.jobs.values():
            twice = other.unfinished & {each.machine for each in members}
            if other.cancelled is None and brings(other.job) == wanted:
                assert not twice, f"{wanted} is brought to {twice} by {other.job.id}, too"
        self.jobs[job.id] = JobState(job)
        self.open.add(job)
        return job.id

    async def _foresee(self, request: Submission, *, wait: float) -> Any:
        await asyncio.sleep(0)
        if self.away:
            raise BrokerUnreachable("no answer", "")
        digest = self.tags[str(request.parameters["image"])]
        node = SimpleNamespace(plan={"digest": digest}, reason=None, not_told=None)
        return SimpleNamespace(nodes=[node])

    async def _cancel(self, job_id: str, caller: str) -> None:
        await asyncio.sleep(0)
        state = self.jobs[job_id]
        if not state.done and state.cancelled is None:
            self._apply(a_decision(state.job, events.CANCELLING, data={"caller": caller}))

    async def _pause(self, state: JobState, caller: str) -> None:
        self._apply(a_decision(state.job, events.PAUSED, data={"caller": caller}))

    async def _resume(self, state: JobState, caller: str) -> None:
        self._apply(a_decision(state.job, events.RESUMED, data={"caller": caller}))

    async def _find(self, job_id: str) -> Any:
        found = self.jobs.get(job_id)
        return None if found is None else (found, [])

    def _query(self, text: str, given: tuple[str]) -> Any:
        ids = [(each,) for each, state in self.jobs.items() if state.job.caller == given[0]]
        return SimpleNamespace(fetchone=lambda: max(ids, default=None))

    # The nodes

    def join(self, machine: str, labels: str) -> None:
        """Have a node come, or come back with other labels."""
        group = {"group": labels} if labels else {}
        self.labels[machine] = labels
        self.fleet.register(Registration(machine, machine, "1.0", NOW, NOW, group))
        self.names.setdefault(machine, {})
        self.beat(machine)
        self.say(machine)

    def beat(self, machine: str, *, leaving: bool = False) -> None:
        """Have a node say that it is here, or that it leaves."""
        self.fleet.receive(
            machine, Heartbeat("one", 5.0, capabilities={"docker": ""}, leaving=leaving)
        )

    def is_here(self, machine: str) -> bool:
        """Whether a node is here."""
        return self.fleet.is_here(machine)

    def say(self, machine: str) -> None:
        """Have a node say what it has, if it is here."""
        if self.is_here(machine):
            self.inventories.say(machine, self.names[machine])

    def _apply(self, event: events.Event) -> None:
        event = msgspec.structs.replace(event, time=self.now)
        self._events.append(event)
        self.jobs[event.job].apply(event)
        self._fold(event)

    def _fold(self, event: events.Event) -> None:
        """Fold an event as the indexer does."""
        self.open.apply(event, 0)
        self.reconciler.folded(event)

    def turn(self) -> None:
        """Give turns in all jobs, by the rule of jobs."""
        self._view.away = {each for each in self.names if not self.is_here(each)}
        for state in list(self.jobs.values()):
            while not state.done and (found := turns.decide(state, self._view, self.now)):
                job = state.job
                if found.everyone:
                    self._apply(a_decision(job, events.RELEASED))
                elif found.release:
                    released = a_decision(job, events.RELEASED, canary=found.canary)
                    nodes = _nodes(found.release)
                    self._apply(msgspec.structs.replace(released, nodes=nodes))
                elif found.take_back:
                    self._apply(a_decision(job, events.TAKEN_BACK, nodes=_nodes(found.take_back)))
                else:
                    nodes = [
                        NamedNode(machine, machine, reason, status)
                        for machine, (status, reason) in found.withhold.items()
                    ]
                    self._apply(a_decision(job, events.WITHHELD, nodes=nodes))

    def work(self, machine: str) -> None:
        """Have a node end what it has of jobs."""
        for state in list(self.jobs.values()):
            if not self.is_here(machine) or machine not in state.turns.under_way:
                continue
            what = brings(state.job)
            assert what is not None
            self._apply(a_decision(state.job, events.LEAVE, nodes=_nodes([machine])))
            kind, more = events.COMPLETED, {}
            if state.cancelled is not None:
                kind = events.CANCELLED
            elif machine in self.skipping:
                kind, more = events.SKIPPED, {"error": "too old for it"}
            elif machine in self.failing or self.away:
                kind, more = events.FAILED, {"error": "no space left"}
            else:
                self.names[machine][what.image] = what.digest
            self._apply(an_event(state.job, kind, machine, **more))

    # All of it

    def settle(self, rounds: int, pause: float) -> None:
        """Let all go on for so many rounds, some seconds each."""
        for _ in range(rounds):
            self.now += pause
            for machine in self.names:
                if self.is_here(machine):
                    self.beat(machine)
            self.keep()
            self.turn()
            for machine in self.names:
                self.work(machine)
                self.say(machine)


def _nodes(machines: Any) -> list[NamedNode]:
    return [NamedNode(machine, machine) for machine in machines]


def renewed(state: SetState, **more: Any) -> SetState:
    """Return what has come of a set, with changes."""
    return msgspec.structs.replace(state, **more)
