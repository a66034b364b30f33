"""What `towline node list` says of nodes, and how it is asked for."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.testing.command import failed, rows
from tests.testing.screens import compare
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController
from towline.cli.nodes import Asked
from towline.client import Client
from towline.units import timestamp

MOMENT = "2026-01-01T00:00:00Z"
NODE: dict[str, Any] = {
    **{"hostname": "web-01", "machine_id": "m1", "status": "Ready", "state": "Ready"},
    **{"registered_at": MOMENT, "started_at": MOMENT, "last_heard": MOMENT, "version": "1"},
    **{"labels": {}, "facts": {}, "timeline": []},
}
DENIED = "permission denied while trying to connect to the Docker daemon socket at " * 3
FULL = {"type": "DiskPressure", "status": True, "last_transition_time": MOMENT, "reason": "97 %"}
SAID: list[tuple[dict[str, Any], tuple[str, str], str]] = [
    ({}, ("Ready", ""), ""),
    ({"state": "Cordoned", "drained_at": MOMENT}, ("Cordoned", ""), ""),
    (
        {"status": "NotReady", "state": "NotReady", "drained_at": MOMENT},
        ("NotReady", "drained"),
        "",
    ),
    ({"troubles": {"docker": DENIED}}, ("Ready", "docker does not work"), f"docker: {DENIED}"),
    ({"conditions": [FULL]}, ("Ready", "disk nearly full"), "disk nearly full (97 %)"),
    (
        {"dropped": 7},
        ("Ready", "7 of its messages dropped"),
        "7 of its messages dropped: it sends more than a node may",
    ),
    (
        {"refused": 2, "refusal": "too old"},
        ("Ready", "2 messages refused"),
        "2 messages refused: too old",
    ),
    (
        {"status": "NotReady", "revoked_at": MOMENT, "revoked_by": "ann"},
        ("Revoked", ""),
        f"revoked by ann at {MOMENT}",
    ),
    (
        {"second_agent_at": MOMENT},
        ("Ready", "a second agent has its identity"),
        f"a second agent has its identity, last seen {MOMENT}",
    ),
]


def answer(*nodes: dict[str, Any], **more: Any) -> Answer:
    return Answer({"agents": [{**NODE, **each} for each in nodes], "total": len(nodes), **more})


@pytest.mark.parametrize(("fields", "short", "whole"), SAID, ids=lambda each: str(each)[:30])
def test_a_list_says_in_a_few_words_what_is_the_matter_and_a_wide_one_all_of_it(
    asking: Here,
    controller: StubController,
    fields: dict[str, Any],
    short: tuple[str, str],
    whole: str,
) -> None:
    controller.answers["GET /agent"] = answer(fields)
    listed = asking("node", "list")
    assert (listed.status, listed.stderr) == (0, "")
    (row,) = rows(listed.stdout)
    assert (row["STATE"], row.get("TROUBLE", "")) == short
    assert whole.strip() in asking("node", "list", "-o", "wide").stdout


def test_nodes_of_one_name_are_told_apart_by_their_machine_ids(
    asking: Here, controller: StubController
) -> None:
    controller.answers["GET /agent"] = answer(
        {}, {"machine_id": "m2"}, {"hostname": "db-01", "machine_id": "m3"}
    )
    listed = rows(asking("nodes").stdout)
    assert [row["NODE"] for row in listed] == ["db-01", "web-01 (m1)", "web-01 (m2)"]
    assert asking("nodes", "-q").stdout.split() == ["db-01", "m1", "m2"]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], {"brief": "true"}),
        (["-o", "json"], {"brief": "false"}),
        (["--not-ready"], {"brief": "true", "status": "NotReady"}),
        (
            ["--label", "group:web", "--label", "site:ber"],
            {"brief": "true", "label": "group:web,site:ber"},
        ),
        (
            ["--target", "_all,!db-01", "--target", "x"],
            {"brief": "true", "target": "_all,!db-01;x"},
        ),
    ],
    ids=str,
)
def test_the_controller_chooses_the_nodes_that_are_asked_for(
    asking: Here, controller: StubController, arguments: list[str], asked: dict[str, str]
) -> None:
    controller.answers["GET /agent"] = answer()
    assert asking("node", "list", *arguments).status == 0
    assert dict(parse_qsl(controller.asked[-1].query)) == asked


def test_a_document_has_all_that_is_known(asking: Here, controller: StubController) -> None:
    controller.answers["GET /agent"] = answer({"facts": {"rack": "r3"}})
    (node,) = json.loads(asking("nodes", "-o", "json").stdout)
    assert node["facts"] == {"rack": "r3"}


def test_what_has_changed_takes_its_place_in_what_is_known(controller: StubController) -> None:
    client = Client(controller.url, "a.b.c")
    asked = Asked(client, brief=True)
    controller.answers["GET /agent"] = answer({}, {"machine_id": "m2"}, cursor="a-1")
    assert [node.machine_id for node in asked.again()] == ["m1", "m2"]
    assert asked.alike == {"web-01"}
    news = answer({"state": "Draining"}, cursor="a-2", changes=True, gone=["m2", "m9"])
    controller.answers["GET /agent"] = news
    (node,) = asked.again()
    assert (node.machine_id, node.state) == ("m1", "Draining")
    assert dict(parse_qsl(controller.asked[-1].query))["after"] == "a-1"
    # Another controller doesn't know what has changed, and answers all there is.
    controller.answers["GET /agent"] = answer({"machine_id": "m3"}, cursor="b-1")
    assert [node.machine_id for node in asked.again()] == ["m3"]


def test_a_list_for_ever_is_no_yaml(asking: Here, controller: StubController) -> None:
    controller.answers["GET /agent"] = answer()
    assert "a line for each change" in failed(asking("nodes", "-w", "-o", "yaml"), 2)


def test_a_list_of_nodes_on_terminals_of_several_widths(
    asking: Here, controller: StubController
) -> None:
    recently = timestamp(time.time() - 125)
    controller.answers["GET /agent"] = answer(
        {"labels": {"group": "web.dev.eu", "site": "ber", "rack": "r3"}, "last_heard": recently},
        {
            **{"hostname": "web-02", "machine_id": "0123456789abcdef"},
            "last_heard": recently,
            **{"labels": {"group": "web.prod"}, "troubles": {"docker": DENIED}},
        },
        {
            **{"hostname": "web-02", "machine_id": "fedcba9876543210"},
            "last_heard": recently,
            **{"status": "NotReady", "state": "NotReady", "drained_at": MOMENT},
        },
        {
            **{"hostname": "db-01.ber.example", "machine_id": "m3"},
            **{"conditions": [FULL], "last_heard": recently},
        },
    )

    def printed(width: int) -> str:
        return asking("node", "list", columns=width).stdout

    compare("node-list", printed)


WHOLE: dict[str, Any] = {
    "labels": {"group": "web.dev.eu", "site": "ber"},
    "os_info": {"distribution": "debian", "version": "12"},
    "uptime": "3d 4h 21m",
    "load_average": {"1min": 0.5, "5min": 1.25, "15min": 2.0},
    "memory": {"total": 16 << 30, "free": 12 << 30, "used": 4 << 30},
    "architecture": "x86_64",
    "kernel_version": "6.1.0-30-amd64",
    "cpu_count": 8,
    "interfaces": [{"name": "eth0", "ipv4": "192.0.2.2", "mac": "02:fc:00:00:00:01"}],
    "conditions": [FULL],
    "capabilities": ["docker", "node"],
    "troubles": {"docker": DENIED.strip()},
    "running": 0,
    "facts": {"hostname": "web-01", "custom": {"rack": "r3", "site": {"floor": 2}}},
    "timeline": [{"timestamp": MOMENT, "event": "drained", "message": "by ann"}],
    "invited_by": "ann",
}


def test_a_node_on_terminals_of_several_widths(asking: Here, controller: StubController) -> None:
    recently = timestamp(time.time() - 125)
    moments = {"last_heard": recently, "drained_at": recently, "state": "Cordoned"}
    timeline = [{**WHOLE["timeline"][0], "timestamp": recently}]
    found = {**NODE, **WHOLE, **moments, "timeline": timeline}
    controller.answers["GET /agent/web-01"] = Answer(found)
    compare("node-show", lambda width: asking("node", "show", "web-01", columns=width).stdout)
    assert json.loads(asking("nodes", "show", "web-01", "-o", "json").stdout)["memory"]
    assert asking("node", "show", "web-01", "-q").stdout == "web-01\n"


def test_a_list_without_a_node_says_so(asking: Here, controller: StubController) -> None:
    controller.answers["GET /agent"] = answer()
    assert asking("nodes").stderr == "no node is registered\n"
    assert asking("nodes", "--not-ready").stderr == "no node is one of these\n"
    assert asking("nodes", "-q").stderr == ""
