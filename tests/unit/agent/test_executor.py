"""How tasks run, and how they end."""

import asyncio
import time
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta
from structlog.testing import capture_logs

from tests.testing.doubles import until
from tests.unit.agent.conftest import Body, Middle
from towline.agent.executor import Mode
from towline.agent.fields import LONGEST
from towline.errors import ProviderUnreachable, TaskFailed
from towline.operation import Capability, Effect
from towline.wire import messages
from towline.wire.event import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    LED,
    SKIPPED,
    STARTED,
    STEP,
    Event,
    Lead,
    Step,
)
from towline.wire.job import Job
from towline.wire.report import AGAIN, LARGEST_REPORT, REFUSED, STORED, Receipt

DOCKER = Capability[Any]("docker")


def raising(error: BaseException) -> Any:
    def do(_: Any) -> None:
        raise error

    return do


async def run(middle: Middle, job: Job, mode: Mode | None = None, **more: Any) -> Event:
    """Run a job as if it were the work of a task; `more` are fields of its release."""
    ended: list[Event] = []
    release = middle.release(job, **more)

    async def work() -> None:
        started = middle.executor.now(job.id)
        ended.append(await middle.executor.execute(release, started, mode or Mode()))

    middle.executor.spawn(job.id, work())
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
    ("error", "code"),
    [
        (TaskFailed("there is none", status=404), 404),
        (TaskFailed("it is not yours", status=403), 403),
        (TaskFailed("it broke"), None),
        (ProviderUnreachable("it is away"), None),
    ],
    ids=str,
)
async def test_a_failure_may_name_the_code_of_the_answer(
    middle: Middle, body: Body, error: TaskFailed, code: int | None
) -> None:
    body.do = raising(error)
    event = await run(middle, middle.job())
    assert (event.kind, event.error, event.code) == (FAILED, error.error, code)
    assert messages.report("report.machine-1", msgspec.json.encode(event)) == event


class Entry(msgspec.Struct, omit_defaults=True):
    key: str
    value: int | None = None


@pytest.mark.parametrize(
    ("found", "data"),
    [([], []), ([Entry("a", 1), Entry("b")], [{"key": "a", "value": 1}, {"key": "b"}])],
    ids=["none", "two"],
)
async def test_an_operation_may_return_a_row_for_each_entry(
    middle: Middle, body: Body, found: list[Entry], data: list[Any]
) -> None:
    async def entries(node: Any) -> list[Entry]:
        return found

    body.define("rows", Effect.READ, entries)
    job = msgspec.structs.replace(middle.job(Effect.READ), operation="test.rows")
    event = await run(middle, job)
    assert (event.kind, event.data) == (COMPLETED, data)
    assert messages.report("report.machine-1", msgspec.json.encode(event)) == event


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


Bare = Annotated[str, Meta(pattern="^[a-z0-9-]+$")]


async def test_references_to_facts_are_resolved_before_the_parameters_are_read(
    middle: Middle, body: Body
) -> None:
    seen: list[Any] = []

    async def look(
        node: Any,
        *,
        name: Bare,
        mode: Literal["node-1", "x"] = "x",
        more: dict[str, Any] = {},  # noqa: B006
    ) -> Entry:
        seen.append((name, mode, more))
        return Entry(name)

    body.define("look", Effect.CONVERGE, look)

    async def ended(**parameters: Any) -> Event:
        job = msgspec.structs.replace(middle.job(), operation="test.look", parameters=parameters)
        return await run(middle, job)

    event = await ended(
        name="at-@fact.interface.primary", mode="@fact.hostname", more={"a": ["@fact.custom.odd"]}
    )
    assert (event.kind, event.data) == (COMPLETED, {"key": "at-eth0"})
    assert seen == [("at-eth0", "node-1", {"a": ["a b"]})]
    for parameters, why in (
        ({"name": "@fact.custom.none"}, "@fact.custom.none is not known of this node"),
        ({"name": "@fact.custom.odd"}, "$.name"),
        ({"name": "a", "mode": "@fact.interface.primary"}, "$.mode"),
    ):
        event = await ended(**parameters)
        assert event.kind == FAILED
        assert why in (event.error or "")
    middle.facts["custom.odd"] = "@fact.hostname"
    assert "$.name" in ((await ended(name="@fact.custom.odd")).error or "")
    assert len(seen) == 1


async def test_a_long_error_is_cut(middle: Middle, body: Body) -> None:
    body.do = raising(TaskFailed("x" * 10_000))
    error = (await run(middle, middle.job())).error or ""
    assert error.startswith("x" * LONGEST + " …")
    assert error.endswith("(10000 characters in all)")


async def test_a_cancelled_task_says_who_wanted_that(middle: Middle, body: Body) -> None:
    body.gate.clear()
    job = middle.job()
    running = asyncio.create_task(run(middle, job))
    await until(lambda: body.begun)
    ending = middle.executor.cancel(job.id, "cancelled by ann")
    assert ending is not None
    event = await running
    assert (event.kind, event.error) == (CANCELLED, "cancelled by ann")
    assert ending.done()
    assert middle.executor.cancel(job.id, "cancelled by ann") is None


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
    await until(lambda: middle.controllers.events)
    body.gate.set()
    await running
    assert [(event.job, event.kind) for event in middle.controllers.events] == [(slow.id, STARTED)]


async def test_the_moments_of_a_task_are_in_order_when_the_clock_is_set_back(
    middle: Middle, body: Body
) -> None:
    begun = time.time()

    def do(node: Any) -> None:
        node.step(Step("first", "before"))
        middle.wall_clock = lambda: begun - 3600
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
        (Effect.CONVERGE, None, {"expires": 1e9}, EXPIRED, "not begun before the job expired"),
        (Effect.CONVERGE, 5.0, {"expires": 1e9}, EXPIRED, "interrupted, and not begun again"),
    ],
)
async def test_a_task_is_refused_that_must_not_begin(
    middle: Middle, effect: Effect, started: float | None, more: Any, kind: str, error: str
) -> None:
    refusal = middle.executor.refusal(middle.release(middle.job(effect, **more)), started)
    assert (refusal.kind if refusal else None) == kind
    assert error in ((refusal.error or "") if refusal else "")


async def test_a_task_is_skipped_that_the_node_cannot_do(middle: Middle) -> None:
    middle.provider.offered = False
    await middle.capabilities.probe()
    refusal = middle.executor.refusal(middle.release(middle.job()), None)
    assert refusal is not None
    assert (refusal.kind, refusal.error) == (SKIPPED, "this node has no docker")


async def test_a_task_of_an_operation_that_is_not_known_is_skipped(middle: Middle) -> None:
    job = msgspec.structs.replace(middle.job(), operation="test.unknown")
    refusal = middle.executor.refusal(middle.release(job), None)
    assert refusal is not None
    assert refusal.kind == SKIPPED


async def test_a_turn_that_is_over_is_not_begun_but_goes_on_if_it_was(middle: Middle) -> None:
    release = middle.release(middle.job(), expires=middle.clock.now() - 1)
    refusal = middle.executor.refusal(release, None)
    assert refusal is not None
    assert refusal.kind == EXPIRED
    assert (refusal.error or "").startswith("not begun before its turn was over at ")
    assert middle.executor.refusal(release, middle.clock.now() - 2) is None


async def test_a_result_that_is_too_large_to_report_fails_and_says_so(
    middle: Middle, body: Body
) -> None:
    body.do = lambda _: "x" * LARGEST_REPORT
    event = await run(middle, middle.job())
    assert (event.kind, event.data) == (FAILED, None)
    assert (event.error or "").endswith(
        "more than the 262144 that a node may report: ask for less of it"
    )


async def test_what_controllers_cannot_read_is_taken_out_of_texts(
    middle: Middle, body: Body
) -> None:
    def do(node: Any) -> None:
        node.step(Step("a step\n", "half \x1b[31mred\r\n", waits="ä"))
        raise TaskFailed("no \x00, no \ud800, no \x85\tbut\nthis")

    body.do = do
    event = await run(middle, middle.job())
    assert event.error == "no \ufffd, no \ufffd, no \ufffd\tbut\nthis"
    ((_, step),) = middle.ledger.undelivered(2)
    assert (step.step, step.error, step.waits) == ("a?step?", "half \ufffd[31mred\n", "?")
    for each in (event, step):
        messages.report("report.machine-1", msgspec.json.encode(each))


@pytest.mark.parametrize("shown", [0.0, -1e9, 1e13])
async def test_what_a_node_says_can_be_read_whatever_its_clock_shows(
    middle: Middle, body: Body, shown: float
) -> None:
    middle.wall_clock = lambda: shown
    event = await run(middle, middle.job())
    assert messages.report("report.machine-1", msgspec.json.encode(event)) == event


async def test_the_start_of_what_must_not_run_twice_is_reported_however_many_nodes_it_is_for(
    middle: Middle, body: Body
) -> None:
    body.gate.clear()
    once = asyncio.create_task(run(middle, middle.job(Effect.ONCE, nodes=10_000)))
    other = asyncio.create_task(run(middle, middle.job(nodes=10_000)))
    await until(lambda: middle.controllers.events)
    await asyncio.sleep(0.1)
    body.gate.set()
    assert [event.job for event in middle.controllers.events] == [(await once).job]
    await other


@pytest.mark.parametrize(
    "mode", [Mode(announced=True), Mode(announced=True, recorded=False)], ids=["leave", "read"]
)
async def test_a_start_that_was_reported_or_need_not_be_is_not_reported(
    middle: Middle, body: Body, mode: Mode
) -> None:
    body.do = lambda node: node.step(Step("one", "first"))
    body.gate.clear()
    running = asyncio.create_task(run(middle, middle.job(), mode))
    await asyncio.sleep(0.1)
    body.gate.set()
    await running
    assert middle.controllers.events == []
    assert len(middle.ledger.undelivered(2)) == mode.recorded


async def test_a_task_that_has_ended_for_the_controllers_is_broken_off(
    middle: Middle, body: Body
) -> None:
    body.gate.clear()
    middle.controllers.receipt = lambda _: Receipt(STORED, time.time(), over=True)
    event = await run(middle, middle.job())
    assert (event.kind, event.error) == (
        CANCELLED,
        "broken off: it has ended for the controllers",
    )


async def test_a_task_that_leads_is_given_the_lead_that_is_stored(
    middle: Middle, body: Body
) -> None:
    async def find(_: Any) -> list[str]:
        found = middle.provider.served[-1].found
        assert found is not None
        stored = await found("sha256:mine")
        return [stored.value, stored.hostname]

    def do(node: Any) -> Any:
        node.provider(DOCKER)
        return find(node)

    lead = Lead("sha256:theirs", "node-2", time.time())
    receipts = [None, Receipt(AGAIN, time.time()), Receipt(STORED, time.time(), lead=lead)]
    middle.controllers.receipt = lambda _: receipts.pop(0) if len(receipts) > 1 else receipts[0]
    body.do = do
    event = await run(middle, middle.job(), Mode(announced=True), leads=True)
    assert event.data == {"what": ["sha256:theirs", "node-2"], "changed": False}
    sent = [report for _, report in middle.controllers.reports]
    assert {(each.kind, each.machine) for each in sent} == {(LED, "machine-1")}
    assert sent[0].data == {"value": "sha256:mine", "hostname": "node-1"}


async def test_a_lead_that_is_refused_fails_its_task(middle: Middle, body: Body) -> None:
    async def find(_: Any) -> None:
        found = middle.provider.served[-1].found
        assert found is not None
        await found("sha256:mine")

    def do(node: Any) -> Any:
        node.provider(DOCKER)
        return find(node)

    middle.controllers.receipt = lambda _: Receipt(REFUSED, time.time(), reason="it is deleted")
    body.do = do
    event = await run(middle, middle.job(), Mode(announced=True), leads=True)
    assert event.kind == FAILED
    assert (event.error or "").endswith("do not take what was found: it is deleted")


async def test_a_task_that_does_not_lead_has_nothing_to_find(middle: Middle, body: Body) -> None:
    body.do = lambda node: node.provider(DOCKER) and None
    lead = Lead("sha256:theirs", "node-2", time.time())
    await run(middle, middle.job(), lead=lead)
    (task,) = middle.provider.served
    assert (task.found, task.fresh, task.release.lead) == (None, True, lead)


async def test_a_result_that_controllers_cannot_read_fails(middle: Middle, body: Body) -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    body.do = lambda _: deep
    event = await run(middle, middle.job())
    assert event.kind == FAILED
    assert (event.error or "").startswith("its result can't be reported: ")
