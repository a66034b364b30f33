"""The exit status of commands that wait for a job: one rule, whatever the command."""

from __future__ import annotations

import json

import pytest

from tests.testing.ports import free_port
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController, events
from towline.cli.outcome import exit_status
from towline.cli.standard import CannotPrint

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
    assert done.status == status
    told = {"job_id": JOB, "error": error, "details": ""}
    assert (json.loads(done.stdout) if form == "json" else done.stdout) in (told, "")
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


REFUSAL = {"error": "The token has expired.", "details": "", "code": 401}


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_job_that_cannot_be_followed_any_more_is_named_and_goes_on(
    asking: Here, controller: StubController, form: str
) -> None:
    running = {"job_id": JOB, "results": results(("ok", "running"))}
    controller.answers = {"GET /node/_all/load": Answer(running)}
    controller.default = Answer(REFUSAL, 401)
    done = asking("node", "load", "--on", "_all", "-o", form)
    assert done.status == 4
    assert "The token has expired." in done.stderr
    assert f"job {JOB} goes on, as far as is known\n" in done.stderr
    if form == "json":
        told = json.loads(done.stdout)
        assert (told["job_id"], told["error"]) == (JOB, REFUSAL["error"])
        assert [each["status"] for each in told["results"]] == ["ok", "running"]
    # What has failed so far is known.
    controller.answers = {
        "GET /node/_all/load": Answer({**running, "results": results(("failed", "running"))})
    }
    assert asking("node", "load", "--on", "_all", "-o", form).status == 1


def test_of_several_jobs_those_are_named_that_cannot_be_followed_any_more(
    asking: Here, controller: StubController
) -> None:
    running = [{"hostname": "web-1", "status": "running"}]
    controller.answers = {
        "POST /node/web-1/container/docker/pull": Answer({"job_id": JOB, "results": running})
    }
    controller.default = Answer(REFUSAL, 401)
    done = asking("pull", "nginx", "redis", "--on", "web-1", "-o", "json")
    assert done.status == 4
    assert [each["job_id"] for each in json.loads(done.stdout)] == [JOB, JOB]
    assert "2 jobs go on, as far as is known:\n" in done.stderr
    assert f"  {JOB}  redis  1 running; The token has expired.\n" in done.stderr


def test_programs_are_told_of_commands_in_place_of_routes_too(
    asking: Here, controller: StubController
) -> None:
    words = {"error": f"POST /job/{JOB}/resume lets it go on.", "details": "", "code": 409}
    controller.default = Answer(words, 409)
    told = json.loads(asking("pull", "a", "b", "--on", "web-1", "-o", "json").stdout)
    assert {each["error"] for each in told} == {f"towline job resume {JOB} lets it go on."}


def test_where_nothing_can_be_printed_the_jobs_that_were_made_are_named(
    asking: Here, controller: StubController, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CannotPrint("Standard output can't be written: it is full.", "")

    monkeypatch.setattr("towline.cli.run.print_document", full)
    load = {"job_id": JOB, "results": results(("ok",))}
    found = {**load, "status": "completed", "timestamp": "2030-01-31T12:00:00.000Z"}
    controller.answers = {
        "GET /node/_all/load": Answer(load),
        f"POST /job/{JOB}/retry": Answer(found, 201),
    }
    for command in (["node", "load", "--on", "_all"], ["retry", JOB]):
        done = asking(*command, "-o", "json")
        assert done.status == 2
        assert f"towline job {JOB} shows it" in done.stderr
