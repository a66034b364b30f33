"""Reports on their way from the ledger to the controllers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.testing.controllers import stored
from tests.testing.doubles import AWAY, ConnectionDouble, believed, until
from tests.testing.ledger import NOW, a_task, an_end, end, full_disk, numbered, on_disk, outbox
from tests.testing.signing import signed
from towline.agent.ledger import Ledger
from towline.agent.outbox import MOST_SENT, Outbox
from towline.broker.clock import Clock
from towline.runtime.part import keep_running
from towline.wire.event import COMPLETED, FAILED, STEP, Event
from towline.wire.report import AGAIN, REFUSED, STORED, Receipt


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path, retry_every=0.01) as ledger:
        yield ledger


@pytest.fixture
def connection() -> ConnectionDouble:
    return ConnectionDouble()


def made(
    connection: ConnectionDouble,
    ledger: Ledger,
    clock: Clock | None = None,
    close_within: float = 0.2,
) -> Outbox:
    return Outbox(
        connection,
        "a",
        ledger,
        believed(connection, "a", clock),
        shortest_pause=0.01,
        longest_pause=0.1,
        close_within=close_within,
    )


@contextlib.asynccontextmanager
async def running(connection: ConnectionDouble, ledger: Ledger) -> AsyncIterator[Outbox]:
    outbox = made(connection, ledger)
    task = asyncio.create_task(keep_running("outbox", outbox.run, shortest_pause=0.01))
    try:
        yield outbox
    finally:
        assert not task.done(), "it has ended"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        connection.failing = None
        await outbox.close()


async def record_end(outbox: Outbox, event: Event) -> None:
    await outbox.end(event, created=NOW, expires=NOW + 3600)


async def test_what_an_earlier_agent_left_is_reported(
    path: Path, connection: ConnectionDouble
) -> None:
    tasks = [a_task() for _ in range(200)]
    with Ledger(path) as ledger:
        for task in tasks:
            last = end(ledger, task)
        await last
    with Ledger(path) as ledger:
        async with running(connection, ledger):
            await until(lambda: connection.controllers.events == [an_end(task) for task in tasks])
        assert not outbox(ledger)


async def test_no_more_are_under_way_at_a_time_than_so_many(
    ledger: Ledger, connection: ConnectionDouble
) -> None:
    sent: list[int] = []
    connection.gate.clear()
    for _ in range(3 * MOST_SENT):
        end(ledger, a_task())
    async with running(connection, ledger) as reporting:
        await until(lambda: len(reporting._sending) == MOST_SENT)
        await asyncio.sleep(0.05)
        sent.append(len(reporting._sending))
        connection.gate.set()
        await until(lambda: not outbox(ledger))
    assert sent == [MOST_SENT]


async def test_an_end_is_sent_at_once_and_leaves_the_outbox(
    ledger: Ledger, connection: ConnectionDouble
) -> None:
    event = an_end(a_task())
    async with running(connection, ledger) as reporting:
        await record_end(reporting, event)
        await asyncio.sleep(0.05)
    assert connection.controllers.reports == [("report.a", event)]
    assert not outbox(ledger)


async def test_a_report_that_is_not_answered_goes_to_every_controller(
    ledger: Ledger, connection: ConnectionDouble
) -> None:
    answers = [None]
    connection.controllers.receipt = lambda event: answers.pop() if answers else stored(event)
    event = an_end(a_task())
    await record_end(made(connection, ledger), event)
    assert connection.controllers.reports == [("report.a", event), ("report.a.again", event)]
    assert not outbox(ledger)


@pytest.mark.parametrize("failure", [AWAY, RuntimeError("unexpected")])
async def test_an_end_that_cannot_be_sent_waits_in_the_ledger(
    ledger: Ledger, path: Path, connection: ConnectionDouble, failure: Exception
) -> None:
    event = an_end(a_task())
    connection.failing = failure
    async with running(connection, ledger) as reporting:
        await record_end(reporting, event)
        assert on_disk(path)[1] == {event.job}
        connection.failing = None
        await until(lambda: connection.controllers.events == [event])
        await until(lambda: not outbox(ledger))


@pytest.mark.parametrize(
    "receipt",
    [Receipt(AGAIN, NOW, reason="the journal is full"), Receipt("unheard-of", NOW)],
    ids=["again", "a newer controller's"],
)
async def test_one_report_that_is_not_stored_keeps_back_no_other(
    ledger: Ledger, connection: ConnectionDouble, receipt: Receipt
) -> None:
    late = {numbered(number) for number in range(MOST_SENT)}
    connection.controllers.receipt = lambda event: receipt if event.job in late else stored(event)
    for number in range(3 * MOST_SENT):
        end(ledger, a_task(numbered(number)))
    async with running(connection, ledger):
        await until(lambda: len(set(connection.controllers.jobs)) == 2 * MOST_SENT)
        await until(lambda: {event.job for event in outbox(ledger)} == late)
        connection.controllers.receipt = stored
        await until(lambda: not outbox(ledger))
    assert len(connection.controllers.jobs) == 3 * MOST_SENT


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"status":"stored"}', b"\xff", b"[" * 9999]
)
async def test_a_receipt_that_cannot_be_read_is_none(
    ledger: Ledger, connection: ConnectionDouble, answer: bytes
) -> None:
    event = an_end(a_task())
    connection.junk = lambda purpose: signed(answer, purpose)
    async with running(connection, ledger) as reporting:
        await record_end(reporting, event)
        await asyncio.sleep(0.05)
        assert outbox(ledger) == [event]
        connection.junk = None
        await until(lambda: not outbox(ledger))


async def test_receipts_set_the_clock(ledger: Ledger, connection: ConnectionDouble) -> None:
    clock = Clock()
    connection.controllers.receipt = lambda _: Receipt(STORED, NOW)
    await record_end(made(connection, ledger, clock), an_end(a_task()))
    assert clock.known.is_set()
    assert clock.now() == pytest.approx(NOW, abs=60)


# Refused


async def test_an_end_that_is_refused_is_replaced_by_a_small_one(
    ledger: Ledger, connection: ConnectionDouble
) -> None:
    task = a_task()
    event = msgspec.structs.replace(an_end(task), data={"containers": ["x"]}, started=NOW)
    connection.controllers.receipt = lambda event: (
        Receipt(REFUSED, NOW, reason="too large") if event.data else stored(event)
    )
    async with running(connection, ledger) as reporting:
        with capture_logs():
            await record_end(reporting, event)
            await until(lambda: connection.controllers.events)
            await until(lambda: not outbox(ledger))
    (small,) = connection.controllers.events
    assert (small.kind, small.data, small.started) == (FAILED, None, NOW)
    assert small.error == "its end (completed) was refused: too large"
    assert ledger.end_of(task.id) == small


async def test_what_is_refused_again_is_reported_no_more(
    ledger: Ledger, connection: ConnectionDouble
) -> None:
    connection.controllers.receipt = lambda event: Receipt(REFUSED, NOW, reason="no such job")
    async with running(connection, ledger) as reporting:
        await record_end(reporting, an_end(a_task()))
        reporting.step(an_end(a_task(), STEP))
        await until(lambda: len(connection.controllers.reports) == 3)
        await until(lambda: not outbox(ledger))
        await asyncio.sleep(0.05)
    kinds = [event.kind for _, event in connection.controllers.reports]
    assert sorted(kinds) == sorted([COMPLETED, STEP, FAILED])


async def test_the_end_of_what_has_ended_for_the_controllers_is_not_replaced(
    ledger: Ledger, connection: ConnectionDouble
) -> None:
    connection.controllers.receipt = lambda event: Receipt(REFUSED, NOW, over=True)
    async with running(connection, ledger) as reporting:
        await record_end(reporting, an_end(a_task()))
        await until(lambda: not outbox(ledger))
    assert [event.kind for _, event in connection.controllers.reports] == [COMPLETED]


@pytest.mark.parametrize("status", [STORED, REFUSED])
async def test_a_task_under_way_that_has_ended_for_the_controllers_is_named(
    ledger: Ledger, connection: ConnectionDouble, status: str
) -> None:
    over: list[str] = []
    task, ended = a_task(), a_task()
    connection.controllers.receipt = lambda event: Receipt(status, NOW, over=True)
    async with running(connection, ledger) as reporting:
        reporting.over = over.append
        reporting.step(an_end(task, STEP))
        await record_end(reporting, an_end(ended))
        await until(lambda: not outbox(ledger))
    assert over == [task.id]


# Full disks


async def test_reporting_goes_on_while_the_disk_is_full(
    ledger: Ledger, path: Path, connection: ConnectionDouble
) -> None:
    tasks = [a_task() for _ in range(100)]
    for task in tasks:
        last = end(ledger, task)
    await last
    with full_disk(path):
        async with running(connection, ledger):
            await until(lambda: len(connection.controllers.events) == len(tasks))
            await until(lambda: not outbox(ledger))


async def test_an_end_is_reported_while_the_disk_is_full_and_recorded_afterwards(
    ledger: Ledger, path: Path, connection: ConnectionDouble
) -> None:
    event = an_end(a_task())
    ledger.delivered(end(ledger, a_task()).number)
    await ledger.forget(1.0)
    connection.failing = AWAY
    async with running(connection, ledger) as reporting:
        with full_disk(path):
            ending = asyncio.create_task(record_end(reporting, event))
            await asyncio.sleep(0.1)
            connection.failing = None
            await until(lambda: event in connection.controllers.events)
            assert not ending.done()
        await ending
        await until(lambda: not outbox(ledger))
    assert ledger.end_of(event.job) == event


async def test_a_step_that_a_full_disk_refused_is_recorded_when_there_is_room(
    ledger: Ledger, path: Path, connection: ConnectionDouble
) -> None:
    event = an_end(a_task(), STEP)
    await ledger.forget(1.0)
    connection.failing = AWAY
    async with running(connection, ledger) as reporting:
        with full_disk(path):
            reporting.step(event)
            await asyncio.sleep(0.1)
        await until(lambda: event.job in on_disk(path)[1])
        connection.failing = None
        await until(lambda: event in connection.controllers.events)


# Past the ledger, and closing


async def test_what_is_insisted_on_is_tried_until_it_is_stored(
    ledger: Ledger, connection: ConnectionDouble
) -> None:
    event = an_end(a_task())
    connection.failing = AWAY
    insisting = asyncio.create_task(made(connection, ledger).insist(event))
    await asyncio.sleep(0.05)
    connection.controllers.receipt = lambda _: Receipt(AGAIN, time.time())
    connection.failing = None
    await asyncio.sleep(0.05)
    assert not insisting.done()
    connection.controllers.receipt = stored
    assert (await insisting).status == STORED
    assert connection.controllers.events == [event]


async def test_an_end_that_is_repeated_is_tried_once_at_a_time(
    ledger: Ledger, connection: ConnectionDouble
) -> None:
    event, reporting = an_end(a_task()), made(connection, ledger)
    connection.gate.clear()
    reporting.repeat(event)
    reporting.repeat(event)
    connection.gate.set()
    await until(lambda: not reporting._repeating)
    reporting.repeat(event)
    await until(lambda: connection.controllers.events == [event, event])
    assert not outbox(ledger)


async def test_an_outbox_that_closes_reports_what_it_can(
    ledger: Ledger, path: Path, connection: ConnectionDouble
) -> None:
    task, reporting = a_task(), made(connection, ledger)
    await end(ledger, task)
    connection.failing = AWAY
    await reporting.close()
    assert on_disk(path)[1] == {task.id}
    connection.failing = None
    connection.gate.clear()
    await reporting.close()
    assert on_disk(path)[1] == {task.id}
    connection.gate.set()
    for _ in range(2 * MOST_SENT):
        end(ledger, a_task())
    await made(connection, ledger, close_within=60.0).close()
    assert len(connection.controllers.events) == 2 * MOST_SENT + 1


class Slow(Ledger):
    """A ledger that takes longer to read than a pause is long."""

    def undelivered(self, limit: int, apart: Collection[int] = ()) -> list[tuple[int, Event]]:
        found = super().undelivered(limit, apart)
        time.sleep(0.03)
        return found


async def test_a_pause_that_ends_while_the_ledger_is_read_is_not_missed(
    path: Path, connection: ConnectionDouble
) -> None:
    refused = 0

    def receipt(event: Event) -> Receipt | None:
        nonlocal refused
        refused += 1
        return Receipt(AGAIN, time.time()) if refused < 5 else stored(event)

    connection.controllers.receipt = receipt
    with Slow(path) as ledger:
        async with running(connection, ledger) as reporting:
            await record_end(reporting, an_end(a_task()))
            await until(lambda: not outbox(ledger))
