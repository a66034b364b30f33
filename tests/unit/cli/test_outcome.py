"""The exit status of commands that wait for a job: one rule, whatever the command."""

from __future__ import annotations

import pytest

from tests.testing.ports import free_port
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController, events
from towline.cli.outcome import exit_status

JOB = "0199a0c0-0000-7000-8000-000000000001"
TABLE = [
    (("ok",), 0),
    (("ok", "ok"), 0),
    ((), 0),
    (("failed",), 1),
    (("ok", "failed"), 1),
    (("failed", "pending"), 1),
    (("failed", "skipped"), 1),
    *((("ok", status), 1) for status in ("skipped", "cancelled", "expired")),
    *(((status,), 3) for status in ("skipped", "cancelled", "expired")),
    (("skipped", "expired"), 3),
    (("pending",), 4),
    (("ok", "running"), 4),
    (("skipped", "pending"), 4),
]


@pytest.mark.parametrize(("statuses", "expected"), TABLE, ids=str)
def test_the_exit_status_says_what_became_of_it(statuses: tuple[str, ...], expected: int) -> None:
    assert exit_status(statuses) == expected


PULL = ["pull", "nginx", "--on", "web-1"]


def test_an_error_says_whether_the_controller_refused_it_or_was_not_there(
    asking: Here, controller: StubController
) -> None:
    def ended(status: int, **headers: str) -> int:
        words = {"error": "No.", "details": "", "code": status}
        controller.default = Answer(words, status, headers=headers)
        return asking(*PULL, "--idempotency-key", "a").status

    assert {ended(status) for status in (400, 401, 403, 404, 409, 500)} == {2}
    assert ended(429, **{"Retry-After": "1"}) == 2
    # It says so where it can't reach the broker.
    assert ended(500, **{"Retry-After": "1"}) == 5
    assert asking(*PULL, "--url", f"http://127.0.0.1:{free_port()}").status == 5


@pytest.mark.parametrize(
    ("words", "status"),
    [("failed", 1), ("was cancelled", 3), ("expired", 3)],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_one_node_that_did_not_do_it_ends_so_whatever_the_token_may(
    asking: Here, controller: StubController, words: str, status: int, form: str
) -> None:
    error = f"docker.pull {words} on web-1: no such image"
    controller.answers = {
        "POST /node/web-1/container/docker/pull": Answer(
            {"error": error, "details": "", "code": 500},
            500,
            headers={"Location": f"/job/{JOB}"},
        ),
        f"GET /job/{JOB}": Answer({"error": "It lacks job:read.", "details": "", "code": 403}, 403),
    }
    done = asking(*PULL, "-o", form)
    assert (done.status, done.stdout) == (status, "")
    assert error in done.stderr


def results(statuses: tuple[str, ...]) -> list[dict[str, object]]:
    load = {"1min": 0.1, "5min": 0.1, "15min": 0.1}
    more: dict[str, dict[str, object]] = {
        "ok": {"load_average": load, "changed": False},
        "pending": {"reason": "not reachable since"},
    }
    return [
        {"hostname": f"web-{number}", "status": status, **more.get(status, {})}
        for number, status in enumerate(statuses)
    ]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (("ok", "ok"), "completed"),
        (("ok", "skipped"), "completed"),
        (("skipped",), "completed"),
        (("ok", "failed"), "partial_failure"),
        (("cancelled",), "failed"),
        # Away, and so not waited for.
        (("ok", "pending"), "processing"),
        (("failed", "pending"), "processing"),
    ],
    ids=str,
)
def test_every_command_that_waits_for_a_job_ends_as_the_others_do(
    asking: Here, controller: StubController, statuses: tuple[str, ...], status: str
) -> None:
    when = "2030-01-31T12:00:00.000Z"
    found = {
        "id": JOB,
        "status": status,
        "created": when,
        "expires": when,
        "operation": {"type": "node.load", "data": {}},
        "target": "_all",
        "caller": "tests",
        "results": results(statuses),
    }
    end = {"job_id": JOB, "status": status, "nodes": {"ok": 1}}
    made = {"job_id": JOB, "status": status, "timestamp": when}
    controller.answers = {
        "GET /node/_all/load": Answer({"job_id": JOB, "results": found["results"]}),
        f"GET /job/{JOB}": Answer(found),
        f"GET /job/{JOB}/events": events(("end", end)),
        f"GET /job/{JOB}/progress": events(("end", end)),
        f"POST /job/{JOB}/retry": Answer(made, 201),
    }
    commands = {
        "an operation": ["node", "load", "--on", "_all"],
        "an operation as JSON": ["node", "load", "--on", "_all", "-o", "json"],
        "an operation without a wait": ["node", "load", "--on", "_all", "--wait", "0"],
        "job --follow": ["job", JOB, "--follow"],
        "job --follow as JSON": ["job", JOB, "--follow", "-o", "json"],
        "retry": ["retry", JOB],
    }
    ended = {name: asking(*arguments).status for name, arguments in commands.items()}
    assert ended == dict.fromkeys(commands, exit_status(statuses))
    controller.answers[f"GET /job/{JOB}"] = Answer({"error": "It lacks job:read."}, 403)
    assert asking("node", "load", "--on", "_all").status == exit_status(statuses)


def test_a_command_that_stops_waiting_says_how_to_see_the_rest(
    asking: Here, controller: StubController
) -> None:
    controller.answers = {
        "GET /node/_all/load": Answer({"job_id": JOB, "results": results(("ok", "pending"))}),
    }
    done = asking("node", "load", "--on", "_all", "--wait", "0")
    assert done.status == 4
    assert done.stderr == f"not done yet: towline job {JOB} shows the rest\n"
