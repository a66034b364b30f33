"""Tasks that may be taken back until they begin, and so ask for leave."""

import asyncio
import time

import pytest

from tests.testing.doubles import until
from tests.testing.ledger import full_disk, on_disk
from tests.unit.agent.conftest import Body, Middle
from towline.wire.event import CANCELLED, COMPLETED, EXPIRED, FAILED, STARTED, Event
from towline.wire.report import AGAIN, REFUSED, STORED, Receipt


def leave(event: Event) -> Receipt:
    """Give leave to whoever asks."""
    return Receipt(STORED, time.time(), leave=event.kind == STARTED)


async def test_a_task_asks_once_it_is_on_the_disk_and_reports_its_start_once(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    seen: list[bool] = []

    def receipt(event: Event) -> Receipt:
        seen.append(job.id in on_disk(middle.path)[0])
        return leave(event)

    middle.controllers.receipt = receipt
    body.gate.clear()
    middle.take(job, leave=True)
    await until(lambda: body.begun)
    await asyncio.sleep(0.1)
    body.gate.set()
    await until(lambda: (COMPLETED, None) in middle.ends(job))
    assert (body.begun, seen[0]) == (1, True)
    assert middle.ends(job) == [(STARTED, None), (COMPLETED, None)]


@pytest.mark.parametrize(
    "answers",
    [
        [None],
        [Receipt(AGAIN, 1e9)],
        [Receipt(STORED, 1e9), Receipt(STORED, 1e9)],
    ],
    ids=["nobody answers", "not stored", "no leave"],
)
async def test_a_task_asks_again_until_it_has_leave(
    middle: Middle, body: Body, answers: list[Receipt | None]
) -> None:
    asked = len(answers)
    middle.controllers.receipt = lambda event: answers.pop(0) if answers else leave(event)
    job = middle.job()
    middle.take(job, leave=True)
    await until(lambda: (COMPLETED, None) in middle.ends(job))
    starts = [event for _, event in middle.controllers.reports if event.kind == STARTED]
    assert (body.begun, len(starts)) == (1, asked + 1)


async def test_a_task_whose_turn_was_taken_back_is_dropped_and_may_come_again(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    middle.controllers.receipt = lambda _: Receipt(REFUSED, time.time(), over=True)
    middle.take(job, leave=True)
    await until(lambda: not middle.executor.runs(job.id))
    assert (body.begun, middle.ledger.state_of(job.id), middle.ends(job)) == (0, None, [])
    assert not middle.ledger.held(10)
    middle.controllers.receipt = leave
    middle.take(job, leave=True)
    await until(lambda: (COMPLETED, None) in middle.ends(job))


async def test_a_task_whose_start_is_refused_fails(middle: Middle, body: Body) -> None:
    job = middle.job()
    middle.controllers.receipt = lambda event: Receipt(
        REFUSED if event.kind == STARTED else STORED, time.time(), reason="it names nobody"
    )
    middle.take(job, leave=True)
    await until(lambda: middle.ends(job))
    assert middle.ends(job) == [(FAILED, "not begun, its start was refused: it names nobody")]
    assert body.begun == 0


async def test_a_task_that_is_cancelled_while_it_asks_is_not_begun(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    middle.connection.gate.clear()
    middle.controllers.receipt = leave
    middle.take(job, leave=True)
    await until(lambda: job.id in on_disk(middle.path)[0])
    await asyncio.sleep(0.05)
    middle.cancel(job)
    await asyncio.sleep(0.05)
    middle.connection.gate.set()
    await until(lambda: (CANCELLED, "cancelled by ann") in middle.ends(job))
    assert body.begun == 0


async def test_a_task_whose_turn_ends_while_it_asks_is_not_begun(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    middle.controllers.receipt = lambda _: Receipt(STORED, middle.clock.now())
    middle.take(job, leave=True, expires=middle.clock.now() + 60)
    await until(lambda: middle.ends(job))
    middle.clock.passed(middle.clock.now() + 61)
    await until(lambda: EXPIRED in dict(middle.ends(job)))
    assert body.begun == 0


async def test_a_task_that_cannot_be_accepted_does_not_ask(middle: Middle, body: Body) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job()
    with full_disk(middle.path):
        middle.take(job, leave=True)
        await until(lambda: not middle.executor.runs(job.id))
    assert (body.begun, middle.controllers.reports) == (0, [])
    assert not middle.ledger.held(10)


@pytest.mark.parametrize("started", [True, False])
async def test_a_task_asks_again_at_the_next_start_unless_it_had_begun(
    middle: Middle, body: Body, started: bool
) -> None:
    middle.controllers.receipt = leave
    job = middle.job()
    change = middle.ledger.accept(middle.release(job, leave=True))
    assert change is not None
    if started:
        middle.ledger.start(job.id, job.created)
    await middle.runner.resume()
    await until(lambda: (COMPLETED, None) in middle.ends(job))
    assert (STARTED in dict(middle.ends(job))) == (not started)
