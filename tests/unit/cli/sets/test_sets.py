"""`towline set`: what is printed of sets on terminals of several widths, and how each is led."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.testing.screens import compare
from tests.unit.cli.conftest import Here
from tests.unit.cli.sets.made_sets import DIGEST, MOMENT, NGINX, OTHER, SET, a_set, an_image, nodes
from tests.unit.stub import Answer, StubController

AGE = "5 min"
"""Stands for a moment in what is compared: a text that is none is printed as it is."""
JOB = "0199c5a0-7d3e-7abc-8def-0123456789ab"
APP = "registry.example.org/team/app:1.4"
UNKNOWN = "manifest unknown: manifest tagged by 1.4 is not found"
CANARY = "web-01 failed, and it was the canary: no space left on device"
ROLLING: dict[str, Any] = a_set(
    an_image(next=OTHER, converged=38, missing=2, job=JOB),
    an_image(
        **{"image": APP, "platform": "linux/arm64", "converged": 30, "failed": 1, "unknown": 9},
        failures=[{"hostname": "web-07", "machine_id": "m7", "error": "no space left on device"}],
    ),
    **{"status": "reconciling", "window": "02:00-04:00 Europe/Berlin", "keep": 2},
    options={"canary": "1", "max_parallel": "10%"},
    changed_at=AGE,
)
SETS = [
    ROLLING,
    a_set(
        an_image(image=APP, current=None, unknown=3, problem=UNKNOWN),
        **{"name": "db", "status": "degraded", "target": "group:db,site:ber;db-*"},
        source="git.example.org/fleet",
        changed_at=AGE,
    ),
    a_set(
        *[an_image(image=f"redis:{n}", converged=4) for n in range(5)], name="cache", changed_at=AGE
    ),
    a_set(
        an_image(next=OTHER, stopped=CANARY, converged=11, failed=1),
        **{"name": "all", "target": "_all", "status": "degraded"},
        changed_at=AGE,
    ),
    a_set(
        an_image(missing=1),
        name="web-09",
        status="paused",
        paused_at=MOMENT,
        paused_by="ann",
        changed_at=AGE,
    ),
]
NODES: list[dict[str, Any]] = [
    {"state": "converged"},
    {
        "hostname": "web-02",
        "machine_id": "m2",
        "state": "missing",
        "reason": "not reachable since …",
    },
    {
        **{"hostname": "web-07", "machine_id": "m7", "state": "failed", "image": APP},
        **{"platform": "linux/arm64", "reason": f"tried again at {MOMENT}"},
        "error": "no space left on device",
    },
    {"hostname": "web-02", "machine_id": "m3", "state": "unknown", "digest": None},
]
CHANGES = [
    {"timestamp": AGE, "by": "ann", "what": "declared", "generation": 1},
    {"timestamp": AGE, "by": "set:group-web", "what": "resolved", "image": NGINX, "digest": DIGEST},
    {
        **{"timestamp": AGE, "by": "set:group-web", "what": "stopped", "image": NGINX},
        **{"digest": OTHER, "job": JOB, "reason": CANARY},
    },
    {"timestamp": AGE, "by": "ann", "what": "rolled_back", "image": NGINX, "digest": DIGEST},
]


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


@pytest.fixture
def there(controller: StubController) -> StubController:
    """A controller that has sets."""
    of_nodes = nodes(*NODES)
    of_nodes.body["nodes"] = plain(of_nodes.body["nodes"])
    controller.answers |= {
        "GET /set": Answer({"sets": SETS, "total": len(SETS)}),
        f"GET {SET}": Answer(ROLLING),
        f"GET {SET}/nodes": of_nodes,
        f"GET {SET}/history": Answer({"changes": CHANGES, "total": len(CHANGES)}),
    }
    return controller


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("set-list", ["set", "list"]),
        ("set-show", ["set", "show", "group-web"]),
        ("set-nodes", ["set", "nodes", "group-web"]),
        ("set-history", ["set", "history", "group-web"]),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_what_is_printed_fits_terminals_of_several_widths(
    asking: Here, there: StubController, name: str, arguments: list[str]
) -> None:
    def printed(width: int) -> str:
        done = asking(*arguments, columns=width)
        assert done.status == 0, done.stderr
        return done.stdout

    compare(name, printed)


def test_scripts_get_names_and_documents(asking: Here, there: StubController) -> None:
    assert asking("sets", "-q").stdout.split() == ["group-web", "db", "cache", "all", "web-09"]
    assert json.loads(asking("set", "show", "group-web", "-o", "json").stdout)["keep"] == 2
    assert asking("set", "nodes", "group-web", "-q").stdout.split() == [
        "web-01",
        "m2",
        "web-07",
        "m3",
    ]
    assert asking("set", "history", "group-web", "-q").stdout.split() == [JOB]


def test_all_pages_of_nodes_are_asked_for(asking: Here, there: StubController) -> None:
    there.answers[f"GET {SET}/nodes"] = [
        nodes({"state": "failed"}, cursor="c1"),
        nodes({"state": "failed", "hostname": "web-02", "machine_id": "m2"}),
    ]
    found = asking("set", "nodes", "group-web", "--state", "failed", "-q")
    assert found.stdout.split() == ["web-01", "web-02"]
    assert "state=failed" in there.asked[0].query
    assert "cursor=c1" in there.asked[1].query


@pytest.mark.parametrize(
    ("arguments", "request_", "words"),
    [
        (["rollback", "group-web"], "POST /set/group-web/rollback", "goes back"),
        (["pause", "group-web"], "POST /set/group-web/pause", "towline set resume group-web"),
        (["resume", "group-web"], "POST /set/group-web/resume", "goes on"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else None,
)
def test_a_set_is_steered(
    asking: Here, there: StubController, arguments: list[str], request_: str, words: str
) -> None:
    there.answers[request_] = Answer(ROLLING)
    done = asking("set", *arguments)
    assert (done.status, done.stderr) == (0, "")
    assert words in done.stdout


def test_a_rollback_may_be_of_one_image(asking: Here, there: StubController) -> None:
    there.answers["POST /set/group-web/rollback"] = Answer(ROLLING)
    assert asking("set", "rollback", "group-web", "--image", "nginx:1.27").status == 0
    assert "image=nginx" in there.asked[-1].query


def test_sets_are_removed_and_their_images_stay(asking: Here, there: StubController) -> None:
    there.answers |= {"DELETE /set/db": Answer("", 204), "DELETE /set/all": Answer("", 204)}
    done = asking("set", "remove", "db", "all", "db")
    assert done.status == 0
    assert "its images stay" in done.stdout
    assert [each.path for each in there.asked] == ["/set/db", "/set/all"]


def test_a_set_that_is_gone_already_keeps_no_other_from_being_removed(
    asking: Here, there: StubController
) -> None:
    absent = {"error": "There is no set 'web'.", "details": "", "code": 404}
    there.answers |= {"DELETE /set/web": Answer(absent, 404), "DELETE /set/db": Answer("", 204)}
    done = asking("set", "remove", "web", "db", "-o", "json")
    assert (done.status, json.loads(done.stdout)) == (2, [{"name": "db"}])
    assert "There is no set 'web'." in done.stderr


def test_a_set_that_is_watched_shows_what_becomes_of_its_images(
    there: StubController, asking: Here
) -> None:
    done = {**ROLLING, "status": "converged", "images": [an_image(converged=4, image=NGINX)]}
    gone = {"error": "There is no set 'group-web'.", "details": "", "code": 404}
    there.answers[f"GET {SET}"] = [Answer(ROLLING), Answer(done), Answer(gone, 404)]
    shown = asking("set", "show", "group-web", "-w")
    assert shown.status == 2
    first, *_ = shown.stdout.splitlines()
    assert first.split()[:2] == ["STATUS", "IMAGE"]
    assert "converged  nginx:1.27" in shown.stdout
    assert "4 converged" in shown.stdout


def test_a_set_that_there_is_not_is_an_error_and_no_set_at_all_is_said(
    asking: Here, there: StubController
) -> None:
    there.answers["GET /set"] = Answer({"sets": [], "total": 0})
    assert "towline ensure IMAGE" in asking("set", "list").stderr
    there.answers["GET /set/x"] = Answer(
        {"error": "There is no set 'x'.", "details": "GET /set shows those", "code": 404}, 404
    )
    done = asking("set", "show", "x")
    assert done.status == 2
    assert "towline set list shows those" in done.stderr
