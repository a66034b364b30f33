"""How a node's pulls leave a registry alone: by what controllers say, or by itself without them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from tests.testing.tasks import AWAY, Answers, a_task
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.cooldown import Cooldowns
from towline.agent.docker.pull.credentials import Credentials
from towline.agent.docker.pull.faults import Fault
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.releases import Releases
from towline.agent.docker.pull.steps import COOLDOWN, DEQUEUED
from towline.agent.provider import Task
from towline.errors import TaskFailed
from towline.runtime.keys import KEY_BYTES, NodeKey
from towline.units import timestamp
from towline.wire.cooldown import FIRST, LONGEST_ASKED, Cooldown
from towline.wire.event import Step
from towline.wire.job import Job
from towline.wire.reference import Reference

REGISTRY = "registry.example"
ORDER = Order(Reference.parse(f"{REGISTRY}/app:1"))
BUSY = Fault(Kind.BUSY, "toomanyrequests")
FAULT = Fault(Kind.BUSY, "toomanyrequests", 30.0)
NOW, LONG = 1_800_000_000.0, 3600.0


def cooling(seconds: float, back: float = 0.0, **more: Any) -> Cooldown:
    """Return a cooldown that begins when the clocks of nodes here begin."""
    until = NOW + seconds
    found = Cooldown(REGISTRY, NOW, until, until + back, 1, "web-07", "slow down")
    return msgspec.structs.replace(found, **more)


def a_job(name: str = "job", nodes: int = 1) -> Job:
    return Job(name, "docker.pull.execute", {}, "_all", "ci", 0.0, 0.0, nodes=nodes)


class Node:
    """A node with its pulls' cooldowns, and controllers that answer.

    Attributes:
        moment: what its clock shows; it stands still.
        steps: what was recorded, each with its message.
        registry_asked: how often the registry itself was asked how long.
        seconds: what that answers.
    """

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.moment = NOW
        self.controllers = Answers(*answers)
        self.steps: list[Step] = []
        self.registry_asked = 0
        self.seconds: float | None = None
        self.releases = Releases(self.controllers, self.now, fresh_for=5.0)
        self.cooldowns = Cooldowns(
            *(self.releases, self.controllers, "web-01", self.now),
            first_look=4.0,
            look_every=0.001,
            ask=self._ask,
        )

    def now(self) -> float:
        return self.moment

    async def _ask(self, reference: Reference) -> float | None:
        self.registry_asked += 1
        return self.seconds

    def attempt(self, *tasks: Task, asks: bool = True) -> Attempt:
        """Return an attempt for which controllers are asked, unless a task has just come."""
        shared = list(tasks) or [a_task(a_job(), time=NOW)]
        return Attempt(ORDER, 1, self.steps.append, lambda: shared, asks=asks)

    def sent(self, cooldown: Cooldown | None) -> Attempt:
        """Return the first attempt for a task that a controller has just sent."""
        return self.attempt(a_task(a_job(), time=NOW, cooldown=cooldown), asks=False)

    @property
    def kinds(self) -> list[str]:
        return [step.name for step in self.steps]

    async def ready(self, attempt: Attempt) -> Attempt:
        async with asyncio.timeout(10):
            await self.cooldowns.ready(attempt)
        return attempt

    @contextlib.asynccontextmanager
    async def waiting(self, attempt: Attempt) -> AsyncIterator[asyncio.Task[Attempt]]:
        """Have an attempt wait in the background; it is given up where it waits at the end."""
        before = len(self.steps)
        task = asyncio.create_task(self.ready(attempt))
        await until(lambda: len(self.steps) > before)
        yield task
        task.cancel()
        await asyncio.wait([task])


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def a_moment() -> None:
    """Let whatever could go on do so."""
    for _ in range(5):
        await asyncio.sleep(0.002)


# Waiting


@pytest.mark.parametrize(
    ("nodes", "after", "asked"), [(1, 4.0, 0), (1, 8.0, 1), (5000, 8.0, 0), (5000, 16.0, 1)]
)
async def test_of_thousands_none_asks_for_what_it_was_sent_seconds_ago(
    nodes: int, after: float, asked: int
) -> None:
    node = Node({})
    attempt = node.attempt(a_task(a_job(nodes=nodes), time=NOW), asks=False)
    node.moment = NOW + after
    await node.releases.current(attempt)
    assert len(node.controllers.asked) == asked


async def test_where_no_cooldown_came_with_the_task_a_pull_goes_on_and_nobody_is_asked() -> None:
    node = Node()
    await node.ready(node.sent(None))
    assert (node.steps, node.controllers.asked) == ([], [])


async def test_a_pull_waits_for_the_cooldown_that_came_with_its_task() -> None:
    node, resting = Node(AWAY), cooling(60.0)
    going = node.sent(resting)
    async with node.waiting(going) as waiting:
        node.moment = NOW + 59.9
        await a_moment()
        assert (node.kinds, waiting.done()) == ([COOLDOWN], False)
        node.moment = NOW + 60.0
        await waiting
    assert node.kinds == [COOLDOWN, DEQUEUED]
    assert "registry.example rests until" in node.steps[0].message
    assert "web-07 was told 'slow down'" in node.steps[0].message
    assert going.cooldown == resting
    assert node.cooldowns.allows(going)


async def test_a_cooldown_that_has_become_longer_is_waited_for_as_long() -> None:
    """Controllers are asked again in the wait, once the registry itself may have said how long."""
    node, longer = Node({"cooldown": cooling(600.0)}), cooling(600.0)
    going = node.sent(cooling(15.0))
    async with node.waiting(going) as waiting:
        node.moment = NOW + 12.0
        await until(lambda: node.kinds == [COOLDOWN, COOLDOWN])
        node.moment = NOW + 599.0
        await a_moment()
        assert not waiting.done()
        node.moment = NOW + 600.0
        await waiting
    assert going.cooldown == longer


async def test_a_cooldown_that_has_become_shorter_ends_the_wait() -> None:
    node = Node({"cooldown": cooling(7.0)})
    async with node.waiting(node.sent(cooling(LONG))) as waiting:
        node.moment = NOW + 12.0
        await waiting
    assert node.kinds == [COOLDOWN, DEQUEUED]


async def test_another_that_has_begun_meanwhile_is_waited_for() -> None:
    """Controllers are asked at the end of the wait, however short it was."""
    second = cooling(LONG, since=NOW + 5.5, row=2)
    node = Node({"cooldown": second})
    going = node.sent(cooling(5.9))
    async with node.waiting(going) as waiting:
        node.moment = NOW + 5.9
        await until(lambda: node.kinds == [COOLDOWN, COOLDOWN])
        node.moment = second.over
        await waiting
    assert going.cooldown == second


async def test_controllers_are_asked_ever_more_seldom_in_a_wait_and_at_its_end() -> None:
    resting = cooling(LONG)
    node = Node({"cooldown": resting})
    async with node.waiting(node.sent(resting)) as waiting:
        for second in range(1, int(LONG), 10):
            node.moment = NOW + second
            await asyncio.sleep(0.002)
        looks = len(node.controllers.asked)
        assert 3 <= looks <= 11
        node.moment = NOW + LONG
        await waiting
    assert looks + 1 <= len(node.controllers.asked) <= looks + 2


async def test_each_pull_takes_a_moment_of_its_own_until_the_return_is_over() -> None:
    node, resting = Node(), cooling(0.0, back=LONG)
    for _ in range(20):
        async with node.waiting(node.sent(resting)):
            pass
    moments = {step.message.rpartition(" ")[2] for step in node.steps}
    assert len(moments) > 10
    assert max(moments) <= timestamp(resting.over)


async def test_nothing_is_waited_for_that_is_over() -> None:
    node = Node({"cooldown": cooling(-10.0)})
    await node.ready(node.attempt())
    assert node.steps == []


async def test_a_pull_in_its_slot_learns_of_a_cooldown_and_may_not_begin() -> None:
    resting = cooling(LONG)
    node = Node({}, {"cooldown": resting})
    going = await node.ready(node.attempt())
    assert node.cooldowns.allows(going)
    going.outdate()
    await node.cooldowns.prepare(going)
    assert not node.cooldowns.allows(going)
    node.moment = NOW + LONG
    assert node.cooldowns.allows(going)


async def test_without_controllers_the_last_one_known_counts() -> None:
    node = Node({"cooldown": cooling(LONG)}, AWAY)
    for _ in range(2):
        async with node.waiting(node.attempt()):
            pass
    assert node.kinds == [COOLDOWN, COOLDOWN]
    assert not node.cooldowns.allows(node.attempt())


@pytest.mark.parametrize("answer", [AWAY, TaskFailed("the job has ended here")])
async def test_a_pull_goes_on_where_controllers_say_nothing_of_cooldowns(
    answer: Exception,
) -> None:
    node = Node(answer)
    await node.ready(node.attempt())
    assert node.steps == []


async def test_what_a_controller_says_that_is_behind_hides_no_cooldown() -> None:
    resting, former = cooling(LONG), cooling(LONG * 2, since=NOW - 60)
    node = Node({"cooldown": former}, {}, {})
    node.controllers.cooldowns = [resting]
    going = node.attempt()
    await node.cooldowns.failed(going, FAULT)
    for _ in range(3):
        going.outdate()
        await node.cooldowns.prepare(going)
        assert node.cooldowns._last(REGISTRY) == resting


async def test_one_question_serves_all_who_want_to_know() -> None:
    controllers = Answers({"cooldown": None})
    releases = Releases(controllers, time.time)
    going = Attempt(ORDER, 1, lambda _: None, lambda: [a_task(a_job(), fresh=False)])
    await Cooldowns(releases, controllers, "web-01", time.time).ready(going)
    await Credentials(releases, NodeKey(bytes(KEY_BYTES)), None).prepare(going)
    assert controllers.asked == ["job"]
    # Nor is it asked twice in a row whether anybody answers at all.
    controllers.tasks = [AWAY]
    later = Attempt(ORDER, 2, lambda _: None, lambda: [a_task(a_job())], asks=True)
    await Cooldowns(releases, controllers, "web-01", time.time).ready(later)
    await Credentials(releases, NodeKey(bytes(KEY_BYTES)), None).prepare(later)
    assert controllers.asked == ["job", "job"]


# Beginning


async def test_a_refusal_for_too_many_requests_is_reported_and_what_is_answered_counts() -> None:
    node, begun = Node({}), cooling(LONG)
    node.controllers.cooldowns = [begun]
    refused = await node.ready(node.attempt(a_task(a_job("a", 2)), a_task(a_job("b", 40))))
    await node.cooldowns.failed(refused, FAULT)
    # For the job that has most nodes: so many are to come back.
    assert node.controllers.refusals == [("b", "toomanyrequests", None, 30.0)]
    assert not node.cooldowns.allows(node.attempt())
    assert node.registry_asked == 0


async def test_who_is_refused_again_says_which_cooldown_it_has_waited_for() -> None:
    node, first = Node({}), cooling(15.0)
    node.controllers.cooldowns = [first, cooling(LONG, row=2)]
    await node.cooldowns.failed(await node.ready(node.attempt()), FAULT)
    again = node.attempt()
    async with node.waiting(again) as waiting:
        node.moment = first.over
        await waiting
    await node.cooldowns.failed(again, FAULT)
    assert [known for _, _, known, _ in node.controllers.refusals] == [None, first.since]


async def test_of_several_pulls_that_are_refused_together_one_reports_it() -> None:
    node = Node({})
    node.controllers.cooldowns = [cooling(LONG)]
    pulls = [await node.ready(node.attempt()) for _ in range(3)]
    for pull in pulls:
        await node.cooldowns.failed(pull, FAULT)
    assert len(node.controllers.refusals) == 1


async def test_nothing_is_reported_of_a_pull_that_failed_otherwise() -> None:
    node = Node({})
    await node.cooldowns.failed(await node.ready(node.attempt()), Fault(Kind.PASSING, "reset"))
    assert (node.controllers.refusals, node.registry_asked) == ([], 0)


@pytest.mark.parametrize(("seconds", "asked"), [(600.0, 600.0), (1e9, LONGEST_ASKED)])
async def test_who_began_it_asks_the_registry_itself_how_long_and_reports_that(
    seconds: float, asked: float
) -> None:
    node, begun = Node({}), cooling(FIRST, by="web-01")
    settled = msgspec.structs.replace(begun, until=begun.since + asked, over=begun.since + asked)
    node.seconds = seconds
    node.controllers.cooldowns = [begun, settled]
    await node.cooldowns.failed(await node.ready(node.attempt()), BUSY)
    await until(lambda: len(node.controllers.refusals) == 2)
    assert node.controllers.refusals[1] == ("job", "toomanyrequests", begun.since, asked)
    await until(lambda: node.cooldowns._last(REGISTRY) == settled)


async def test_a_registry_that_does_not_say_how_long_is_reported_once() -> None:
    node = Node({})
    node.controllers.cooldowns = [cooling(FIRST, by="web-01")]
    await node.cooldowns.failed(await node.ready(node.attempt()), BUSY)
    await until(lambda: node.registry_asked and not node.cooldowns._settling)
    assert len(node.controllers.refusals) == 1


async def test_a_registry_is_not_asked_how_long_by_those_who_did_not_begin_it() -> None:
    node = Node({})
    node.controllers.cooldowns = [cooling(FIRST, by="web-07")]
    await node.cooldowns.failed(await node.ready(node.attempt()), BUSY)
    assert (node.registry_asked, node.cooldowns._settling) == (0, {})


# Alone


@pytest.mark.parametrize("answer", [AWAY, None, TaskFailed("the job has ended here")])
@pytest.mark.parametrize("back", [False, True])
async def test_a_node_that_can_not_report_a_refusal_keeps_a_cooldown_by_itself(
    back: bool, answer: Exception | None
) -> None:
    node = Node(AWAY)
    node.controllers.cooldowns = [answer]
    await node.cooldowns.failed(await node.ready(node.attempt()), FAULT)
    if back:
        node.controllers.tasks = [{}]
    found = await node.cooldowns._find(node.attempt())
    assert found is not None
    assert found.until - found.since == 30.0
    assert found.by == "web-01"
    assert not node.cooldowns.allows(node.attempt())


async def test_a_node_outside_a_job_keeps_a_cooldown_by_itself() -> None:
    node = Node()
    refused = Attempt(ORDER, 1, lambda _: None)
    await node.ready(refused)
    await node.cooldowns.failed(refused, BUSY)
    assert not node.cooldowns.allows(node.attempt())
    assert node.controllers.refusals == []


async def test_alone_too_each_in_a_row_is_longer_and_begins_at_a_moment_of_its_own() -> None:
    node = Node(AWAY)
    await node.cooldowns.failed(await node.ready(node.attempt()), BUSY)
    first = node.cooldowns._last(REGISTRY)
    assert first is not None
    node.moment = first.over
    await node.cooldowns.failed(await node.ready(node.attempt()), BUSY)
    second = node.cooldowns._last(REGISTRY)
    assert second is not None
    assert (second.row, second.since != first.since) == (2, True)
    assert second.until - second.since == 2 * FIRST


async def test_what_controllers_name_takes_the_place_of_a_node_s_own() -> None:
    node = Node(AWAY)
    await node.cooldowns.failed(await node.ready(node.attempt()), FAULT)
    theirs = cooling(LONG, since=NOW - 600)
    node.controllers.tasks = [{"cooldown": theirs}]
    assert await node.cooldowns._find(node.attempt()) == theirs
