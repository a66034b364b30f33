"""The exit status of commands that wait for a job: one rule, whatever the command."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController, events
from towline.cli.outcome import exit_status

JOB = "0199a0c0-0000-7000-8000-000000000001"
ENDED = ("ok", "failed", "skipped", "cancelled", "expired")
OUTCOMES = [
    (("ok",), 0),
    (("ok", "ok"), 0),
    *(((status,), 1) for status in ENDED[1:]),
    *((("ok", status), 1) for status in ENDED[1:]),
    (("skipped", "skipped"), 1),
    (("ok", "pending"), 1),
    (("running",), 1),
    ((), 0),
]


@pytest.mark.parametrize(("statuses", "expected"), OUTCOMES, ids=str)
def test_the_exit_status_is_0_only_if_every_node_succeeded(
    statuses: tuple[str, ...], expected: int
) -> None:
    assert exit_status(statuses) == expected


def results(statuses: tuple[str, ...]) -> list[dict[str, object]]:
    known = {"load_average": {"1min": 0.1, "5min": 0.1, "15min": 0.1}, "changed": False}
    return [
        {"hostname": f"web-{number}", "status": status, **(known if status == "ok" else {})}
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
        "job --follow": ["job", JOB, "--follow"],
        "job --follow as JSON": ["job", JOB, "--follow", "-o", "json"],
        "retry": ["retry", JOB],
    }
    ended = {name: asking(*arguments).status for name, arguments in commands.items()}
    assert ended == dict.fromkeys(commands, exit_status(statuses))


def test_a_command_that_stops_waiting_says_how_to_see_the_rest(
    asking: Here, controller: StubController
) -> None:
    controller.answers = {
        "GET /node/_all/load": Answer({"job_id": JOB, "results": results(("ok", "pending"))}),
    }
    done = asking("node", "load", "--on", "_all", "--wait", "0")
    assert done.status == 1
    assert done.stderr == f"not done yet: towline job {JOB} shows the rest\n"
