"""A job that a command asks for has one id, however often its request is sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController
from towline.wire.job import own_id

PULL = ["pull", "nginx", "--on", "web-1"]
ROUTE = "POST /node/web-1/container/docker/pull"
JOB = "0199a0c0-0000-7000-8000-000000000001"
DONE: dict[str, Any] = {
    "job_id": JOB,
    "results": [{"hostname": "web-1", "status": "ok", "image_id": "a", "size": 1, "changed": True}],
}


def keys(controller: StubController) -> list[str]:
    asked = [each for each in controller.asked if f"{each.method} {each.path}" == ROUTE]
    return [each.headers["idempotency-key"] for each in asked]


def test_each_command_chooses_an_id_of_its_own(asking: Here, controller: StubController) -> None:
    controller.answers[ROUTE] = Answer(DONE)
    assert [asking(*PULL).status for _ in range(2)] == [0, 0]
    first, second = keys(controller)
    assert own_id(first)
    assert own_id(second) not in (None, first)


@pytest.mark.parametrize(
    "lost",
    [
        Answer("{", 200, length=9),
        Answer({"error": "Bad gateway."}, 502),
        Answer({"error": "It stops."}, 503, headers={"Retry-After": "1"}),
        Answer({"error": "x"}, 500, headers={"Retry-After": "1", "Location": f"/job/{JOB}"}),
    ],
    ids=["broken off", "no controller behind it", "it stops", "the broker is away"],
)
def test_a_request_whose_answer_is_lost_is_sent_again_for_the_same_job(
    asking: Here, controller: StubController, lost: Answer
) -> None:
    controller.answers[ROUTE] = [lost, Answer(DONE)]
    done = asking(*PULL)
    assert (done.status, "asking again" in done.stderr) == (0, True)
    first, second = keys(controller)
    assert first == second


def test_a_key_of_the_user_stays_as_it_is(asking: Here, controller: StubController) -> None:
    controller.answers[ROUTE] = Answer(DONE)
    assert asking(*PULL, "--idempotency-key", "mine").status == 0
    assert keys(controller) == ["mine"]


def test_where_the_clocks_are_far_apart_the_answer_says_the_id(
    asking: Here, controller: StubController
) -> None:
    words = "The Idempotency-Key 0199… can't become a job's id: the time in it is 9000 s ahead."
    controller.answers[ROUTE] = [Answer({"error": words}, 400), Answer(DONE)]
    done = asking(*PULL, "-q")
    assert (done.status, done.stdout) == (0, f"{JOB}\n")
    first, second = keys(controller)
    assert own_id(first)
    assert own_id(second) is None


def test_without_job_read_the_same_request_is_sent_until_the_job_has_ended(
    asking: Here, controller: StubController
) -> None:
    running = {"job_id": JOB, "results": [{"hostname": "web-1", "status": "running"}]}
    controller.answers = {
        ROUTE: [Answer(running), Answer(DONE)],
        f"GET /job/{JOB}": Answer({"error": "It lacks job:read."}, 403),
        f"GET /job/{JOB}/progress": Answer({"error": "It lacks job:read."}, 403),
    }
    done = asking(*PULL)
    assert done.status == 0
    assert "lacks job:read" in done.stderr
    assert len(set(keys(controller))) == 1


TOO_FAR = {"error": f"The Idempotency-Key {JOB} can't become a job's id: it is too old."}


def test_a_key_of_the_user_is_never_replaced(asking: Here, controller: StubController) -> None:
    controller.answers[ROUTE] = [Answer(TOO_FAR, 400), Answer(DONE)]
    done = asking(*PULL, "--idempotency-key", JOB)
    assert (done.status, done.stdout) == (2, "")
    assert "can't become a job's id" in done.stderr
    assert keys(controller) == [JOB]


@pytest.mark.parametrize("refusal", [{"error": "The token has expired."}, TOO_FAR], ids=str)
def test_a_refusal_after_a_lost_answer_does_not_say_that_no_job_was_made(
    asking: Here, controller: StubController, refusal: dict[str, Any]
) -> None:
    lost = Answer("{", 200, length=9)
    controller.answers[ROUTE] = [lost, Answer(refusal, 401)]
    done = asking(*PULL)
    assert done.status == 5
    (key,) = set(keys(controller))
    assert f"it is not known whether job {key} was made; if it was, it goes on" in done.stderr


@pytest.mark.parametrize("may_look", [True, False])
def test_a_job_whose_first_answer_cannot_be_read_is_followed_or_named(
    asking: Here, controller: StubController, may_look: bool
) -> None:
    odd = {"job_id": JOB, "results": [{"hostname": "web-1", "status": "ok", "size": "much"}]}
    controller.answers[ROUTE] = Answer(odd, 202, headers={"Location": f"/job/{JOB}"})
    controller.answers[f"GET /job/{JOB}"] = (
        Answer(job("ok")) if may_look else Answer({"error": "It lacks job:read."}, 403)
    )
    done = asking(*PULL, "-q")
    assert (done.status, JOB in done.stderr) == ((0, False) if may_look else (4, True))
    assert may_look or "the answer can't be read" in done.stderr


def job(status: str) -> dict[str, Any]:
    when = "2030-01-31T12:00:00.000Z"
    return {
        "id": JOB,
        "status": "processing" if status == "running" else "completed",
        "created": when,
        "expires": when,
        "operation": {"type": "docker.pull.execute", "data": {"image": "nginx"}},
        "target": "web-1",
        "caller": "tests",
        "results": [{"hostname": "web-1", "status": status}],
    }


@pytest.mark.parametrize("passing", [502, 503, 429])
def test_a_stream_that_cannot_be_opened_just_now_ends_no_command(
    asking: Here, controller: StubController, passing: int
) -> None:
    away = Answer({"error": "Not just now."}, passing)
    running = {"job_id": JOB, "results": [{"hostname": "web-1", "status": "running"}]}
    controller.answers = {
        ROUTE: Answer(running),
        f"GET /job/{JOB}/progress": away,
        f"GET /job/{JOB}": [away, Answer(job("running")), Answer(job("ok"))],
    }
    done = asking(*PULL)
    assert (done.status, "asking again: Not just now." in done.stderr) == (0, True)
