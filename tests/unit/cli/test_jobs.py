"""What `towline job list` shows, and what it says beside that."""

from __future__ import annotations

import time
from typing import Any, cast

import msgspec
import pytest

from tests.testing.command import failed
from tests.testing.screens import compare
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController
from towline.cli.jobs import FAILED, page_of
from towline.client import Client, JobPage
from towline.units import timestamp


def job(number: int, status: str = "completed", **more: Any) -> dict[str, Any]:
    """Return a job of a list: those of higher numbers are newer."""
    return {
        "id": f"0199a0c0-{number:04}-7000-8000-{number:012}",
        "status": status,
        "created": timestamp(time.time() - 7300 + number),
        "expires": timestamp(time.time() + 80_000),
        "operation": {"type": "docker.pull.execute", "data": {"image": "nginx:1.27"}},
        "target": "group:web,site:ber;db-*,!db-03",
        "caller": "deploy@ci.example",
        "nodes": {"ok": 300, "failed": 2} if status == "partial_failure" else {"ok": 1},
        **more,
    }


def page(*jobs: dict[str, Any], total: int | None = None, **more: Any) -> dict[str, Any]:
    counts = {"completed": len(jobs)} if jobs else {}
    total = len(jobs) if total is None else total
    return {"items": list(jobs), "total_items": total, "status_counts": counts, **more}


def test_a_list_of_jobs_on_terminals_of_several_widths(
    asking: Here, controller: StubController
) -> None:
    some = (job(3, "processing", target="_all"), job(2, "partial_failure"), job(1))
    controller.answers["GET /job"] = Answer(page(*some))
    compare("job-list", lambda width: asking("job", "list", columns=width).stdout)


def test_how_many_there_are_is_said_only_where_there_are_more(
    asking: Here, controller: StubController
) -> None:
    controller.answers["GET /job"] = Answer(page(job(2), job(1)))
    assert asking("jobs").stderr == ""
    more = page(job(2), total=7, next_cursor=job(2)["id"])
    controller.answers["GET /job"] = Answer(more)
    assert asking("jobs").stderr == f"7 in all; --cursor {job(2)['id']} shows older ones\n"
    for output in ("json", "yaml", "name"):
        assert asking("jobs", "-o", output).stderr == ""


def test_a_list_without_a_job_says_so(asking: Here, controller: StubController) -> None:
    controller.answers["GET /job"] = Answer(page())
    assert asking("jobs").stderr == "there is no job yet\n"
    controller.answers["GET /job"] = Answer({**page(), "status_counts": {"completed": 3}})
    assert asking("jobs", "--status", "failed").stderr == "no job is one of these\n"


class Pages:
    """Stands for a client: it has jobs of two statuses."""

    def __init__(self, **kept: list[int]) -> None:
        self._kept = kept

    def jobs(self, *, status: str, limit: int, cursor: str | None = None) -> JobPage:
        kept = [job(number, status) for number in sorted(self._kept[status], reverse=True)]
        behind = [each for each in kept if cursor is None or each["id"] < cursor]
        found = behind[:limit]
        following = {"next_cursor": found[-1]["id"]} if len(behind) > limit else {}
        return msgspec.convert(page(*found, total=len(kept), **following), JobPage)


@pytest.mark.parametrize(
    "kept",
    [([9, 5, 3], [8, 7, 1]), ([], [3, 2, 1]), ([6], []), ([], []), ([9, 8, 7, 6], [1])],
    ids=str,
)
def test_those_that_failed_on_some_node_or_on_all_are_one_list(
    kept: tuple[list[int], list[int]],
) -> None:
    client = cast("Client", Pages(**dict(zip(FAILED, kept, strict=True))))
    shown: list[str] = []
    given: dict[str, Any] = {"limit": 2}
    while True:
        found = page_of(client, given, failed=True)
        assert found.total_items == len(kept[0]) + len(kept[1])
        shown += [each.id for each in found.items]
        if found.next_cursor is None:
            break
        assert len(found.items) == 2
        given["cursor"] = found.next_cursor
    assert shown == [job(number)["id"] for number in sorted([*kept[0], *kept[1]], reverse=True)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--failed", "--status", "failed"],
        ["--watch", "--cursor", "0199a0c0-0001-7000-8000-000000000001"],
        ["--watch", "--until", "2h"],
        ["--follow", "--watch"],
        ["--follow", "--failed"],
        ["--follow", "--status", "failed"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_refused(asking: Here, arguments: list[str]) -> None:
    assert "takes no" in (said := failed(asking("jobs", *arguments), 2)) or "goes with no" in said


@pytest.mark.parametrize("status", ["processing", "completed"])
def test_a_job_that_goes_on_says_how_it_is_followed(
    asking: Here, controller: StubController, status: str
) -> None:
    shown = job(1, status)
    controller.answers[f"GET /job/{shown['id']}"] = Answer(shown)
    said = asking("job", shown["id"]).stderr
    follow = "goes on: towline job follow 000000000001 shows it\n"
    assert said == (follow if status == "processing" else "")


@pytest.mark.parametrize("form", [["-q"], ["-o", "name"], ["-o", "yaml"]], ids=" ".join)
@pytest.mark.parametrize("command", [["job", "list", "--follow"], ["job", "follow", "1"]], ids=str)
def test_what_is_followed_is_refused_in_a_form_that_it_has_not(
    asking: Here, command: list[str], form: list[str]
) -> None:
    said = failed(asking(*command, *form), 2)
    assert "is shown in words, or with -o json" in said


CANCEL = f"POST /job/{job(1)['id']}/cancel"


def test_a_cancel_whose_answer_is_lost_is_sent_again(
    asking: Here, controller: StubController
) -> None:
    rows = [{"hostname": "web-1", "status": "cancelled"}]
    stopped = {"job_id": job(1)["id"], "status": "failed", "results": rows}
    controller.answers[CANCEL] = [Answer("{", 200, length=9), Answer(stopped)]
    done = asking("cancel", job(1)["id"])
    assert (done.status, "asking again" in done.stderr) == (0, True)


def test_a_cancel_that_is_never_answered_says_what_is_not_known(
    asking: Here, controller: StubController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towline.cli.jobs.patiently", lambda ask, note, doubt: ask())
    controller.answers[CANCEL] = Answer("{", 200, length=9)
    done = asking("cancel", job(1)["id"])
    assert done.status == 5
    assert f"it is not known whether job {job(1)['id']} was stopped" in done.stderr
