"""Jobs that are followed: what is printed of their events, and what ends the following."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController, events
from towline.client import streams

JOB = "0199a0c0-0000-7000-8000-0123456789ab"
WHEN = "2030-01-31T12:00:00.000Z"
M1, M2 = "1" * 32, "2" * 32
STREAM = f"GET /job/{JOB}/events"


def found(*nodes: tuple[str, str, str], status: str = "processing") -> Answer:
    """Return a job, by hostname, machine id and status of each of its nodes."""
    rows = [{"hostname": name, "machine_id": id, "status": each} for name, id, each in nodes]
    job = {
        **{"id": JOB, "status": status, "created": WHEN, "expires": WHEN, "target": "_all"},
        **{"operation": {"type": "node.load.get", "data": {}}, "caller": "tests"},
    }
    return Answer(job | {"results": rows})


def event(hostname: str, machine: str, **more: str) -> dict[str, Any]:
    return {"job_id": JOB, "timestamp": WHEN, "hostname": hostname, "machine_id": machine, **more}


END = ("end", {"job_id": JOB, "status": "completed", "nodes": {"ok": 3}})


def said(of: list[str]) -> list[str]:
    """Return the nodes of lines of events."""
    return [line.split("  ")[-1].strip() for line in of]


def test_events_tell_nodes_of_one_name_apart(asking: Here, controller: StubController) -> None:
    nodes = [("web-01", M1), ("web-01", M2), ("db-01", "3" * 32)]
    controller.answers = {
        f"GET /job/{JOB}": found(*((*each, "ok") for each in nodes), status="completed"),
        STREAM: events(*(("completed", event(*each)) for each in nodes), END),
        f"GET /job/{JOB}/progress": events(END),
    }
    done = asking("job", "follow", JOB)
    lines = (done.stdout + done.stderr).splitlines()
    named = said([line for line in lines if "completed  " in line and WHEN in line])
    assert named == [f"web-01 ({M1[:12]})", f"web-01 ({M2[:12]})", "db-01"]


def test_of_all_jobs_they_are_told_apart_once_both_are_known(
    asking: Here, controller: StubController
) -> None:
    controller.answers["GET /event"] = events(
        *[("started", event("web-01", id)) for id in (M1, M2, M1)], END
    )
    lines = asking("job", "list", "--follow").stdout.splitlines()
    assert said(lines[:3]) == ["web-01", f"web-01 ({M2[:12]})", f"web-01 ({M1[:12]})"]


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_controller_that_is_gone_for_good_ends_the_following_with_the_last_words(
    asking: Here, controller: StubController, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(streams, "LONGEST_AWAY", 0.0)
    first = events(("started", event("web-01", M1)))
    cut = Answer(f"{first.body}id: 2\nda", content_type=first.content_type, length=10_000)
    controller.answers = {f"GET /job/{JOB}": found(("web-01", M1, "running"))}
    # Of progress there is nothing but a sign of life.
    silent = Answer(": here\n\n", content_type=first.content_type, length=10_000)
    controller.answers |= {STREAM: cut, f"GET /job/{JOB}/progress": silent}
    done = asking("job", "follow", JOB, "-o", form)
    assert done.status == 5
    assert "does not answer" in done.stderr
    assert f"job {JOB} goes on, as far as is known\n" in done.stderr
    assert f"towline job {JOB} --follow shows it" in done.stderr


def test_a_token_that_has_expired_meanwhile_ends_no_job(
    asking: Here, controller: StubController
) -> None:
    refused = Answer({"error": "The token has expired.", "details": "", "code": 401}, 401)
    controller.answers = {
        f"GET /job/{JOB}": [found(("web-01", M1, "running")), refused],
        STREAM: [events(("started", event("web-01", M1))), refused],
    }
    done = asking("job", "follow", JOB, "-o", "json")
    assert done.status == 4
    assert "The token has expired." in done.stderr
    assert f"job {JOB} goes on, as far as is known\n" in done.stderr


def test_a_job_that_there_is_not_is_refused_at_once(
    asking: Here, controller: StubController
) -> None:
    done = asking("job", "follow", JOB)
    assert (done.status, done.stderr.splitlines()[0]) == (2, "towline: nothing here")
