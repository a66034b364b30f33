"""What nodes are answered to their reports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.testing.doubles import ConnectionDouble
from tests.testing.jobs import LONG_AGO, Fold, a_decision, a_job, an_event, planned
from tests.testing.signing import SIGNER, opened
from towline.broker.answers import BrokerRefused
from towline.broker.listener import Received
from towline.controller.jobs.index import Index
from towline.controller.jobs.reports import Reports
from towline.controller.moment import LocalClock
from towline.errors import BrokerUnreachable
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.event import (
    CANCELLED,
    COMPLETED,
    DELETED,
    FAILED,
    LED,
    RELEASED,
    STARTED,
    TAKEN_BACK,
    Event,
    Lead,
)
from towline.wire.report import AGAIN, REFUSED, STORED, Receipt

AWAY = BrokerUnreachable("The broker is out of reach.", "a test says so")
FULL = BrokerRefused(10077, "maximum bytes exceeded")
LEAD = Lead("x", "host-a", LONG_AGO)


class World:
    """A controller's reports, on a journal that a test decides about.

    Attributes:
        fault: raised for whatever is stored or decided while it is set.
        late: called when the index is to catch up.
    """

    def __init__(self, path: Path) -> None:
        self.nodes = ConnectionDouble()
        self.index = Index(path / "index.sqlite")
        self.fold = Fold(self.index)
        self.stored: list[Event] = []
        self.fault: Exception | None = None
        self.late: Callable[[], object] = lambda: None
        self.given = True
        self.reports = Reports(
            *(self.nodes, SIGNER, self, self.index, self.fold.open, self, self),  # type: ignore[arg-type]
            clock=LocalClock(wall=lambda: LONG_AGO),
            folded_within=0.05,
        )

    def send(self, event: Event, reply: str | None = None) -> None:
        if reply is None:
            reply = f"_INBOX.{event.machine}.1"
        data = msgspec.json.encode(event)
        self.reports.receive(Received(f"report.{event.machine}", data, reply))

    async def answer(self, event: Event) -> Receipt | None:
        """Return what a report is answered with, None where nothing comes."""
        before = len(self.nodes.published)
        self.send(event)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while len(self.nodes.published) == before:
                    await asyncio.sleep(0.005)
                subject, data = self.nodes.published[-1]
                assert subject == f"_INBOX.{event.machine}.1"
                return messages.receipt(opened(data), event.machine)
        return None

    # As the journal, the indexer and the decisions do it

    async def add_reports(self, events: Sequence[Event], message_id: str) -> int:
        if self.fault is not None:
            raise self.fault
        self.stored += events
        return 1

    async def catch_up(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.late()

    async def until(self, ends: Mapping[str, int]) -> bool:
        return True

    async def lead(self, job_id: str, report: Event) -> Lead | None:
        if self.fault is not None:
            raise self.fault
        return LEAD

    async def leave(self, state: Any, machine: str) -> bool:
        if self.fault is not None:
            raise self.fault
        return self.given


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    running = asyncio.create_task(world.reports.run())
    yield world
    running.cancel()
    await asyncio.wait([running])


async def test_a_report_of_an_open_task_is_stored_and_then_answered(world: World) -> None:
    world.fold.job(job := a_job())
    event = an_event(job, STARTED)
    assert await world.answer(event) == Receipt(STORED, LONG_AGO)
    assert world.stored == [event]


@pytest.mark.parametrize(("fault", "status"), [(FULL, AGAIN), (AWAY, None), (ValueError(), None)])
async def test_what_is_not_stored_is_reported_again_or_to_another_controller(
    world: World, fault: Exception, status: str | None
) -> None:
    world.fold.job(job := a_job())
    world.fault = fault
    found = await world.answer(an_event(job, COMPLETED))
    assert (None if found is None else found.status) == status
    world.fault = None
    found = await world.answer(an_event(job, COMPLETED))
    assert found is not None
    assert found.status == STORED


async def test_a_report_waits_for_its_job_to_be_folded(world: World) -> None:
    job = a_job()
    answering = asyncio.create_task(world.answer(an_event(job, STARTED)))
    await asyncio.sleep(0.01)
    world.fold.job(job)
    found = await answering
    assert found is not None
    assert found.status == STORED


@pytest.mark.parametrize("kind", [STARTED, COMPLETED])
async def test_a_report_whose_job_is_folded_at_the_last_moment_is_stored(
    world: World, kind: str
) -> None:
    job = a_job()
    world.late = lambda: world.fold.job(job)
    found = await world.answer(an_event(job, kind))
    assert found is not None
    assert (found.status, found.over) == (STORED, False)
    assert len(world.stored) == 1


async def test_what_cannot_be_known_is_not_answered(world: World) -> None:
    world.fault = AWAY
    assert await world.answer(an_event(a_job(), STARTED)) is None


@pytest.mark.parametrize("why", ["no such job", "not its", "deleted"])
async def test_a_report_of_a_task_that_there_is_not_is_refused(world: World, why: str) -> None:
    job = a_job(machines="b" if why == "not its" else "a")
    if why != "no such job":
        world.fold.job(job)
    if why == "deleted":
        world.fold.event(an_event(job, COMPLETED))
        world.fold.event(a_decision(job, DELETED))
    found = await world.answer(an_event(job, COMPLETED))
    assert found is not None
    assert (found.status, found.over) == (REFUSED, True)
    assert "is not for this node" in found.reason
    assert world.stored == []


async def test_an_end_that_is_stored_is_said_to_be(world: World) -> None:
    world.fold.job(job := a_job())
    world.fold.event(an_event(job, COMPLETED))
    assert await world.answer(an_event(job, COMPLETED)) == Receipt(STORED, LONG_AGO, over=True)
    assert world.stored == []


async def test_another_end_than_the_stored_one_stands_in_the_timeline(world: World) -> None:
    world.fold.job(job := a_job())
    world.fold.event(an_event(job, FAILED))
    found = await world.answer(an_event(job, COMPLETED))
    assert found is not None
    assert found.status == STORED
    assert [event.kind for event in world.stored] == [COMPLETED]


async def test_a_task_that_has_ended_begins_no_more(world: World) -> None:
    world.fold.job(job := a_job())
    world.fold.event(an_event(job, CANCELLED))
    found = await world.answer(an_event(job, STARTED))
    assert found == Receipt(REFUSED, LONG_AGO, "the task has ended", over=True)


@pytest.mark.parametrize("given", [True, False])
async def test_a_start_that_needs_leave_is_answered_with_it(
    world: World,
    given: bool,
) -> None:
    world.fold.job(job := a_job(target="_any", effect="once"))
    world.given = given
    found = await world.answer(an_event(job, STARTED))
    assert found == Receipt(STORED if given else REFUSED, LONG_AGO, leave=given, over=not given)
    world.fault = AWAY
    found = await world.answer(an_event(job, STARTED))
    assert found is not None
    assert (found.status, found.leave, found.over) == (AGAIN, False, False)
    assert world.stored == []


async def test_a_node_whose_turn_was_taken_back_does_not_begin(world: World) -> None:
    world.fold.job(job := a_job(machines="ab", waves=None, plan=planned("ab", "waits")))
    world.fold.event(a_decision(job, RELEASED, "ab"))
    world.fold.event(a_decision(job, TAKEN_BACK, "a"))
    found = await world.answer(an_event(job, STARTED))
    assert found is not None
    assert (found.status, found.over) == (REFUSED, True)


@pytest.mark.parametrize(("state", "status"), [("leads", STORED), ("turn", REFUSED)])
async def test_what_the_lead_found_is_answered_with_what_is_stored(
    world: World, state: str, status: str
) -> None:
    world.fold.job(job := a_job(plan=planned("a", state)))
    found = await world.answer(an_event(job, LED, data={"value": "y", "hostname": "host-a"}))
    assert found is not None
    assert found.status == status
    assert found.lead == (LEAD if state == "leads" else None)
    assert world.stored == []


@pytest.mark.parametrize(
    "reply", ["", "task.b.1", "job.x", "_INBOX.b.1", "$JS.API.STREAM.DELETE.CHANGES"]
)
async def test_who_names_no_inbox_is_not_answered(world: World, reply: str) -> None:
    world.fold.job(job := a_job())
    with pytest.raises(Unreadable):
        world.send(an_event(job, COMPLETED), reply)
    assert world.stored == []


async def test_no_memory_is_left_of_jobs_that_were_waited_for(world: World) -> None:
    for _ in range(3):
        job = a_job()
        answering = asyncio.create_task(world.answer(an_event(job, STARTED)))
        await asyncio.sleep(0.01)
        world.fold.job(job)
        await answering
        await world.answer(an_event(a_job(), STARTED))
    assert not world.reports._unknown
    assert not world.reports._tasks


async def test_a_report_that_cannot_be_read_is_refused_so_that_its_node_reports_another(
    world: World,
) -> None:
    for number, event in enumerate((an_event(a_job(), "end"), an_event(a_job(), RELEASED)), 1):
        with pytest.raises(Unreadable):
            world.send(event)
        await asyncio.sleep(0.01)
        assert len(world.nodes.published) == number
        receipt = messages.receipt(opened(world.nodes.published[-1][1]), "a")
        assert (receipt.status, receipt.over) == (REFUSED, False)
        assert receipt.reason.startswith("it can't be read: ")
    assert world.stored == []
