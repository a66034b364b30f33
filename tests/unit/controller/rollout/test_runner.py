"""What the runner decides and sends of the open jobs, and what it leaves to others."""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from tests.testing.doubles import ConnectionDouble, until
from tests.testing.jobs import Fold, a_decision, a_job, an_event, planned
from tests.testing.signing import SIGNER, opened
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.state import JobState
from towline.controller.moment import LocalClock
from towline.controller.rollout.releases import LARGEST_BODY, Releases
from towline.controller.rollout.runner import Runner
from towline.errors import BrokerUnreachable
from towline.wire import messages
from towline.wire.cooldown import Cooldown
from towline.wire.credential import Supply
from towline.wire.event import CANCELLING, COMPLETED, LED, RELEASED, Event
from towline.wire.job import Job
from towline.wire.node import Heartbeat, Registration, pack
from towline.wire.release import FACTS, Cancellation, Release
from towline.wire.rollout import Waves

NOW = float(int(time.time()))
START = "1" * 16
AWAY = BrokerUnreachable("The broker is out of reach.", "a test says so")


class Lease:
    """A lease that this controller has, or not; `asked` counts how often it was asked for."""

    def __init__(self) -> None:
        self.valid = False
        self.free = True
        self.asked = 0

    async def take(self) -> bool:
        self.asked += 1
        self.valid = self.free
        return self.valid

    async def give_back(self) -> None:
        self.valid = False


class World:
    """Open jobs, a fleet, and a runner that decides and sends.

    Attributes:
        sent: which machines were sent what of a job: "task" or "cancel".
        decided: the decisions that it made.
        fault: raised by whatever it decides while it is set.
    """

    def __init__(self, path: Path) -> None:
        self.running, self.wall = 1000.0, NOW
        clock = LocalClock(lambda: self.running, lambda: self.wall)
        self.fold = Fold(Index(path / "index.sqlite"))
        self.fleet = Fleet(clock)
        self.lease, self.able = Lease(), asyncio.Event()
        self.able.set()
        self.sent: list[tuple[str, str]] = []
        self.decided: list[Event] = []
        self.fault: Exception | None = None
        self.runner = Runner(
            *(self.fold.open, self.fleet, self, self, self.lease, self.able),  # type: ignore[arg-type]
            clock=clock,
            look_every=0.01,
        )
        for machine in "abc":
            self.fleet.register(Registration(machine, f"host-{machine}", "0.2.0", NOW))
            self.beat(machine)

    def beat(self, machine: str, *held: Job) -> None:
        tasks = pack(job.id for job in held)
        self.fleet.receive(machine, Heartbeat(START, 5.0, tasks=tasks))

    def sleep(self, seconds: float) -> None:
        self.running += seconds
        self.wall += seconds

    def state(self, job: Job) -> JobState:
        state = self.fold.open.get(job.id)
        assert state is not None
        return state

    async def idle(self) -> None:
        """Let the runner look at everything a few times."""
        self.sleep(1.0)
        await asyncio.sleep(0.08)

    # As the decisions and the releases do it

    async def make(
        self, job_id: str, choose: Callable[[JobState], Event | None]
    ) -> JobState | None:
        while (state := self.fold.open.get(job_id)) is not None:
            if self.fault is not None:
                raise self.fault
            event = choose(state)
            if event is None:
                return state
            self.decided.append(event)
            self.fold.event(event)
        return None

    async def send(self, state: JobState, machines: Iterable[str]) -> None:
        what = "task" if state.cancelled is None else "cancel"
        self.sent += [(machine, what) for machine in machines]


@pytest.fixture
async def world(tmp_path: Path):  # type: ignore[no-untyped-def]
    world = World(tmp_path)
    running = asyncio.create_task(world.runner.run())
    yield world
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert not world.lease.valid


async def test_the_maker_of_a_job_sends_its_first_turns_at_once(world: World) -> None:
    world.lease.free = False
    world.fold.job(job := a_job(NOW, "ab"))
    await world.runner.first(world.state(job))
    assert world.sent == [("a", "task"), ("b", "task")]


async def test_a_task_is_sent_again_only_after_a_while_and_until_its_node_names_it(
    world: World,
) -> None:
    world.fold.job(job := a_job(NOW, "a"))
    await world.runner.first(world.state(job))
    world.beat("a")
    await world.idle()
    assert len(world.sent) == 1
    world.sleep(6.0)
    world.beat("a")
    await until(lambda: len(world.sent) == 2)
    world.sleep(6.0)
    world.beat("a", job)
    await world.idle()
    assert len(world.sent) == 2


async def test_a_node_that_holds_more_than_it_can_name_is_sent_new_tasks_once(
    world: World,
) -> None:
    def beat() -> None:
        world.fleet.receive("a", Heartbeat(START, 5.0, more=True))

    beat()
    world.fold.job(job := a_job(NOW, "a"))
    await world.runner.first(world.state(job))
    assert world.sent == [("a", "task")]
    world.sleep(6.0)
    beat()
    await world.idle()
    assert world.sent == [("a", "task")]


async def test_a_task_is_sent_to_a_node_that_returns(world: World) -> None:
    world.fleet.receive("a", Heartbeat(START, 5.0, leaving=True))
    world.fold.job(job := a_job(NOW, "a"))
    await world.runner.first(world.state(job))
    await world.idle()
    assert world.sent == []
    world.sleep(6.0)
    world.beat("a")
    await until(lambda: world.sent == [("a", "task")])


async def test_a_cancellation_is_sent_though_the_task_was_sent_just_now(world: World) -> None:
    world.fold.job(job := a_job(NOW, "a"))
    await world.runner.first(world.state(job))
    world.beat("a", job)
    world.fold.event(a_decision(job, CANCELLING, data={"caller": "ann"}))
    await until(lambda: world.sent[1:] == [("a", "cancel")])
    world.fold.event(an_event(job, COMPLETED))
    world.sleep(10.0)
    await world.idle()
    assert len(world.sent) == 2


async def test_turns_are_given_and_sent_as_places_come_free(world: World) -> None:
    waves = Waves(max_parallel="1")
    job = a_job(NOW, plan=planned("ab", "waits"), waves=waves, nodes=2, effect="converge")
    world.fold.job(job)
    await until(lambda: world.sent == [("a", "task")])
    world.fold.event(an_event(job, COMPLETED))
    await until(lambda: world.sent == [("a", "task"), ("b", "task")])
    assert [event.kind for event in world.decided] == [RELEASED, RELEASED]
    assert [event.until for event in world.decided] == [None, None]


async def test_what_the_lead_found_gives_the_others_their_task_at_once(world: World) -> None:
    plan = [*planned("a", "leads"), *planned("bc", "waits")]
    world.fold.job(job := a_job(NOW, plan=plan, leads=True, nodes=3))
    await world.runner.first(world.state(job))
    world.fold.event(a_decision(job, LED, data={"value": "x", "hostname": "host-a"}))
    await until(lambda: sorted(world.sent) == [(machine, "task") for machine in "abc"])


@pytest.mark.parametrize("why", ["not able", "no lease"])
async def test_who_may_not_act_decides_and_sends_nothing(world: World, why: str) -> None:
    if why == "not able":
        world.able.clear()
    else:
        world.lease.free = False
    job = a_job(NOW, plan=planned("a", "waits"), waves=Waves(max_parallel="1"), nodes=1)
    world.fold.job(job)
    await world.idle()
    assert (world.decided, world.sent) == ([], [])
    world.able.set()
    world.lease.free = True
    world.sleep(1.0)
    await until(lambda: world.sent == [("a", "task")])


async def test_who_does_not_get_the_lease_asks_for_it_no_more_often_for_all_that_is_folded(
    world: World,
) -> None:
    world.lease.free = False
    world.fold.job(job := a_job(NOW, "abc"))
    await until(lambda: world.lease.asked == 1)
    for machine in "ab":
        world.fold.event(an_event(job, COMPLETED, machine))
        await asyncio.sleep(0.02)
    assert world.lease.asked == 1
    world.sleep(1.0)
    await until(lambda: world.lease.asked == 2)


async def test_who_is_not_able_any_more_gives_the_lease_back(world: World) -> None:
    world.fold.job(a_job(NOW, "a"))
    await until(lambda: world.lease.valid)
    world.able.clear()
    await until(lambda: not world.lease.valid)


async def test_a_read_is_its_makers_until_long_after_it_has_expired(world: World) -> None:
    world.fold.job(job := a_job(NOW, "a", effect="read"))
    await world.idle()
    world.sleep(job.expires - NOW + 30)
    await world.idle()
    assert world.sent == []
    assert world.decided == []
    world.sleep(60)
    for machine in "abc":
        world.beat(machine)
    await until(lambda: world.fold.open.get(job.id) is None)


@pytest.mark.parametrize("fault", [AWAY, RuntimeError("a fault")])
async def test_what_goes_wrong_with_a_job_is_tried_again(world: World, fault: Exception) -> None:
    world.fault = fault
    job = a_job(NOW, plan=planned("a", "waits"), waves=Waves(max_parallel="1"), nodes=1)
    world.fold.job(job)
    await world.idle()
    assert world.sent == []
    world.fault = None
    world.sleep(2.0)
    await until(lambda: world.sent == [("a", "task")])


# What is sent


def releases(nodes: ConnectionDouble, fleet: Fleet, cooldown: Cooldown | Exception) -> Releases:
    async def supplies(job: Job, machines: Iterable[str]) -> dict[str, Supply]:
        return {machine: Supply("c2VhbGVk") for machine in machines if machine != "b"}

    def limited(job: Job) -> Cooldown:
        if isinstance(cooldown, Exception):
            raise cooldown
        return cooldown

    return Releases(nodes, SIGNER, fleet, supplies, limited, clock=LocalClock(wall=lambda: NOW))


COOLDOWN = Cooldown("registry.example:5000", NOW, NOW + 1, NOW + 2, 3, "web-01", "too many")


async def test_a_release_holds_all_that_the_node_needs(world: World) -> None:
    sender = releases(ConnectionDouble(), world.fleet, COOLDOWN)
    plan = [*planned("a", "leads"), *planned("b", "waits")]
    job = a_job(NOW, plan=plan, leads=True, waves=Waves(max_parallel="1"))
    state = JobState(job)
    found = (await sender.compose(state, "a"))["a"]
    assert found == Release(
        *(job.id, "a", NOW, job.expires, job.order),
        leave=True,
        leads=True,
        supply=Supply("c2VhbGVk"),
        cooldown=COOLDOWN,
    )
    state.apply(a_decision(job, LED, data={"value": "x", "hostname": "host-a"}))
    state.apply(a_decision(job, RELEASED, "b", until=NOW + 5))
    later = await sender.compose(state, "ab")
    assert later["a"].lead == later["b"].lead == state.lead
    assert not later["a"].leads
    assert (later["b"].expires, later["b"].supply) == (NOW + 5, None)


async def test_an_agent_must_understand_references_to_facts_where_there_are_some(
    world: World,
) -> None:
    sender = releases(ConnectionDouble(), world.fleet, COOLDOWN)
    for parameters, needs in (({"text": ["a"]}, []), ({"text": ["@fact.arch"]}, [FACTS])):
        state = JobState(a_job(NOW, parameters=parameters))
        assert (await sender.compose(state, "a"))["a"].needs == needs


async def test_a_large_job_is_sent_only_to_the_node_that_asks_for_it(world: World) -> None:
    sender = releases(ConnectionDouble(), world.fleet, ValueError("no such operation"))
    state = JobState(a_job(NOW, parameters={"text": "x" * LARGEST_BODY}))
    found = (await sender.compose(state, "a"))["a"]
    assert (found.job, found.id, found.cooldown) == (None, state.job.id, None)
    assert (await sender.compose(state, "a", whole=True))["a"].job == state.job.order


async def test_each_node_is_sent_its_own_on_the_subject_of_its_start(world: World) -> None:
    nodes = ConnectionDouble()
    sender = releases(nodes, world.fleet, COOLDOWN)
    world.fleet.register(Registration("z", "host-z", "0.2.0", NOW))
    job = a_job(NOW, "abz")
    state = JobState(job)
    await sender.send(state, "abz")
    state.apply(a_decision(job, CANCELLING, data={"caller": "ann"}))
    await sender.send(state, "a")
    assert [subject for subject, _ in nodes.published] == [
        f"task.{machine}.{START}" for machine in "aba"
    ]
    first, _, last = (
        messages.order(opened(data), machine)
        for machine, (_, data) in zip("aba", nodes.published, strict=True)
    )
    assert isinstance(first, Release)
    assert first.job == msgspec.structs.replace(job, plan=[])
    assert last == Cancellation(job.id, "a", "ann", NOW, job.created, job.expires)
