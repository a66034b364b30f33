"""Which digest the nodes of a job pull: one leads, resolves the tag and records what it found."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.testing.tasks import AWAY, Answers, a_task
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused, Hopeless
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.releases import Releases
from towline.agent.docker.pull.resolution import Resolution
from towline.agent.provider import Task
from towline.errors import TaskFailed
from towline.wire.event import Lead
from towline.wire.job import Job
from towline.wire.reference import Reference

DIGEST, OTHER = "sha256:" + "d" * 64, "sha256:" + "e" * 64
IMAGE = Reference.parse("localhost:5000/a/b:1.0")
REFUSED = EngineRefused(404, "page not found")
JOB = Job("job", "docker.pull.execute", {"image": str(IMAGE)}, "_all", "ci", 0.0, 0.0, leads=True)


class Asked(Engine):
    """An engine of which only the registry's answer is known."""

    def __init__(self, answer: str | TaskFailed = DIGEST) -> None:
        super().__init__("none://")
        self.answer = answer
        self.logins: list[dict[str, str] | None] = []

    async def digest(self, name: str, auth: dict[str, str] | None = None) -> str:
        self.logins.append(auth)
        if isinstance(self.answer, TaskFailed):
            raise self.answer
        return self.answer


class Recorded:
    """What controllers have stored of a job's lead: what comes first stays."""

    def __init__(self, value: str | None = None) -> None:
        self.lead = None if value is None else Lead(value, "web-07", 0.0)
        self.values: list[str] = []

    async def found(self, value: str) -> Lead:
        self.values.append(value)
        self.lead = self.lead or Lead(value, "web-01", 1.0)
        return self.lead


def attempt(*tasks: Task, **more: Any) -> Attempt:
    """Return an attempt of a pull that the first of these tasks asks for."""
    order = Order.of(tasks[0], IMAGE, 4, 300.0, "always", "once", None)
    return Attempt(order, 1, lambda _: None, lambda: list(tasks), **more)


def resolution(engine: Engine, controllers: Answers | None = None) -> Resolution:
    return Resolution(engine, Releases(controllers or Answers(), time.time), retry_every=0.001)


def value_of(attempt: Attempt) -> str | None:
    return None if attempt.lead is None else attempt.lead.value


async def test_a_node_that_is_given_the_digest_pulls_that_and_asks_nobody() -> None:
    engine, lead = Asked(OTHER), Lead(DIGEST, "web-07", 0.0)
    following = attempt(a_task(JOB, lead=lead))
    await resolution(engine).prepare(following)
    assert following.lead == lead
    assert engine.logins == []


async def test_the_node_that_leads_resolves_the_tag_with_its_credential_and_records_it() -> None:
    engine, recorded = Asked(), Recorded()
    leading = attempt(a_task(JOB, found=recorded.found))
    leading.auth = {"username": "puller"}
    await resolution(engine).prepare(leading)
    assert (value_of(leading), recorded.values) == (DIGEST, [DIGEST])
    assert engine.logins == [{"username": "puller"}]


async def test_who_leads_pulls_what_is_recorded_where_another_was_before_it() -> None:
    recorded = Recorded(OTHER)
    leading = attempt(a_task(JOB, found=recorded.found))
    await resolution(Asked()).prepare(leading)
    assert (value_of(leading), recorded.values) == (OTHER, [DIGEST])


async def test_a_digest_is_found_once_for_all_attempts_of_a_pull() -> None:
    engine, recorded = Asked(), Recorded()
    task, agreeing = a_task(JOB, found=recorded.found), resolution(engine)
    first = attempt(task)
    await agreeing.prepare(first)
    await agreeing.prepare(first)
    later = attempt(task, lead=first.lead, asks=True)
    await agreeing.prepare(later)
    assert (value_of(later), len(engine.logins), recorded.values) == (DIGEST, 1, [DIGEST])


async def test_who_led_before_its_agent_was_started_again_pulls_what_controllers_name() -> None:
    engine, recorded = Asked(), Recorded()
    controllers = Answers({"lead": Lead(OTHER, "web-01", 0.0)})
    leading = attempt(a_task(JOB, fresh=False, found=recorded.found))
    releases = Releases(controllers, time.time)
    await releases.current(leading)
    await Resolution(engine, releases).prepare(leading)
    assert (value_of(leading), engine.logins, recorded.values) == (OTHER, [], [])


async def test_who_can_not_resolve_the_tag_pulls_it_and_records_what_that_has_brought() -> None:
    recorded = Recorded()
    leading, agreeing = attempt(a_task(JOB, found=recorded.found)), resolution(Asked(REFUSED))
    await agreeing.prepare(leading)
    assert (leading.lead, recorded.values) == (None, [])
    await agreeing.fetched(leading, DIGEST)
    assert (value_of(leading), recorded.values) == (DIGEST, [DIGEST])


async def test_who_could_not_resolve_it_pulls_what_another_has_found_meanwhile() -> None:
    recorded = Recorded()
    leading, agreeing = attempt(a_task(JOB, found=recorded.found)), resolution(Asked(REFUSED))
    await agreeing.prepare(leading)
    recorded.lead = Lead(OTHER, "web-07", 0.0)
    await agreeing.fetched(leading, DIGEST)
    assert value_of(leading) == OTHER


@pytest.mark.parametrize(
    ("answers", "value"),
    [
        ([{"lead": Lead(OTHER, "web-07", 0.0)}], OTHER),
        ([AWAY, AWAY, {"lead": Lead(OTHER, "web-07", 0.0)}], OTHER),
        ([{}], None),
        ([TaskFailed("the job has ended here")], None),
    ],
    ids=["another led", "controllers are away for a while", "nobody led", "the job has ended"],
)
async def test_where_the_engine_does_not_say_what_the_tag_was_controllers_are_asked_who_led(
    answers: list[dict[str, Any] | Exception], value: str | None
) -> None:
    recorded, controllers = Recorded(), Answers(*answers)
    leading = attempt(a_task(JOB, found=recorded.found))
    agreeing = resolution(Asked(REFUSED), controllers)
    await agreeing.prepare(leading)
    await agreeing.fetched(leading, None)
    assert (value_of(leading), recorded.values) == (value, [])
    assert len(controllers.asked) == len(answers)


async def test_a_later_attempt_tries_again_to_resolve_the_tag() -> None:
    engine, recorded = Asked(REFUSED), Recorded()
    task, agreeing = a_task(JOB, found=recorded.found), resolution(engine)
    await agreeing.prepare(attempt(task))
    engine.answer = DIGEST
    later = attempt(task, asks=True)
    await agreeing.prepare(later)
    assert value_of(later) == DIGEST


async def test_a_node_that_neither_leads_nor_is_given_a_digest_pulls_by_itself() -> None:
    engine, controllers = Asked(), Answers()
    alone, agreeing = attempt(a_task(JOB)), resolution(engine, controllers)
    await agreeing.prepare(alone)
    await agreeing.fetched(alone, DIGEST)
    await agreeing.fetched(alone, None)
    assert (alone.lead, engine.logins, controllers.asked) == (None, [], [])


@pytest.mark.parametrize("order_of", [lambda a, b: (a, b), lambda a, b: (b, a)])
async def test_a_node_that_leads_one_of_several_jobs_finds_the_digest_for_that_alone(
    order_of: Callable[[Task, Task], tuple[Task, Task]],
) -> None:
    recorded, others = Recorded(), Recorded()
    other_job = Job("other", "docker.pull.execute", {"image": str(IMAGE)}, "_all", "ci", 0.0, 0.0)
    leader = a_task(JOB, found=recorded.found)
    leading = Attempt(
        Order.of(leader, IMAGE, 4, 300.0, "always", "once", None),
        *(1, lambda _: None),
        lambda: list(order_of(leader, a_task(other_job, found=others.found))),
    )
    await resolution(Asked()).prepare(leading)
    assert (recorded.values, others.values) == ([DIGEST], [])


async def test_a_digest_that_is_gone_is_named_with_who_resolved_it_and_other_failures_are_not() -> (
    None
):
    lead = Lead(DIGEST, "web-07", 0.0)
    following, agreeing = attempt(a_task(JOB, lead=lead)), resolution(Asked())
    gone = agreeing.explain(following, EngineRefused(404, "manifest unknown: manifest unknown"))
    assert isinstance(gone, Hopeless)
    assert f"localhost:5000/a/b:1.0 was {DIGEST} when web-07 resolved it" in gone.error
    for other in (
        TaskFailed("connection reset by peer"),
        EngineRefused(403, "denied"),
        EngineRefused(0, "parent snapshot sha256:1 does not exist: not found"),
        EngineRefused(0, "no matching manifest for linux/arm64: no match for platform: not found"),
    ):
        assert agreeing.explain(following, other) is other
