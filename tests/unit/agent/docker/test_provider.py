"""The Docker Engine as a provider: whether it is there, and what operations are given."""

import time
from typing import Any

import msgspec
import pytest

from tests.testing.tasks import Answers, a_task
from towline.agent.docker import answers
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineUnreachable, UnreadableAnswer
from towline.agent.docker.inventory import EngineInventory
from towline.agent.docker.provider import DockerProvider, TaskDocker
from towline.agent.docker.pull.foresight import Foresight
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.pulls import Pulls
from towline.agent.node import Node
from towline.agent.provider import Context, Task
from towline.errors import TaskFailed
from towline.operations import docker
from towline.operations.docker import Pulled
from towline.runtime.keys import KEY_BYTES, NodeKey
from towline.runtime.registries import ALL
from towline.wire.event import Lead
from towline.wire.job import Job
from towline.wire.platform import Platform
from towline.wire.reference import Reference

DIGEST = f"sha256:{'0' * 64}"
LEAD = Lead(DIGEST, "web-07", 1.0)


class Scripted(Engine):
    """An engine that answers its pings as a test says, and has two containers."""

    def __init__(self) -> None:
        super().__init__("none://")
        self.failure: TaskFailed | None = None
        self.closed = False
        self.asked: list[tuple[bool, int, str]] = []

    async def ping(self) -> str:
        if self.failure is not None:
            raise self.failure
        return "20.10"

    async def containers(
        self, *, everything: bool, limit: int, state: str
    ) -> list[answers.Container]:
        self.asked.append((everything, limit, state))
        return [
            answers.Container("a", "nginx", "running", 0, ["/web", "/other"]),
            answers.Container("b", "nginx", "exited", 1),
        ]

    async def close(self) -> None:
        self.closed = True


class Asked(Pulls):
    """Pulls that keep what they were asked for."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.orders: list[Order] = []

    async def pull(self, order: Order, task: Task) -> Pulled:
        self.orders.append(order)
        return Pulled("sha256:0", 1, True)


JOB = Job("job", "docker.pull.execute", {}, "_all", "ci", 0.0, 60.0)


async def found(value: str) -> Lead:
    return LEAD


def provider(engine: Engine, *, named: bool = True) -> DockerProvider:
    context = Context(
        "machine", "web-01", NodeKey(bytes(KEY_BYTES)), Answers(), time.time, "0" * 16
    )
    return DockerProvider(context, engine=engine, named=named, configuration=None)


@pytest.mark.parametrize(
    "failure", [EngineUnreachable("it is away"), UnreadableAnswer("it is odd")]
)
async def test_an_engine_that_does_not_answer_as_one_is_a_trouble_in_words(
    failure: TaskFailed,
) -> None:
    engine = Scripted()
    docker = provider(engine)
    await docker.probe()
    assert (docker.offered, docker.trouble) == (True, "")
    engine.failure = failure
    await docker.probe()
    assert (docker.offered, docker.trouble) == (True, failure.error)
    engine.failure = None
    await docker.probe()
    assert docker.trouble == ""


async def test_an_engine_that_nobody_named_is_offered_once_it_was_there() -> None:
    engine = Scripted()
    engine.failure = EngineUnreachable("it is away")
    docker = provider(engine, named=False)
    await docker.probe()
    assert not docker.offered
    engine.failure = None
    await docker.probe()
    engine.failure = EngineUnreachable("it is away")
    await docker.probe()
    assert docker.offered


async def test_an_engine_that_the_agent_may_not_use_is_there_and_says_what_mends_it() -> None:
    engine = Scripted()
    words = "cannot connect to the Docker Engine at unix:///d.sock: [Permission denied]"
    engine.failure = EngineUnreachable(words)
    docker = provider(engine, named=False)
    await docker.probe()
    assert docker.offered
    assert docker.trouble.startswith(f"{words} (the agent's user is not in the group docker")


class Noted(EngineInventory):
    """An inventory that keeps what it was told."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, "0" * 16)
        self.told: list[str] = []

    def due(self) -> None:
        self.told.append("due")

    def listen_again(self) -> None:
        self.told.append("again")


async def test_an_engine_that_is_back_is_listened_to_again() -> None:
    engine = Scripted()
    docker = provider(engine)
    docker.inventory = noted = Noted(engine)
    await docker.probe()
    await docker.probe()
    assert noted.told == ["again"]
    engine.failure = EngineUnreachable("it is away")
    await docker.probe()
    engine.failure = None
    await docker.probe()
    await docker.probe()
    assert noted.told == ["again"] * 2


async def test_after_a_pull_however_it_ended_the_engine_is_looked_at() -> None:
    docker = provider(Scripted())
    docker.inventory = noted = Noted(Scripted())
    served = docker.serve(a_task(JOB))
    with pytest.raises(TaskFailed):
        await served.pull(
            Reference.parse("localhost:5000/a"),
            retries=0,
            stall_timeout=1.0,
            policy="always",
            resolve="each",
            platform=None,
        )
    assert noted.told == ["due"]


async def test_the_engine_is_closed_with_its_provider() -> None:
    engine = Scripted()
    await provider(engine).close()
    assert engine.closed


@pytest.mark.parametrize(
    ("state", "asked"),
    [
        ("running", (False, 6, "running")),
        ("stopped", (True, 6, "created,exited,dead")),
        ("all", (True, 6, "")),
    ],
)
async def test_containers_are_listed_by_their_state(
    state: docker.ContainerState, asked: tuple[bool, int, str]
) -> None:
    engine = Scripted()
    node = Node("machine", "web-01", [provider(engine)]).serving(a_task(JOB))
    found = await docker.list_containers(node, state=state, limit=5)
    assert engine.asked == [asked]
    assert [(each.name, each.created) for each in found.containers] == [
        ("web", "1970-01-01T00:00:00Z"),
        ("", "1970-01-01T00:00:01Z"),
    ]


@pytest.mark.parametrize(("limit", "truncated"), [(1, True), (2, False)])
async def test_a_list_says_whether_the_node_has_more(limit: int, truncated: bool) -> None:
    node = Node("machine", "web-01", [provider(Scripted())]).serving(a_task(JOB))
    found = await docker.list_containers(node, limit=limit)
    assert (len(found.containers), found.truncated) == (limit, truncated)


TAGGED, PINNED = Reference.parse("a/b:1.0"), Reference.parse(f"a/b@{DIGEST}")


@pytest.mark.parametrize(
    ("reference", "resolve", "job", "task", "asked"),
    [
        (TAGGED, "once", {}, {}, (None, None, None)),
        (TAGGED, "once", {}, {"found": found}, (None, "job", None)),
        (TAGGED, "once", {}, {"lead": LEAD}, (None, None, LEAD)),
        (TAGGED, "once", {}, {"lead": LEAD, "found": found}, (None, None, LEAD)),
        (TAGGED, "each", {}, {"found": found}, (None, None, None)),
        # A retry pulls what its job had found.
        (TAGGED, "once", {"lead": LEAD}, {"found": found}, (None, None, LEAD)),
        (TAGGED, "each", {"lead": LEAD}, {"lead": LEAD}, (None, None, None)),
        (PINNED, "once", {"lead": LEAD}, {"found": found}, (None, None, None)),
        (TAGGED, "once", {"credential": True}, {}, ("job", None, None)),
    ],
)
async def test_a_task_says_what_its_pull_logs_in_with_and_whose_digest_it_pulls(
    reference: Reference,
    resolve: docker.Resolve,
    job: dict[str, Any],
    task: dict[str, Any],
    asked: tuple[str | None, str | None, Lead | None],
) -> None:
    engine = Scripted()
    pulls = Asked(engine)
    asking = a_task(msgspec.structs.replace(JOB, **job), **task)
    foresight = Foresight(engine, None, None, time.time)  # type: ignore[arg-type]
    served = TaskDocker(engine, pulls, foresight, asking, ALL)
    arm = Platform.parse("linux/arm64/v8")
    await served.pull(
        reference,
        retries=2,
        stall_timeout=7.0,
        policy="missing",
        resolve=resolve,
        platform=arm,
    )
    (order,) = pulls.orders
    assert order.platform == arm
    assert (order.reference, order.retries, order.stall_timeout) == (reference, 2, 7.0)
    assert (order.policy, order.login, order.leads, order.lead) == ("missing", *asked)


async def test_what_nobody_asks_for_is_as_the_operation_says() -> None:
    fields = docker.pull.read({"image": "nginx"})
    order = Order(Reference.parse("nginx"))
    assert (order.retries, order.policy) == (fields.retries, fields.policy)  # type: ignore[attr-defined]
    assert order.stall_timeout == 300.0


async def test_a_node_without_a_provider_says_what_it_has_not() -> None:
    node = Node("machine", "web-01").serving(a_task(JOB))
    with pytest.raises(TaskFailed, match="this node has no docker"):
        await docker.pull(node, image="nginx")
