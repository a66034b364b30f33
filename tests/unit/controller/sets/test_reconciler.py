"""What keeps sets true: when it looks, what it makes, and that it does so only where it leads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.testing.process import Failed
from tests.testing.sets import NAME, NOW, a_set, digest
from towline.controller.fleet import Fleet
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submission import Submission
from towline.controller.sets.attempts import Brings
from towline.controller.sets.reconciler import Reconciler
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.wire.event import COMPLETED, Event
from towline.wire.job import CONVERGE, Job, PlannedNode
from towline.wire.node import Heartbeat, Registration
from towline.wire.reference import Reference

ONE = digest(1)
START = "0" * 16


class Doubles:
    """Everything beside a reconciler: it answers at once, and each job runs when it is told to."""

    def __init__(self, record: SetRecord) -> None:
        self.known = self.able = asyncio.Event()
        self.known.set()
        self.record: SetRecord | None = record
        images = [ImageState(NAME, current=ONE, since=NOW, checked=NOW + 1)]
        self.kept = SetState(record.id, images)
        self.valid = True
        self.taken = 0
        self.lapsed = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.fleet = Fleet()
        self.jobs = OpenJobs()
        self.has: set[str] = set()
        self.unsettled: set[str] = set()
        self.looked = 0
        self.made: list[Submission] = []
        self.cancelled: list[str] = []
        self._listeners: list[Callable[..., None]] = []

    # Sets, and a lease

    def all(self) -> list[SetRecord]:
        return [] if self.record is None else [self.record]

    def get(self, name: str) -> SetRecord | None:
        return self.record

    def state(self, name: str) -> SetState:
        return self.kept

    def subscribe(self, changed: Callable[..., None]) -> None:
        self._listeners.append(changed)

    async def change(self, name: str, alter: Callable[[SetState], SetState]) -> SetState:
        self.kept = alter(self.kept)
        return self.kept

    async def take(self) -> bool:
        self.taken += 1
        self.valid = self.valid or self.lapsed
        return self.valid

    async def give_back(self) -> None:
        pass

    # Inventories

    def settled(self, machine: str) -> bool:
        return machine not in self.unsettled

    def holds(self, machine: str, image: Reference, digest: str, platform: str = "") -> bool:
        self.looked += 1
        return machine in self.has

    # Jobs

    def query(self, question: str, values: Any) -> Any:
        return self

    def fetchone(self) -> tuple[str] | None:
        return (str(len(self.made)),)

    async def submit(self, request: Submission, *, wait: float) -> JobState:
        self.made.append(request)
        await self.answers.wait()
        plan = [PlannedNode(machine, machine) for machine in sorted(request.only or ())]
        job = Job(
            f"00000000-0000-7000-8000-{len(self.made):012x}",
            *(request.operation.name, request.parameters, str(request.target), request.caller),
            *(NOW, NOW + 1e6),
            effect=CONVERGE,
            plan=plan,
            nodes=len(plan),
            lead=request.lead,
        )
        return self.jobs.add(job) or JobState(job)

    async def cancel(self, job: str, caller: str) -> None:
        self.cancelled.append(job)

    # What happens

    def tell(self, *machines: str) -> None:
        """Say that the sets have changed, or what is known of nodes."""
        of_sets, of_inventories = self._listeners
        if machines:
            of_inventories(set(machines))
        else:
            of_sets()

    def join(self, *machines: str, trouble: str = "", hostname: str = "") -> None:
        """Have nodes come, or send a heartbeat."""
        for machine in machines:
            self.fleet.register(Registration(machine, hostname or machine, "1", NOW))
            beat = Heartbeat(START, capabilities={"docker": trouble}, interval=5.0)
            assert self.fleet.receive(machine, beat)

    def end(self, keeper: Reconciler, job: str) -> None:
        """Have a job end well everywhere."""
        state = self.jobs.get(job)
        assert state is not None
        for place, machine in enumerate(list(state.unfinished)):
            self.has.add(machine)
            event = Event(job, machine, machine, COMPLETED, NOW)
            self.jobs.apply(event, place)
            keeper.folded(event)


@contextlib.asynccontextmanager
async def kept(doubles: Doubles) -> AsyncIterator[Reconciler]:
    """A reconciler that runs."""
    others: Any = doubles
    keeper = Reconciler(
        *(others, doubles.fleet, others, doubles.jobs, others, others),
        *(others, others, others, others, doubles.able),
        gathered_for=0.02,
        filled_every=0.1,
        look_every=0.05,
    )
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        running.cancel()
        await asyncio.wait([running])


async def until(so: Callable[[], object]) -> None:
    """Wait until something is so."""
    for _ in range(1000):
        if so():
            return
        await asyncio.sleep(0.01)
    raise Failed("it did not come about")


async def test_many_that_join_one_by_one_are_few_jobs_and_each_is_in_one_of_them() -> None:
    doubles = Doubles(a_set(follow="digest"))
    async with kept(doubles):
        for number in range(300):
            doubles.join(f"m{number}")
            await asyncio.sleep(0.001)
        await until(lambda: sum(len(each.only or ()) for each in doubles.made) == 300)
        assert len(doubles.made) < 30
        (first, *_) = doubles.made
        assert (first.caller, first.lead and first.lead.value) == ("set:web", ONE)
        assert first.bounds.everywhere
        assert len({each.key for each in doubles.made}) == len(doubles.made)


async def test_who_does_not_lead_does_nothing_and_whoever_takes_over_does_it() -> None:
    doubles = Doubles(a_set(follow="digest"))
    doubles.valid = False
    doubles.join("a")
    async with kept(doubles):
        await asyncio.sleep(0.3)
        assert doubles.made == []
        doubles.valid = True
        await until(lambda: doubles.made)


async def test_two_at_once_make_one_job_by_its_key() -> None:
    one, other = Doubles(a_set(follow="digest")), Doubles(a_set(follow="digest"))
    one.join("a", "b")
    other.join("b", "a")
    async with kept(one), kept(other):
        await until(lambda: one.made and other.made)
    assert one.made[0].key == other.made[0].key


async def test_the_lease_is_renewed_while_a_look_goes_on_that_takes_longer_than_it_lasts() -> None:
    doubles = Doubles(a_set(follow="digest"))
    doubles.join("a")
    doubles.answers = asyncio.Event()
    async with kept(doubles):
        await until(lambda: doubles.made)
        taken = doubles.taken
        await until(lambda: doubles.taken > taken + 2)
        doubles.answers.set()


async def test_after_a_moment_without_the_lease_not_all_nodes_are_looked_at_again() -> None:
    doubles = Doubles(a_set(follow="digest"))
    machines = [f"m{number}" for number in range(100)]
    doubles.join(*machines)
    doubles.has.update(machines)
    async with kept(doubles):
        await until(lambda: doubles.looked >= 100)
        looked, taken = doubles.looked, doubles.taken
        doubles.valid, doubles.lapsed = False, True
        await until(lambda: doubles.taken > taken + 3)
        assert doubles.valid
        assert doubles.looked == looked


async def test_a_node_whose_engine_is_in_trouble_is_left_alone_until_that_is_over() -> None:
    doubles = Doubles(a_set(follow="digest"))
    doubles.join("a", trouble="the engine is away")
    async with kept(doubles):
        await until(lambda: doubles.looked)
        await asyncio.sleep(0.2)
        assert doubles.made == []
        doubles.join("a")
        await until(lambda: doubles.made)


async def test_a_machine_that_is_back_by_another_hostname_is_meant_by_that_alone() -> None:
    doubles = Doubles(a_set(follow="digest", target="web-1"))
    doubles.join("a", hostname="web-1")
    async with kept(doubles) as keeper:
        await until(lambda: doubles.made)
        (job,) = doubles.jobs
        doubles.end(keeper, job.job.id)
        doubles.has.clear()
        doubles.join("a", hostname="db-1")
        doubles.tell("a")
        doubles.join("b", hostname="web-1")
        await until(lambda: len(doubles.made) == 2)
        doubles.join("b", hostname="db-1")
        doubles.join("a", hostname="web-1")
        await until(lambda: len(doubles.made) == 3)
        assert [[*(each.only or ())] for each in doubles.made] == [["a"], ["b"], ["a"]]


async def test_what_jobs_of_a_set_bring_is_cancelled_when_the_set_is_removed() -> None:
    doubles = Doubles(a_set(follow="digest"))
    doubles.join("a")
    async with kept(doubles):
        await until(lambda: doubles.made)
        doubles.record = None
        doubles.tell()
        await until(lambda: doubles.cancelled)
        (job,) = doubles.jobs
        assert doubles.cancelled[0] == job.job.id


async def test_what_is_lost_again_is_brought_again_by_a_job_of_another_key() -> None:
    doubles = Doubles(a_set(follow="digest"))
    doubles.join("a")
    async with kept(doubles) as keeper:
        await until(lambda: doubles.made)
        (job,) = doubles.jobs
        doubles.end(keeper, job.job.id)
        doubles.tell("a")
        await asyncio.sleep(0.3)
        assert len(doubles.made) == 1
        doubles.has.clear()
        doubles.tell("a")
        await until(lambda: len(doubles.made) == 2)
        first, second = doubles.made
        assert first.key != second.key


async def test_a_node_settles_once_it_has_said_what_it_has_since_a_job_ended_there() -> None:
    doubles = Doubles(a_set(follow="digest"))
    doubles.join("a")
    async with kept(doubles) as keeper:
        await until(lambda: doubles.made)
        (job,) = doubles.jobs
        doubles.unsettled.add("a")
        doubles.end(keeper, job.job.id)
        doubles.has.clear()
        what = Brings("set:web", NAME, "", ONE)
        ended = keeper.attempts.of(what, "a")
        assert ended is not None
        doubles.tell("a")  # it has something else, as a heartbeat says
        unheard = keeper.attempts.of(what, "a")
        doubles.unsettled.clear()
        doubles.tell("a")
        heard = keeper.attempts.of(what, "a")
        assert unheard is not None
        assert heard is not None
        assert heard.settles < ended.settles - 2 < unheard.settles


async def test_what_a_node_has_by_now_and_what_no_set_wants_is_forgotten_whoever_leads() -> None:
    doubles = Doubles(a_set(follow="digest"))
    doubles.join("a")
    what = Brings("set:web", NAME, "", ONE)
    async with kept(doubles) as keeper:
        await until(lambda: doubles.made)
        (job,) = doubles.jobs
        keeper._pictures.clear()  # as at a controller that doesn't keep the sets
        doubles.unsettled.add("a")
        doubles.end(keeper, job.job.id)
        assert keeper.attempts.of(what, "a") is not None
        doubles.unsettled.clear()
        doubles.tell("a")
        assert keeper.attempts.of(what, "a") is None


async def test_what_came_to_nothing_is_forgotten_with_its_set() -> None:
    doubles = Doubles(a_set(follow="digest"))
    doubles.join("a")
    what = Brings("set:web", NAME, "", ONE)
    async with kept(doubles) as keeper:
        await until(lambda: doubles.made)
        (job,) = doubles.jobs
        doubles.unsettled.add("a")
        doubles.end(keeper, job.job.id)
        assert keeper.attempts.of(what, "a") is not None
        doubles.record = None
        doubles.tell()
        assert keeper.attempts.of(what, "a") is None
        assert keeper._generations == {}


async def test_while_nothing_changes_no_node_is_looked_at() -> None:
    doubles = Doubles(a_set(follow="digest"))
    machines = [f"m{number}" for number in range(100)]
    doubles.join(*machines)
    doubles.has.update(machines)
    async with kept(doubles):
        await until(lambda: doubles.looked >= 100)
        await asyncio.sleep(0.2)
        looked = doubles.looked
        doubles.join(*machines)  # their heartbeats
        await asyncio.sleep(0.3)
        assert doubles.looked == looked
        doubles.tell("m1")
        await until(lambda: doubles.looked > looked)
        assert doubles.looked < looked + 10
