"""Tasks on their way through the ledger, and no way on which one is lost."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.testing.doubles import AWAY, DeliveryDouble, until
from tests.testing.ledger import full_disk, on_disk
from tests.unit.agent.conftest import Body, Middle
from towline.agent.ledger import Ledger
from towline.operation import Effect
from towline.wire.event import CANCELLED, COMPLETED, EXPIRED, FAILED
from towline.wire.job import CANCEL, Job, new_id


def cancellation(job: Job) -> DeliveryDouble:
    return DeliveryDouble(Job(new_id(), CANCEL, {"job": job.id}, "node-1", "ann", 1.0, 2.0))


async def leave_behind(path: Path, *jobs: Job, started: float | None = None) -> None:
    """Leave a ledger as an agent does that was killed."""
    with Ledger(path) as ledger:
        for job in jobs:
            change = ledger.accept(job, received=1.0)
            assert change is not None
            await change
            if started is not None:
                await ledger.start(job.id, started)


@pytest.mark.parametrize("effect", [Effect.CONVERGE, Effect.ONCE])
async def test_a_task_runs_and_its_end_is_in_journal_and_ledger(
    middle: Middle, body: Body, effect: Effect
) -> None:
    job = middle.job(effect)
    delivery = middle.deliver(job)
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])
    await until(lambda: not middle.executor.runs(job.id))
    assert (body.begun, delivery.acknowledged) == (1, 1)
    assert not await middle.ledger.unfinished()
    assert not middle.ledger.undelivered(10)


async def test_a_job_that_comes_twice_runs_once(middle: Middle, body: Body) -> None:
    job = middle.job()
    middle.deliver(job)
    await until(lambda: not middle.executor.runs(job.id))
    again = middle.deliver(job)
    await until(lambda: again.acknowledged)
    assert body.begun == 1
    assert middle.ends(job) == [(COMPLETED, None)]


async def test_what_must_not_run_twice_begins_when_its_begin_is_on_the_disk(
    middle: Middle, body: Body
) -> None:
    seen: list[bool] = []
    job = middle.job(Effect.ONCE)
    body.do = lambda _: seen.append(job.id in on_disk(middle.path)[0])
    middle.deliver(job)
    await until(lambda: middle.ends(job))
    assert seen == [True]


async def test_what_is_refused_ends_and_is_acknowledged(middle: Middle, body: Body) -> None:
    job = middle.job(expires=1.0)
    delivery = middle.deliver(job)
    await until(lambda: middle.ends(job))
    assert middle.ends(job)[0][0] == EXPIRED
    assert (body.begun, delivery.acknowledged) == (0, 1)


async def test_what_was_under_way_goes_on_at_the_next_start(tmp_path: Path, body: Body) -> None:
    path = tmp_path / "left.sqlite"
    middle = Middle(tmp_path / "unused.sqlite")
    again, never = middle.job(), middle.job(Effect.ONCE)
    middle.ledger.__exit__(None, None, None)
    await leave_behind(path, again, never, started=5.0)
    middle = Middle(path)
    with middle.ledger:
        await middle.runner.resume(DeliveryDouble)
        await until(lambda: middle.ends(again) and middle.ends(never))
        assert middle.ends(again) == [(COMPLETED, None)]
        assert middle.ends(never)[0][0] == FAILED
        assert body.begun == 1
        await middle.runner.close()


# Cancelled


async def test_a_cancellation_is_acknowledged_when_the_task_has_ended(
    middle: Middle, body: Body
) -> None:
    body.gate.clear()
    job = middle.job()
    middle.deliver(job)
    await until(lambda: body.begun)
    cancel = cancellation(job)
    middle.runner.cancel(job.id, cancel)
    await until(lambda: cancel.acknowledged)
    assert middle.ends(job) == [(CANCELLED, "cancelled by ann")]


async def test_a_job_that_was_cancelled_before_it_came_is_not_begun(
    middle: Middle, body: Body
) -> None:
    job, cancel = middle.job(), None
    cancel = cancellation(job)
    middle.runner.cancel(job.id, cancel)
    await until(lambda: cancel.acknowledged)
    delivery = middle.deliver(job)
    await until(lambda: delivery.acknowledged)
    assert middle.ends(job) == [(CANCELLED, "cancelled")]
    assert body.begun == 0


async def test_a_cancellation_that_a_full_disk_refuses_is_not_acknowledged(
    middle: Middle,
) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job()
    cancel = cancellation(job)
    with full_disk(middle.path), capture_logs() as logs:
        middle.runner.cancel(job.id, cancel)
        await until(lambda: [entry for entry in logs if entry["log_level"] == "error"])
    assert not cancel.acknowledged
    middle.runner.cancel(job.id, cancel)
    await until(lambda: cancel.acknowledged)
    assert middle.ledger.refused(job.id)


async def test_a_cancelled_job_that_a_full_disk_refused_does_not_run_when_it_comes_again(
    middle: Middle, body: Body
) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job()
    cancel = cancellation(job)
    with full_disk(middle.path):
        delivery = DeliveryDouble(job, needs_leave=True)
        middle.runner.take(delivery)
        middle.runner.cancel(job.id, cancel)
        await until(lambda: not middle.executor.runs(job.id))
        await asyncio.sleep(0.1)
    assert (delivery.acknowledged, cancel.acknowledged) == (0, 0)
    middle.runner.cancel(job.id, cancel)
    await until(lambda: cancel.acknowledged)
    again = middle.deliver(job)
    await until(lambda: again.acknowledged)
    assert body.begun == 0
    assert middle.ends(job) == [(CANCELLED, "cancelled")]


# Leave


async def test_a_task_that_needs_leave_asks_once_it_is_on_the_disk(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    delivery = DeliveryDouble(job, needs_leave=True)
    middle.runner.take(delivery)
    await delivery.asks.wait()
    assert job.id in on_disk(middle.path)[0]
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])
    assert (body.begun, delivery.acknowledged) == (1, 1)


async def test_a_task_that_another_node_has_is_dropped(middle: Middle, body: Body) -> None:
    job = middle.job()
    delivery = DeliveryDouble(job, needs_leave=True)
    delivery.leave_given = False
    middle.runner.take(delivery)
    await until(lambda: delivery.acknowledged)
    assert not await middle.ledger.unfinished()
    assert (body.begun, middle.ends(job)) == (0, [])


async def test_a_task_that_was_cancelled_while_it_waited_is_not_begun(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    delivery = DeliveryDouble(job, needs_leave=True)
    delivery.canceller = "ann"
    middle.runner.take(delivery)
    await until(lambda: delivery.acknowledged)
    await until(lambda: middle.ends(job) == [(CANCELLED, "cancelled by ann")])
    assert body.begun == 0


# Full disks


async def test_a_job_that_needs_leave_and_cannot_be_accepted_is_left_to_another_delivery(
    middle: Middle, body: Body
) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job()
    delivery = DeliveryDouble(job, needs_leave=True)
    with full_disk(middle.path):
        middle.runner.take(delivery)
        await until(lambda: not middle.executor.runs(job.id))
    assert not delivery.asks.is_set(), "it asked for leave to what its ledger doesn't have"
    assert (body.begun, delivery.acknowledged) == (0, 0)


@pytest.mark.parametrize("effect", [Effect.CONVERGE, Effect.ONCE])
async def test_a_job_that_comes_while_the_disk_is_full_runs_once_and_is_not_lost(
    middle: Middle, body: Body, effect: Effect
) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job(effect)
    with full_disk(middle.path):
        delivery = middle.deliver(job)
        await asyncio.sleep(0.1)
        assert body.begun == (0 if effect is Effect.ONCE else 1)
        assert not delivery.acknowledged
        assert not middle.ends(job)
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])
    await until(lambda: not middle.executor.runs(job.id))
    assert (body.begun, delivery.acknowledged) == (1, 1)
    assert job.id in on_disk(middle.path)[0]


async def test_what_expires_while_the_disk_is_full_does_not_begin_when_there_is_room(
    middle: Middle, body: Body
) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job(Effect.ONCE)
    with full_disk(middle.path):
        middle.deliver(job)
        await asyncio.sleep(0.05)
        middle.journal.jetstream.clock._ahead = job.expires  # That and the seconds since the boot.
    await until(lambda: middle.ends(job))
    assert middle.ends(job)[0][0] == EXPIRED
    assert body.begun == 0


async def test_what_was_under_way_goes_on_though_the_disk_is_full_at_the_start(
    tmp_path: Path, body: Body
) -> None:
    path = tmp_path / "left.sqlite"
    middle = Middle(tmp_path / "unused.sqlite")
    job = middle.job(Effect.ONCE)
    middle.ledger.__exit__(None, None, None)
    await leave_behind(path, job)
    middle = Middle(path)
    with middle.ledger:
        await middle.ledger.forget(1.0)
        with full_disk(path):
            await middle.runner.resume(DeliveryDouble)
            await asyncio.sleep(0.1)
            assert body.begun == 0
        await until(lambda: middle.ends(job) == [(COMPLETED, None)])
        assert body.begun == 1
        await middle.runner.close()


async def test_an_end_that_a_full_disk_refuses_is_in_journal_and_ledger_in_the_end(
    middle: Middle, body: Body
) -> None:
    body.gate.clear()
    job = middle.job()
    delivery = middle.deliver(job)
    await until(lambda: delivery.acknowledged)
    middle.journal.failing = AWAY
    with full_disk(middle.path):
        body.gate.set()
        await asyncio.sleep(0.1)
        assert middle.executor.runs(job.id)
    await until(lambda: not middle.executor.runs(job.id))
    assert [event.kind for _, event in middle.ledger.undelivered(10)] == [COMPLETED]
