"""What an agent asks controllers, and what it makes of their answers."""

import time

import msgspec
import pytest

from tests.testing.controllers import Controllers
from tests.testing.doubles import AWAY, ConnectionDouble, believed
from tests.testing.ledger import NOW, a_task
from tests.testing.signing import signed
from towline.agent.questions import ControllerQuestions
from towline.broker.clock import Clock
from towline.errors import BrokerUnreachable, TaskFailed
from towline.wire.cooldown import Cooldown
from towline.wire.release import BeatNow, Release
from towline.wire.report import Answer


@pytest.fixture
def connection() -> ConnectionDouble:
    return ConnectionDouble()


@pytest.fixture
def controllers(connection: ConnectionDouble) -> Controllers:
    return connection.controllers


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def questions(connection: ConnectionDouble, clock: Clock) -> ControllerQuestions:
    return ControllerQuestions(believed(connection, "a", clock), "a", retry_every=0.01)


async def test_a_task_is_answered_whole(
    questions: ControllerQuestions, controllers: Controllers, clock: Clock
) -> None:
    task = a_task()
    controllers.tasks[task.id] = task
    assert await questions.task(task.id) == task
    assert clock.known.is_set()


async def test_a_task_that_is_refused_for_good_fails(questions: ControllerQuestions) -> None:
    with pytest.raises(TaskFailed, match="there is no such task"):
        await questions.task(a_task().id)


async def test_a_question_is_asked_again_before_nobody_counts_as_there(
    questions: ControllerQuestions, controllers: Controllers, connection: ConnectionDouble
) -> None:
    task = a_task()
    controllers.refusal = Answer(time.time(), error="not known yet", again=True)
    with pytest.raises(BrokerUnreachable, match="not known yet"):
        await questions.task(task.id)
    connection.failing = AWAY
    with pytest.raises(BrokerUnreachable, match="a test says so"):
        await questions.task(task.id)


@pytest.mark.parametrize(
    "release",
    [
        msgspec.json.encode(msgspec.structs.replace(a_task(), machine="b")),
        msgspec.json.encode(a_task()),
        msgspec.json.encode(BeatNow(NOW, 5.0)),
        b'{"kind":"release"}',
        b"[]",
    ],
    ids=["another machine's", "another task", "no task", "half a task", "no order"],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_none(
    questions: ControllerQuestions, connection: ConnectionDouble, release: bytes
) -> None:
    answer = b'{"time":1700000000.0,"release":%s}' % release
    connection.junk = lambda purpose: signed(answer, purpose)
    with pytest.raises(BrokerUnreachable):
        await questions.task(a_task().id)


async def test_a_task_without_its_job_is_no_answer(
    questions: ControllerQuestions, controllers: Controllers
) -> None:
    task = a_task()
    controllers.tasks[task.id] = Release(task.id, "a", NOW, NOW + 9)
    with pytest.raises(BrokerUnreachable):
        await questions.task(task.id)


@pytest.mark.parametrize("junk", [b"", b"{}", b'{"time":1e308}', b'{"time":1e13}', b"[" * 100_000])
async def test_an_answer_that_cannot_be_read_is_none(
    questions: ControllerQuestions, connection: ConnectionDouble, clock: Clock, junk: bytes
) -> None:
    connection.junk = lambda purpose: signed(junk, purpose)
    with pytest.raises(BrokerUnreachable):
        await questions.task(a_task().id)
    assert not clock.known.is_set()


async def test_a_refusal_is_reported_and_answered_with_the_cooldown(
    questions: ControllerQuestions, controllers: Controllers
) -> None:
    job = a_task().id
    controllers.cooldown = Cooldown("example.com", NOW, NOW + 9, NOW + 19, 1, "b", "too many")
    found = await questions.cooldown(job, reason="too\x00many", known=NOW, asked=None)
    assert found == controllers.cooldown
    (question,) = controllers.questions
    assert (question.job, question.reason, question.known) == (job, "too\ufffdmany", NOW)
    controllers.cooldown = None
    assert await questions.cooldown(job, reason="", known=None, asked=30.0) is None
