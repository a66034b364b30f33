"""How tasks run, and how they end."""

import asyncio
import time
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.testing.doubles import until
from tests.unit.agent.conftest import Body, Middle
from towline.agent.executor import LONGEST_ERROR
from towline.errors import ProviderUnreachable, TaskFailed
from towline.operation import Effect
from towline.wire.event import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    SKIPPED,
    STARTED,
    STEP,
    Event,
    Step,
)
from towline.wire.job import Job


def raising(error: BaseException) -> Any:
    def do(_: Any) -> None:
        raise error

    return do


async def run(middle: Middle, job: Job) -> Event:
    """Run a job as if it were the work of a task."""
    ended: list[Event] = []

    async def work() -> None:
        ended.append(await middle.executor.execute(job, middle.executor.now(job.id)))

    middle.executor.spawn(job, work())
    await until(lambda: not middle.executor.runs(job.id))
    (event,) = ended
    return event


async def test_a_task_ends_with_what_its_operation_returned(middle: Middle, body: Body) -> None:
    body.do = lambda node: node.hostname
    event = await run(middle, middle.job())
    assert (event.kind, event.data) == (COMPLETED, {"what": "node-1", "changed": False})
    assert (event.machine, event.hostname) == ("machine-1", "node-1")


async def test_a_task_fails_with_what_its_operation_raised(middle: Middle, body: Body) -> None:
    body.do = raising(TaskFailed("there is none"))
    event = await run(middle, middle.job())
    assert (event.kind, event.error) == (FAILED, "there is none")


@pytest.mark.parametrize(
    "do",
    [
        raising(KeyError("Status")),
        raising(asyncio.CancelledError()),
        lambda _: object(),
    ],
    ids=["an error", "a cancellation that nobody asked for", "a result that can't be written"],
)
async def test_whatever_breaks_in_an_operation_ends_its_task(
    middle: Middle, body: Body, do: Any
) -> None:
    body.do = do
    with capture_logs() as logs:
        event = await run(middle, middle.job())
    assert event.kind == FAILED
    assert (event.error or "").startswith("unexpected ")
    assert [entry["exc_info"] for entry in logs if entry["event"] == "operation broke off"] == [
        True
    ]


async def test_a_parameter_of_a_newer_controller_is_not_passed_over(
    middle: Middle, body: Body
) -> None:
    """What it asks for may be all the difference, as the platform of an image is."""
    job = msgspec.structs.replace(middle.job(), parameters={"platform": "linux/arm64"})
    event = await run(middle, job)
    assert event.kind == FAILED
    assert "can't read the parameters" in (event.error or "")
    assert "unknown field `platform`" in (event.error or "")
    assert not body.begun


async def test_a_long_error_is_cut(middle: Middle, body: Body) -> None:
    body.do = raising(TaskFailed("x" * 10_000))
    error = (await run(middle, middle.job())).error or ""
    assert error.startswith("x" * LONGEST_ERROR + " …")
    assert error.endswith("(10000 characters in all)")


async def test_a_cancelled_task_says_who_wanted_that(middle: Middle, body: Body) -> None:
    body.gate.clear()
    job = middle.job()
    running = asyncio.create_task(run(middle, job))
    await until(lambda: body.begun)
    ending = middle.executor.cancel(job.id, "ann")
    assert ending is not None
    event = await running
    assert (event.kind, event.error) == (CANCELLED, "cancelled by ann")
    assert ending.done()
    assert middle.executor.cancel(job.id, "ann") is None


async def test_a_provider_that_a_task_could_not_reach_is_looked_at(
    middle: Middle, body: Body
) -> None:
    watching = asyncio.create_task(middle.capabilities.run())
    await until(lambda: middle.provider.probes == 1)
    body.do = raising(ProviderUnreachable("it is away"))
    await run(middle, middle.job())
    await until(lambda: middle.provider.probes == 2)
    watching.cancel()


async def test_the_start_of_a_task_is_reported_if_it_takes_a_while(
    middle: Middle, body: Body
) -> None:
    quick, slow = middle.job(), middle.job()
    await run(middle, quick)
    body.gate.clear()
    running = asyncio.create_task(run(middle, slow))
    await until(lambda: middle.journal.events)
    body.gate.set()
    await running
    assert [(event.job, event.kind) for event in middle.journal.events] == [(slow.id, STARTED)]


async def test_the_moments_of_a_task_are_in_order_when_the_clock_is_set_back(
    middle: Middle, body: Body
) -> None:
    begun = time.time()

    def do(node: Any) -> None:
        node.step(Step("first", "before"))
        middle.clock = lambda: begun - 3600
        node.step(Step("second", "after"))

    body.do = do
    event = await run(middle, middle.job())
    assert event.started is not None
    steps = [event for _, event in middle.ledger.undelivered(10)]
    assert [step.kind for step in steps] == [STEP, STEP]
    moments = [event.started, *(step.time for step in steps), event.time]
    assert moments == sorted(moments)
    assert moments[0] >= begun


@pytest.mark.parametrize(
    ("effect", "started", "more", "kind", "error"),
    [
        (Effect.CONVERGE, None, {}, None, ""),
        (Effect.CONVERGE, 5.0, {}, None, ""),
        (Effect.ONCE, 5.0, {}, FAILED, "interrupted: the agent ended while it ran"),
        (Effect.CONVERGE, None, {"expires": 1.0}, EXPIRED, "not begun before the job expired"),
        (Effect.CONVERGE, 5.0, {"expires": 1.0}, EXPIRED, "interrupted, and not begun again"),
    ],
)
async def test_a_task_is_refused_that_must_not_begin(
    middle: Middle, effect: Effect, started: float | None, more: Any, kind: str, error: str
) -> None:
    refusal = middle.executor.refusal(middle.job(effect, **more), started)
    assert (refusal.kind if refusal else None) == kind
    assert error in ((refusal.error or "") if refusal else "")


async def test_a_task_is_skipped_that_the_node_cannot_do(middle: Middle) -> None:
    middle.provider.offered = False
    await middle.capabilities.probe()
    refusal = middle.executor.refusal(middle.job(), None)
    assert refusal is not None
    assert (refusal.kind, refusal.error) == (SKIPPED, "this node has no docker")


async def test_a_task_of_an_operation_that_is_not_known_is_skipped(middle: Middle) -> None:
    job = Job("job-1", "test.unknown", {}, "node-1", "tests", 1.0, 2.0)
    refusal = middle.executor.refusal(job, None)
    assert refusal is not None
    assert refusal.kind == SKIPPED
