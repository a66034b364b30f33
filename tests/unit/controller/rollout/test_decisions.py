"""Decisions about a job: one order of them, whoever makes them."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.testing.jobs import LONG_AGO, Fold, a_decision, a_job, an_event, planned
from towline.broker.answers import WrongLastSequence
from towline.controller.jobs.index import Index
from towline.controller.jobs.state import JobState
from towline.controller.moment import LocalClock
from towline.controller.rollout.decisions import Decisions
from towline.controller.rollout.turns import Pause
from towline.errors import BrokerUnreachable, Conflict
from towline.wire.event import (
    CANCELLING,
    COMPLETED,
    LEAVE,
    LED,
    PAUSED,
    RELEASED,
    RESUMED,
    TAKEN_BACK,
    Event,
)
from towline.wire.job import Job
from towline.wire.rollout import Waves

AWAY = BrokerUnreachable("The broker is out of reach.", "a test says so")


class World:
    """A journal that is folded as it is written, and what decides about its jobs.

    Attributes:
        before: called with a decision before it is stored: another one may come first.
        faults: raised one after another in place of storing.
        lost: whether what is stored is not acknowledged.
        gate: decisions are stored while it is set.
        folds: whether what is stored is folded in time.
    """

    def __init__(self, path: Path) -> None:
        self.fold = Fold(Index(path / "index.sqlite"))
        self.decided: dict[str, int] = {}
        self.stored: list[Event] = []
        self.before: Callable[[], object] = lambda: None
        self.faults: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.folds = True
        self.now = LONG_AGO + 5
        clock = LocalClock(wall=lambda: self.now)
        self.decisions = Decisions(self, self.fold.open, self, clock=clock)  # type: ignore[arg-type]

    def make(self, job: Job) -> JobState:
        self.fold.job(job)
        return self.state(job)

    def state(self, job: Job) -> JobState:
        state = self.fold.open.get(job.id)
        assert state is not None
        return state

    def store(self, event: Event) -> int:
        self.stored.append(event)
        self.decided[event.job] = self.fold.event(event)
        return self.decided[event.job]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.stored]

    # As the journal and the indexer do it

    async def decide(self, event: Event, last: int) -> int:
        await self.gate.wait()
        before, self.before = self.before, lambda: None
        before()
        if self.faults:
            raise self.faults.pop()
        if last != self.decided.get(event.job, 0):
            raise WrongLastSequence(10071, "wrong last sequence")
        return self.store(event)

    async def catch_up(self) -> None:
        pass

    async def until(self, ends: Mapping[str, int]) -> bool:
        return self.folds


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def in_waves(machines: str = "abc", **more: Any) -> Job:
    waves = Waves(max_parallel="1")
    return a_job(plan=planned(machines, "waits"), waves=waves, nodes=len(machines), **more)


async def test_a_decision_is_made_again_of_what_came_before_it(world: World) -> None:
    job = in_waves()
    world.make(job)
    world.before = lambda: world.store(a_decision(job, RELEASED, "a"))
    await world.decisions.cancel(job.id, "ann")
    assert world.kinds == [RELEASED, CANCELLING]
    assert world.fold.open.get(job.id) is None


async def test_of_a_job_that_is_not_open_nothing_is_decided(world: World) -> None:
    job = a_job()
    assert await world.decisions.make(job.id, lambda _: a_decision(job, PAUSED)) is None
    assert world.kinds == []


async def test_about_a_job_of_which_a_newer_controller_decided_nothing_is_decided(
    world: World,
) -> None:
    state = world.make(job := in_waves())
    world.store(a_decision(job, RELEASED, "a"))
    world.store(a_decision(job, "of_a_newer_version"))
    for decide in (
        world.decisions.cancel(job.id, "ann"),
        world.decisions.pause(state, "ann"),
        world.decisions.leave(state, "a"),
        world.decisions.lead(job.id, an_event(job, LED, data={"value": "x", "hostname": "a"})),
    ):
        with pytest.raises(BrokerUnreachable):
            await decide
    assert world.kinds == [RELEASED, "of_a_newer_version"]


async def test_who_is_cancelled_already_is_not_cancelled_again(world: World) -> None:
    job = a_job(machines="ab")
    world.make(job)
    world.before = lambda: world.store(a_decision(job, CANCELLING, data={"caller": "bob"}))
    for _ in range(2):
        await world.decisions.cancel(job.id, "ann")
    assert world.kinds == [CANCELLING]
    assert world.state(job).cancelled == "cancelled by bob"


async def test_what_is_not_folded_in_time_is_not_known(world: World) -> None:
    """Or a node would be refused the leave that is stored."""
    job = in_waves()
    state = world.make(job)
    world.store(a_decision(job, RELEASED, "a"))
    world.folds = False
    with pytest.raises(BrokerUnreachable, match="behind the journal"):
        await world.decisions.leave(state, "a")
    world.folds = True
    assert await world.decisions.leave(state, "a")
    assert world.kinds == [RELEASED, LEAVE]


# Pause and resume


async def test_a_pause_says_who_asked_for_it_and_a_second_one_is_refused(world: World) -> None:
    job = in_waves()
    state = world.make(job)
    await world.decisions.pause(state, "ann")
    assert world.state(job).turns.paused == Pause("ann", world.now)
    with pytest.raises(Conflict, match=r"is paused already, since .*, by ann"):
        await world.decisions.pause(world.state(job), "bob")
    await world.decisions.resume(world.state(job), "bob")
    with pytest.raises(Conflict, match="is not paused"):
        await world.decisions.resume(world.state(job), "bob")
    assert world.kinds == [PAUSED, RESUMED]


@pytest.mark.parametrize("kind", [PAUSED, RESUMED])
async def test_a_pause_whose_acknowledgement_was_lost_is_known_as_ones_own(
    world: World, kind: str
) -> None:
    job = in_waves()
    state = world.make(job)
    if kind == RESUMED:
        world.store(a_decision(job, PAUSED, data={"caller": "ann"}))
    decide = world.decisions.pause if kind == PAUSED else world.decisions.resume

    def store() -> None:
        decided = a_decision(job, kind, data={"caller": "ann"})
        world.store(msgspec.structs.replace(decided, time=world.now))

    world.before = store
    await decide(state, "ann")
    assert world.kinds.count(kind) == 1


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (a_job(), "all have their turn at once"),
        (in_waves("a"), "No node of job .* waits any more"),
    ],
)
async def test_where_no_node_waits_nothing_is_paused(world: World, job: Job, why: str) -> None:
    state = world.make(job)
    world.store(a_decision(job, RELEASED, "a"))
    with pytest.raises(Conflict, match=why):
        await world.decisions.pause(state, "ann")
    assert world.kinds == [RELEASED]


# The lead


async def test_the_first_lead_wins_and_all_are_told_of_that_one(world: World) -> None:
    job = a_job(plan=[*planned("ab", "leads"), *planned("c", "waits")], leads=True)
    world.make(job)
    found = [
        await world.decisions.lead(job.id, an_event(job, LED, machine, data={"value": value}))
        for machine, value in (("a", "x"), ("b", "y"))
    ]
    assert [(lead.value, lead.hostname) for lead in found if lead] == [("x", "host-a")] * 2
    assert world.kinds == [LED]


async def test_a_job_that_has_ended_has_no_lead_any_more(world: World) -> None:
    job = a_job(plan=planned("a", "leads"), leads=True)
    world.make(job)
    world.fold.event(an_event(job, COMPLETED))
    report = an_event(job, LED, data={"value": "x"})
    assert await world.decisions.lead(job.id, report) is None


# Leave


async def test_leave_that_is_asked_for_meanwhile_is_given_together(world: World) -> None:
    job = in_waves("abcd")
    state = world.make(job)
    world.store(a_decision(job, RELEASED, "abcd"))
    world.gate.clear()
    asked = [asyncio.create_task(world.decisions.leave(state, machine)) for machine in "abcdb"]
    await asyncio.sleep(0.01)
    world.gate.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*asked) == [True] * 5
    named = [[node.machine for node in event.nodes or []] for event in world.stored[1:]]
    assert named == [["a"], ["b", "c", "d"]]


async def test_leave_is_given_once_and_to_those_alone_that_have_their_turn(world: World) -> None:
    job = in_waves("ab")
    state = world.make(job)
    world.store(a_decision(job, RELEASED, "a"))
    assert [await world.decisions.leave(state, machine) for machine in "aab"] == [True, True, False]
    assert world.kinds == [RELEASED, LEAVE]


@pytest.mark.parametrize("why", ["taken back", "cancelled", "expired", "its turn is over"])
async def test_leave_is_refused_where_something_else_was_decided_first(
    world: World, why: str
) -> None:
    job = in_waves("ab")
    state = world.make(job)
    until = world.now + 1 if why == "its turn is over" else None
    world.store(a_decision(job, RELEASED, "a", until=until))
    if why == "taken back":
        world.before = lambda: world.store(a_decision(job, TAKEN_BACK, "a"))
    elif why == "cancelled":
        world.before = lambda: world.store(a_decision(job, CANCELLING))
    else:
        world.now = job.expires + 1 if why == "expired" else world.now + 2
    assert not await world.decisions.leave(state, "a")
    assert LEAVE not in world.kinds


@pytest.mark.parametrize("fault", [AWAY, RuntimeError("a fault")])
async def test_where_leave_could_not_be_stored_nobody_waits_for_ever(
    world: World, fault: Exception
) -> None:
    job = in_waves("abc")
    state = world.make(job)
    world.store(a_decision(job, RELEASED, "abc"))
    world.gate.clear()
    asked = [asyncio.create_task(world.decisions.leave(state, machine)) for machine in "abc"]
    await asyncio.sleep(0.01)
    world.faults = [fault, fault]
    world.gate.set()
    async with asyncio.timeout(10):
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert found[0] is fault
    assert all(isinstance(error, BaseException) for error in found)
    world.faults = []
    assert [await world.decisions.leave(state, machine) for machine in "abc"] == [True] * 3
