"""The pulls of a node: what is shared, tried again and recorded, at an engine that is scripted."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest

from tests.testing.tasks import a_task
from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused, EngineUnreachable, Hopeless
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.attempts import MOST_COOLDOWNS, Pauses
from towline.agent.docker.pull.faults import Fault
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.pulls import Pulls
from towline.agent.docker.pull.slots import MAX_PULLS
from towline.agent.docker.pull.steps import ATTEMPT, DEQUEUED, QUEUED
from towline.errors import TaskFailed
from towline.operations.docker import Policy
from towline.wire.event import Lead, Step
from towline.wire.job import Job
from towline.wire.platform import Platform
from towline.wire.reference import Reference

DIGEST = f"sha256:{'0' * 64}"
TAGGED, PINNED = "registry/a:1", f"registry/a@{DIGEST}"
JOB = Job("job", "docker.pull.execute", {}, "web-01", "ci", 0.0, 60.0)
RESET = "connection reset by peer"
PAGE = "invalid character '<' looking for beginning of value"
WRONG = f"unexpected commit digest {DIGEST}"


class Scripted(Engine):
    """An engine without a daemon: what each pull does is written down before.

    Parameters: `ends` are the errors by which pulls end, in turn; those that come after succeed.
    With `hesitant` the next one waits for `go` after each error.
    """

    def __init__(self, *ends: TaskFailed) -> None:
        super().__init__("none://")
        self.ends = list(ends)
        self.pulls: list[str] = []
        self.there: dict[str, str] = {}
        self.running = 0
        self.go = asyncio.Event()
        self.go.set()
        self.hesitant = False

    async def ping(self) -> str:
        return "0"

    async def image(self, name: str) -> Image | None:
        found = self.there.get(name)
        return None if found is None else Image(found, 1)

    async def tag(self, name: str, repository: str, tag: str) -> None:
        self.there[f"{repository}:{tag}"] = self.there[name]

    async def pull(
        self,
        repository: str,
        tag: str,
        auth: dict[str, str] | None = None,
        platform: Platform | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        name = f"{repository}{'@' if ':' in tag else ':'}{tag}"
        self.pulls.append(name)
        self.running += 1
        try:
            await self.go.wait()
            if self.ends:
                if self.hesitant:
                    self.go.clear()
                raise self.ends.pop(0)
            self.there[name] = f"id {len(self.pulls)}"
            yield {"status": "Status: Downloaded newer image"}
        finally:
            self.running -= 1


class Task:
    """A task that waits for a pull, and the steps that were recorded for it."""

    def __init__(self, pulls: Pulls, order: Order) -> None:
        self.recorded: list[tuple[str, str]] = []
        task = a_task(JOB, step=self._step)
        self.waiting = asyncio.create_task(pulls.pull(order, task))

    def _step(self, step: Step) -> None:
        self.recorded.append((step.name, step.message))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.recorded]


def order(text: str = TAGGED, retries: int = 4, policy: Policy = "always") -> Order:
    return Order(Reference.parse(text), retries=retries, policy=policy)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


def pulls_of(engine: Engine, *hooks: Hook, max_pulls: int = MAX_PULLS) -> Pulls:
    """Return the pulls of a node that loses no time."""
    pauses = Pauses(first=0.0, discarded_after=0.0, engine_back_within=0.0)
    return Pulls(engine, hooks, max_pulls, pauses=pauses, reported_after=0.0)


async def test_what_may_pass_is_tried_again_and_each_failure_is_recorded() -> None:
    engine = Scripted(EngineRefused(0, RESET), EngineUnreachable("the engine is away"))
    task = Task(pulls_of(engine), order())
    assert (await task.waiting).changed
    assert task.kinds == [ATTEMPT, ATTEMPT]
    first, second = (words for _, words in task.recorded)
    assert first.startswith(f"attempt 1 of 5 failed: {RESET} (passing; tried again in ")
    assert second.startswith("attempt 2 of 5 failed: the engine is away (passing; ")


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_it_is_tried_again_as_often_as_asked_and_the_last_words_stand(retries: int) -> None:
    engine = Scripted(*(EngineRefused(0, RESET) for _ in range(10)))
    task = Task(pulls_of(engine), order(retries=retries))
    with pytest.raises(TaskFailed) as failed:
        await task.waiting
    assert len(engine.pulls) == len(task.recorded) == retries + 1
    number = f" (attempt {retries + 1} of {retries + 1})" if retries else ""
    assert failed.value.error == f"{RESET}{number}"
    assert "not tried again" in task.recorded[-1][1]


@pytest.mark.parametrize("error", [EngineRefused(404, "manifest unknown"), Hopeless("no room")])
async def test_what_would_fail_again_fails_at_once(error: TaskFailed) -> None:
    engine = Scripted(error)
    task = Task(pulls_of(engine), order())
    with pytest.raises(type(error)):
        await task.waiting
    assert len(engine.pulls) == len(task.recorded) == 1


@pytest.mark.parametrize(
    ("words", "attempts"),
    [
        pytest.param((WRONG, RESET, WRONG), 3, id="damaged twice"),
        pytest.param(("wrong diff id", RESET), 1, id="put together wrongly"),
        pytest.param((PAGE, RESET, PAGE, PAGE, RESET), 4, id="a proxy's page three times"),
        pytest.param(
            ("never heard 1", "never heard 2", "other", "never heard 3", RESET), 4, id="new"
        ),
        pytest.param(("one", "two", "three", "four", "five", "six", "seven"), 6, id="all new"),
    ],
)
async def test_what_ends_alike_too_often_is_given_up(words: tuple[str, ...], attempts: int) -> None:
    engine = Scripted(*(EngineRefused(0, said) for said in words))
    with pytest.raises(TaskFailed):
        await Task(pulls_of(engine), order(retries=5)).waiting
    assert len(engine.pulls) == attempts


async def test_a_failure_says_what_mends_it_at_the_end_and_in_the_timeline() -> None:
    words = "cannot connect to the Docker Engine at unix:///d.sock: [Permission denied]"
    task = Task(pulls_of(Scripted(EngineUnreachable(words))), order())
    with pytest.raises(TaskFailed) as failed:
        await task.waiting
    mend = "the agent's user is not in the group docker"
    assert failed.value.error.startswith(f"{words} ({mend}")
    (step,) = (said for _, said in task.recorded)
    assert step == (
        f"attempt 1 of 5 failed: {failed.value.error} (the node lacks something; it is not tried "
        "again)"
    )


async def test_changed_is_against_what_was_there_before_the_first_attempt() -> None:
    engine = Scripted(EngineRefused(0, RESET))
    engine.there[TAGGED.replace("registry", "docker.io/registry")] = "id 2"
    assert not (await Task(pulls_of(engine), order()).waiting).changed


async def test_missing_leaves_what_is_there_alone_even_behind_a_pull_under_way() -> None:
    engine = Scripted()
    name = order().name
    engine.go.clear()
    pulls = pulls_of(engine)
    going = Task(pulls, order())
    await until(lambda: engine.running == 1)
    engine.there[name] = "old"
    found = await Task(pulls, order(policy="missing")).waiting
    assert (found.image_id, found.changed) == ("old", False)
    engine.go.set()
    await going.waiting
    assert len(engine.pulls) == 1


@pytest.mark.parametrize(
    ("text", "policy", "pulls"),
    [(TAGGED, "always", 2), (PINNED, "always", 1), (PINNED, "missing", 1)],
)
async def test_a_pull_under_way_is_shared_where_it_brings_what_is_wanted(
    text: str, policy: Policy, pulls: int
) -> None:
    engine = Scripted()
    engine.go.clear()
    node = pulls_of(engine)
    first = Task(node, order(text))
    await until(lambda: engine.running == 1)
    later = [Task(node, order(text, policy=policy)) for _ in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    engine.go.set()
    await asyncio.gather(first.waiting, *(task.waiting for task in later))
    assert len(engine.pulls) == pulls


async def test_what_asks_the_registry_shares_no_pull_that_may_leave_alone_what_is_there() -> None:
    engine = Scripted()
    engine.go.clear()
    node = pulls_of(engine)
    first = Task(node, order(PINNED, policy="missing"))
    await until(lambda: engine.running == 1)
    second = Task(node, order(PINNED))
    await until(lambda: bool(second.recorded))
    engine.go.set()
    await asyncio.gather(first.waiting, second.waiting)
    assert len(engine.pulls) == 2


@pytest.mark.parametrize(("other", "pulls"), [(DIGEST, 1), (f"sha256:{'1' * 64}", 2)])
async def test_a_tag_that_was_resolved_before_is_as_good_as_a_digest(
    other: str, pulls: int
) -> None:
    engine = Scripted()
    engine.go.clear()
    node = pulls_of(engine)

    def resolved(digest: str, hostname: str) -> Order:
        return msgspec.structs.replace(order(), lead=Lead(digest, hostname, 0.0))

    first = Task(node, resolved(DIGEST, "web-01"))
    await until(lambda: engine.running == 1)
    second = Task(node, resolved(other, "web-02"))
    for _ in range(20):
        await asyncio.sleep(0)
    engine.go.set()
    await asyncio.gather(first.waiting, second.waiting)
    assert len(engine.pulls) == pulls


@pytest.mark.parametrize(
    "otherwise", [{"retries": 0}, {"login": "a job with its credential"}, {"leads": "a job"}]
)
async def test_one_that_wants_it_otherwise_has_a_pull_of_its_own_afterwards(
    otherwise: dict[str, Any],
) -> None:
    engine = Scripted()
    engine.go.clear()
    node = pulls_of(engine)
    wanted = msgspec.structs.replace(order(PINNED), **otherwise)
    first, second = Task(node, order(PINNED)), Task(node, wanted)
    await until(lambda: bool(second.recorded))
    assert second.recorded == [
        (QUEUED, "queued: another pull of this image is under way before it")
    ]
    assert engine.running == 1
    engine.go.set()
    await asyncio.gather(first.waiting, second.waiting)
    assert len(engine.pulls) == 2
    assert second.kinds == [QUEUED, DEQUEUED]


async def test_to_cancel_one_leaves_the_pull_to_the_others_and_the_last_ends_it() -> None:
    engine = Scripted()
    engine.go.clear()
    node = pulls_of(engine)
    tasks = [Task(node, order(PINNED)) for _ in range(3)]
    await until(lambda: engine.running == 1)
    for task in tasks[:2]:
        task.waiting.cancel()
        await asyncio.gather(task.waiting, return_exceptions=True)
        assert engine.running == 1
    tasks[2].waiting.cancel()
    await asyncio.gather(tasks[2].waiting, return_exceptions=True)
    await until(lambda: engine.running == 0)
    assert len(engine.pulls) == 1


async def test_who_shares_a_pull_late_learns_its_last_step() -> None:
    engine = Scripted(EngineRefused(0, RESET))
    engine.hesitant = True
    pulls = pulls_of(engine)
    first = Task(pulls, order(PINNED))
    await until(lambda: len(engine.pulls) == 2)
    late = Task(pulls, order(PINNED))
    await until(lambda: bool(late.recorded))
    assert late.recorded == first.recorded
    engine.go.set()
    await asyncio.gather(first.waiting, late.waiting)


async def test_more_than_the_nodes_pace_are_queued_and_say_so() -> None:
    engine = Scripted()
    engine.go.clear()
    node = pulls_of(engine, max_pulls=2)
    tasks = [Task(node, order(f"registry/{name}:1")) for name in "abcd"]
    await until(lambda: bool(tasks[3].recorded))
    assert engine.running == 2
    assert [task.recorded[-1][1] for task in tasks[2:]] == [
        "queued: 2 pulls run before it",
        "queued: 2 pulls run and 1 wait before it",
    ]
    engine.go.set()
    await asyncio.gather(*(task.waiting for task in tasks))
    assert [task.kinds for task in tasks] == [[], [], [QUEUED, DEQUEUED], [QUEUED, DEQUEUED]]


class Gate(Hook):
    """Lets an attempt begin when it is open, and remembers what it was asked."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked: list[str] = []
        self.refusals = 0
        self.faults: list[Fault] = []

    async def ready(self, attempt: Attempt) -> None:
        self.asked.append("ready")
        await self.open.wait()

    def allows(self, attempt: Attempt) -> bool:
        self.asked.append("allows")
        self.refusals -= 1
        return self.refusals < 0

    async def before(self, attempt: Attempt) -> None:
        self.asked.append("before")

    async def failed(self, attempt: Attempt, fault: Fault) -> None:
        self.faults.append(fault)


async def test_a_pull_that_a_hook_lets_wait_takes_no_slot() -> None:
    engine, gate = Scripted(), Gate()
    waiting = pulls_of(engine, gate, max_pulls=1)
    first = Task(waiting, order("registry/a:1"))
    await until(lambda: bool(gate.asked))
    gate.open.set()
    gate.refusals = 1
    await first.waiting
    assert gate.asked == ["ready", "allows", "ready", "allows", "before"]


class Preparing(Hook):
    """Records for which image each attempt was prepared, and whether controllers are asked anew."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.leads: list[Lead | None] = []

    async def prepare(self, attempt: Attempt) -> None:
        self.asked.append((attempt.order.reference.path, attempt.asks))
        self.leads.append(attempt.lead)
        attempt.lead = Lead(DIGEST, "web-01", 0.0)


async def test_a_pull_that_has_waited_for_its_slot_is_prepared_anew() -> None:
    engine, preparing = Scripted(), Preparing()
    engine.go.clear()
    node = pulls_of(engine, preparing, max_pulls=1)
    first, second = (Task(node, order(f"registry.example/{name}:1")) for name in "ab")
    await until(lambda: bool(second.recorded))
    engine.go.set()
    await asyncio.gather(first.waiting, second.waiting)
    assert preparing.asked == [("a", False), ("b", False), ("b", True)]


async def test_a_later_attempt_pulls_the_digest_of_the_first_and_has_controllers_asked() -> None:
    engine, preparing = Scripted(EngineRefused(0, RESET)), Preparing()
    await Task(pulls_of(engine, preparing), order("registry.example/a:1")).waiting
    assert preparing.asked == [("a", False), ("a", True)]
    assert preparing.leads == [None, Lead(DIGEST, "web-01", 0.0)]


async def test_a_cooldown_that_is_learned_of_in_a_slot_lets_the_pull_wait_outside_again() -> None:
    """What is asked anew after a wait for a slot may say so."""

    class Learning(Gate):
        async def prepare(self, attempt: Attempt) -> None:
            self.asked.append("prepare")
            self.refusals = int(attempt.asks and self.asked.count("ready") < 3)

    engine, gate = Scripted(), Learning()
    gate.open.set()
    engine.go.clear()
    node = pulls_of(engine, gate, max_pulls=1)
    first = Task(node, order("registry.example/a:1"))
    await until(lambda: engine.running == 1)
    gate.asked.clear()
    second = Task(node, order("registry.example/b:1"))
    await until(lambda: bool(second.recorded))
    engine.go.set()
    await asyncio.gather(first.waiting, second.waiting)
    assert gate.asked == [
        *("ready", "prepare"),
        # In the slot.
        *("prepare", "allows"),
        *("ready", "prepare", "allows"),
        *("ready", "prepare", "allows", "before"),
    ]


async def test_an_attempt_has_the_tasks_that_share_the_pull() -> None:
    found: list[int] = []

    class Counting(Hook):
        async def before(self, attempt: Attempt) -> None:
            found.append(len(attempt.tasks()))

    node = pulls_of(Scripted(), Counting())
    tasks = [Task(node, order(PINNED)) for _ in range(3)]
    await asyncio.gather(*(task.waiting for task in tasks))
    assert found == [3]


async def test_a_registry_that_is_busy_for_ever_is_given_up() -> None:
    engine = Scripted(*(EngineRefused(0, "toomanyrequests") for _ in range(100)))
    with pytest.raises(TaskFailed, match="toomanyrequests"):
        await Task(pulls_of(engine), order()).waiting
    assert len(engine.pulls) == MOST_COOLDOWNS + 1


class Explaining(Hook):
    def explain(self, attempt: Attempt, error: TaskFailed) -> TaskFailed:
        return Hopeless(f"what that means is: {error.error}")


async def test_hooks_say_what_a_failure_means_and_whether_it_is_tried_again() -> None:
    engine = Scripted(EngineRefused(0, RESET))
    with pytest.raises(Hopeless, match=f"what that means is: {RESET}"):
        await Task(pulls_of(engine, Explaining()), order()).waiting
    assert len(engine.pulls) == 1


async def test_an_attempt_waits_until_the_engine_is_back() -> None:
    class Restarting(Scripted):
        pings = 0

        async def ping(self) -> str:
            self.pings += 1
            if self.pings < 3:
                raise EngineUnreachable("it restarts")
            return await super().ping()

    engine = Restarting(EngineUnreachable("the engine is away"))
    pauses = Pauses(first=0.0, engine_back_within=60.0)
    await Task(Pulls(engine, pauses=pauses), order()).waiting
    assert (engine.pings, len(engine.pulls)) == (3, 2)


async def test_a_busy_registry_is_not_waited_for_where_nothing_is_to_be_tried_again() -> None:
    engine = Scripted(EngineRefused(0, "toomanyrequests"))
    with pytest.raises(TaskFailed, match="toomanyrequests"):
        await Task(pulls_of(engine), order(retries=0)).waiting
    assert len(engine.pulls) == 1


async def test_missing_waits_for_an_engine_that_is_away_as_any_pull_does() -> None:
    class Away(Scripted):
        looks = 0

        async def image(self, name: str) -> Image | None:
            self.looks += 1
            if self.looks <= 2:
                raise EngineUnreachable("the engine is away")
            return await super().image(name)

    task = Task(pulls_of(Away()), order(policy="missing"))
    assert (await task.waiting).changed
    assert task.kinds == [ATTEMPT]


async def test_hooks_learn_what_failed() -> None:
    engine, gate = Scripted(EngineRefused(0, "toomanyrequests: retry-after: 5s")), Gate()
    gate.open.set()
    await Task(pulls_of(engine, gate), order()).waiting
    assert [(fault.kind, fault.retry_after) for fault in gate.faults] == [(Kind.BUSY, 5.0)]
