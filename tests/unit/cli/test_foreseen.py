"""Dry runs as they are printed: a sum, what is worth a row, and each reason once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.testing.screens import compare
from tests.unit.cli.conftest import Here
from tests.unit.cli.made_results import DIGEST, NO_ENGINE, OTHER, machine
from tests.unit.stub import Answer, StubController

REFUSED = "manifest unknown: manifest tagged by 1.27 is not found"
AWAY = "not reachable since 2030-01-31T12:00:00Z"


def node(number: int, status: str = "would_run", **more: Any) -> dict[str, Any]:
    named = {"hostname": f"web-{number:03}", "machine_id": machine(number), "status": status}
    return named | more


def plan(number: int, *, changed: bool = True, digest: str = DIGEST) -> dict[str, Any]:
    free = {"free": (number + 2) << 30, "kept": 1 << 30, "disk": "/var/lib/docker"}
    return node(number, plan={"digest": digest, "changed": changed, **free})


FEW = [
    plan(1),
    node(2, "would_fail", reason=REFUSED, plan={}),
    plan(3, changed=False),
    node(4, "skipped", reason=NO_ENGINE),
]
MANY = [
    *(plan(number, changed=number >= 20) for number in range(250)),
    *(node(number, not_told="no answer within 5 seconds") for number in range(250, 280)),
    plan(280, digest=OTHER),
    *(node(number, "would_fail", reason=REFUSED) for number in range(281, 298)),
    *(node(number, "pending", reason=AWAY) for number in (298, 299)),
]
DRY: dict[str, Any] = {
    **{"dry_run": True, "operation": "docker.pull.execute", "target": "_all", "nodes": {}},
    "expires": "2030-01-02T09:00:00Z",
}
ASKED = ["pull", "nginx:1.27", "--on", "_all", "--dry-run"]


def foresee(controller: StubController, nodes: list[dict[str, Any]], **more: Any) -> None:
    found = Answer({**DRY, "results": nodes, **more})
    controller.answers["POST /node/_all/container/docker/pull"] = found


@pytest.mark.parametrize(
    ("name", "nodes"),
    [("one", [plan(1)]), ("one-failing", [FEW[1]]), ("few", FEW), ("many", MANY)],
    ids=["one", "one-failing", "few", "many"],
)
def test_what_a_pull_would_come_to(
    asking: Here, controller: StubController, name: str, nodes: list[dict[str, Any]]
) -> None:
    foresee(controller, nodes)
    compare(f"dry-run-{name}", lambda width: asking(*ASKED, columns=width).stdout)


def test_what_many_nodes_foresee_alike_is_said_once_and_a_row_is_for_what_differs(
    asking: Here, controller: StubController
) -> None:
    foresee(controller, MANY)
    lines = asking(*ASKED).stdout.splitlines()
    assert lines[0] == (
        "dry run: 281 would run (231 would change), 17 would fail, 2 pending · sha256:11fa8c2b41d0"
    )
    assert [line.strip() for line in lines].count(REFUSED) == 1
    assert [line.split()[0] for line in lines if "sha256:99aa00bb11cc" in line] == ["web-280"]
    assert len(lines) < 15
    everything = asking(*ASKED, "--all-nodes").stdout.splitlines()
    assert sum(line.startswith("web-") for line in everything) == len(MANY)


def test_a_job_that_was_made_already_is_named(asking: Here, controller: StubController) -> None:
    job = "0199aaaa-0000-7000-8000-000000000000"
    foresee(controller, FEW, made=job)
    assert f"job {job} was made already" in asking(*ASKED).stdout.splitlines()
