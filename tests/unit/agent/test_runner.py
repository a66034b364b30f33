"""Tasks on their way through the ledger, and no way on which one is lost or run twice."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.testing.doubles import until
from tests.testing.ledger import full_disk, on_disk
from tests.unit.agent.conftest import Body, Middle
from towline.agent.ledger import Ledger
from towline.agent.ledger.changes import ENDED
from towline.broker import clock
from towline.operation import Effect
from towline.wire.event import CANCELLED, COMPLETED, EXPIRED, FAILED, SKIPPED
from towline.wire.release import Release


async def leave_behind(path: Path, *tasks: Release, started: float | None = None) -> None:
    """Leave a ledger as an agent does that was killed."""
    with Ledger(path) as ledger:
        for task in tasks:
            change = ledger.accept(task)
            assert change is not None
            await change
            if started is not None:
                await ledger.start(task.id, started)


async def settled(middle: Middle) -> None:
    """Wait until nothing is under way."""
    await until(lambda: not middle.executor.task_count and not middle.runner._cancelling)


@pytest.mark.parametrize("effect", [Effect.CONVERGE, Effect.ONCE])
async def test_a_task_runs_and_its_end_is_reported_and_kept(
    middle: Middle, body: Body, effect: Effect
) -> None:
    job = middle.job(effect)
    middle.take(job)
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])
    await settled(middle)
    assert body.begun == 1
    assert not await middle.ledger.unfinished()
    assert not middle.ledger.undelivered(10)
    assert middle.ledger.end_of(job.id) == middle.controllers.events[0]


async def test_a_task_that_comes_twice_runs_once_and_its_end_is_reported_again(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    middle.take(job)
    middle.take(job)
    await settled(middle)
    middle.take(job)
    await until(lambda: len(middle.ends(job)) == 2)
    assert body.begun == 1
    assert middle.controllers.events[0] == middle.controllers.events[1]


async def test_a_task_that_may_have_been_forgotten_is_not_begun(middle: Middle, body: Body) -> None:
    first, second = middle.job(), middle.job()
    second = msgspec.structs.replace(second, expires=first.expires)
    middle.take(first)
    await settled(middle)
    await middle.ledger.forget(first.expires)
    middle.take(first)
    middle.take(second)
    await settled(middle)
    assert body.begun == 1
    assert len(middle.controllers.events) == 1


async def test_what_has_ended_and_expired_is_forgotten_in_time(middle: Middle, body: Body) -> None:
    job = middle.job()
    middle.take(job)
    await settled(middle)
    forgetting = asyncio.create_task(middle.runner.run())
    await asyncio.sleep(0.1)
    assert middle.ledger.state_of(job.id) == ENDED
    middle.clock.passed(job.expires)
    await until(lambda: middle.ledger.state_of(job.id) is None)
    forgetting.cancel()


async def test_what_must_not_run_twice_begins_when_its_begin_is_on_the_disk(
    middle: Middle, body: Body
) -> None:
    seen: list[bool] = []
    job = middle.job(Effect.ONCE)
    body.do = lambda _: seen.append(job.id in on_disk(middle.path)[0])
    middle.take(job)
    await until(lambda: middle.ends(job))
    assert seen == [True]


@pytest.mark.parametrize("effect", [Effect.CONVERGE, Effect.ONCE])
async def test_what_must_not_run_twice_is_refused_by_a_ledger_that_is_younger(
    middle: Middle, body: Body, effect: Effect
) -> None:
    job = middle.job(effect)
    middle.ledger.born = job.created + 1
    middle.take(job)
    await until(lambda: middle.ends(job))
    ((kind, error),) = middle.ends(job)
    if effect is Effect.ONCE:
        assert (kind, body.begun) == (FAILED, 0)
        assert (error or "").startswith("the ledger was lost")
    else:
        assert (kind, body.begun) == (COMPLETED, 1)


async def test_what_must_not_run_twice_waits_for_the_registration(
    middle: Middle, body: Body
) -> None:
    job = middle.job(Effect.ONCE)
    middle.ledger.born = None
    middle.take(job)
    await settled(middle)
    assert (body.begun, middle.ledger.state_of(job.id)) == (0, None)
    middle.ledger.born = job.created - 1
    middle.take(job)
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])


async def test_what_says_that_it_must_not_run_twice_does_not_though_the_operation_may(
    middle: Middle, body: Body
) -> None:
    job = msgspec.structs.replace(middle.job(Effect.CONVERGE), effect="once")
    middle.ledger.born = job.created + 1
    middle.take(job)
    await until(lambda: middle.ends(job))
    assert (middle.ends(job)[0][0], body.begun) == (FAILED, 0)


async def test_what_is_refused_ends(middle: Middle, body: Body) -> None:
    job = middle.job(expires=1_000_000_000.0)
    middle.take(job)
    await until(lambda: middle.ends(job))
    assert (middle.ends(job)[0][0], body.begun) == (EXPIRED, 0)


async def test_a_task_ends_unbegun_once_unless_it_is_known(middle: Middle, body: Body) -> None:
    job, ran = middle.job(), middle.job()
    middle.take(ran)
    await settled(middle)
    for each in (job, ran):
        release = msgspec.structs.replace(middle.release(each), job=None)
        middle.runner.skip(release, "it asks for too much")
        await settled(middle)
        middle.runner.refuse(release, "nobody knows it")
        await settled(middle)
    assert set(middle.ends(job)) == {(SKIPPED, "it asks for too much")}
    assert set(middle.ends(ran)) == {(COMPLETED, None)}


async def test_what_was_under_way_goes_on_at_the_next_start(tmp_path: Path, body: Body) -> None:
    path = tmp_path / "left.sqlite"
    middle = Middle(tmp_path / "unused.sqlite")
    again, never = middle.job(), middle.job(Effect.ONCE)
    middle.ledger.__exit__(None, None, None)
    started = again.created
    await leave_behind(path, *map(middle.release, (again, never)), started=started)
    middle = Middle(path)
    body.do = lambda node: node.provider(type("Capability", (), {"name": "docker"})) and None
    with middle.ledger:
        await middle.runner.resume()
        await until(lambda: middle.ends(again) and middle.ends(never))
        assert middle.ends(again) == [(COMPLETED, None)]
        assert middle.ends(never)[0][0] == FAILED
        assert body.begun == 1
        assert [task.fresh for task in middle.provider.served] == [False]
        await middle.runner.close()


async def test_a_task_that_cannot_be_read_back_ends(tmp_path: Path, body: Body) -> None:
    path = tmp_path / "left.sqlite"
    middle = Middle(tmp_path / "unused.sqlite")
    job = middle.job()
    middle.ledger.__exit__(None, None, None)
    await leave_behind(path, middle.release(job))
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE task SET release = ?", (b"\xff",))
        database.commit()
    middle = Middle(path)
    with middle.ledger:
        await middle.runner.resume()
        await until(lambda: middle.ends(job))
        assert middle.ends(job) == [(FAILED, "what the ledger holds of it can't be read")]
        await until(lambda: not middle.ledger.held(10))


async def test_an_error_that_nobody_expected_ends_its_task(middle: Middle, body: Body) -> None:
    job, faults = middle.job(), [RuntimeError("nobody expected this")]

    def running() -> float:
        if faults:
            raise faults.pop()
        return clock.running()

    middle.running = running
    with capture_logs() as logs:
        middle.take(job)
        await until(lambda: middle.ends(job))
    assert middle.ends(job) == [(FAILED, "unexpected RuntimeError: nobody expected this")]
    assert [entry["event"] for entry in logs if entry.get("exc_info")] == ["task broke off"]


# Cancelled


async def test_a_cancelled_task_ends_and_says_who_wanted_that(middle: Middle, body: Body) -> None:
    body.gate.clear()
    job = middle.job()
    middle.take(job)
    await until(lambda: body.begun)
    middle.cancel(job)
    await until(lambda: middle.ends(job))
    await settled(middle)
    assert middle.ends(job) == [(CANCELLED, "cancelled by ann")]


async def test_a_task_that_was_cancelled_before_it_came_is_not_begun(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    middle.cancel(job)
    await until(lambda: middle.ends(job))
    middle.take(job)
    await until(lambda: len(middle.ends(job)) == 2)
    assert set(middle.ends(job)) == {(CANCELLED, "cancelled by ann")}
    assert body.begun == 0


async def test_the_end_of_a_task_is_reported_again_when_it_is_cancelled_later(
    middle: Middle, body: Body
) -> None:
    job = middle.job()
    middle.take(job)
    await settled(middle)
    middle.cancel(job)
    await until(lambda: len(middle.ends(job)) == 2)
    assert set(middle.ends(job)) == {(COMPLETED, None)}


async def test_a_second_cancellation_does_not_break_off_what_ends_well(
    middle: Middle, body: Body
) -> None:
    async def run(_: object) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await asyncio.sleep(0.05)
            cleaned.append(True)
        return ""

    ending, cleaned = asyncio.Event(), list[bool]()
    body.do = run
    job = middle.job()
    middle.take(job)
    await until(lambda: body.begun)
    await asyncio.sleep(0)
    middle.cancel(job)
    await ending.wait()
    middle.cancel(job, "bob")
    await settled(middle)
    assert (cleaned, middle.ends(job)[-1]) == ([True], (CANCELLED, "cancelled by ann"))


async def test_a_cancellation_is_recorded_though_the_disk_was_full(
    middle: Middle, body: Body
) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job()
    with full_disk(middle.path):
        middle.take(job, leave=True)
        middle.cancel(job)
        await until(lambda: middle.ends(job))
    await settled(middle)
    assert middle.ledger.state_of(job.id) == ENDED
    middle.take(job)
    await settled(middle)
    assert body.begun == 0
    assert {kind for kind, _ in middle.ends(job)} == {CANCELLED}


# Full disks


@pytest.mark.parametrize("effect", [Effect.CONVERGE, Effect.ONCE])
async def test_a_task_that_comes_while_the_disk_is_full_runs_once_and_is_not_lost(
    middle: Middle, body: Body, effect: Effect
) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job(effect)
    with full_disk(middle.path):
        middle.take(job)
        await asyncio.sleep(0.1)
        # What may run twice needs no record, and is reported as soon as it has ended.
        expected = (0, []) if effect is Effect.ONCE else (1, [(COMPLETED, None)])
        assert (body.begun, middle.ends(job)) == expected
        middle.take(job)
        assert middle.executor.runs(job.id)
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])
    await settled(middle)
    assert body.begun == 1
    assert on_disk(middle.path)[0] == {job.id}
    assert middle.ledger.state_of(job.id) == ENDED


async def test_what_expires_while_the_disk_is_full_does_not_begin_when_there_is_room(
    middle: Middle, body: Body
) -> None:
    await middle.ledger.forget(1.0)
    job = middle.job(Effect.ONCE)
    with full_disk(middle.path):
        middle.take(job)
        await asyncio.sleep(0.05)
        middle.clock.passed(job.expires + 1)
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
    await leave_behind(path, middle.release(job))
    middle = Middle(path)
    with middle.ledger:
        await middle.ledger.forget(1.0)
        with full_disk(path):
            await middle.runner.resume()
            await asyncio.sleep(0.1)
            assert body.begun == 0
        await until(lambda: middle.ends(job) == [(COMPLETED, None)])
        assert body.begun == 1
        await middle.runner.close()


async def test_an_end_that_a_full_disk_refuses_is_in_the_ledger_in_the_end(
    middle: Middle, body: Body
) -> None:
    body.gate.clear()
    job = middle.job()
    middle.take(job)
    await until(lambda: job.id in on_disk(middle.path)[0])
    middle.connection.there = False
    with full_disk(middle.path):
        body.gate.set()
        await asyncio.sleep(0.1)
        assert middle.executor.runs(job.id)
    await until(lambda: not middle.executor.runs(job.id))
    assert [event.kind for _, event in middle.ledger.undelivered(10)] == [COMPLETED]
