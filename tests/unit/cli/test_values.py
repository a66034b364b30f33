"""Commands that take several values: each is a job of its own, and all are checked first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.testing.command import failed
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController

ON = ["--on", "web-1"]
ROUTE = "POST /node/web-1/container/docker/pull"
JOB = "0199a0c0-0000-7000-8000-00000000000{}"


def pulled(number: int, status: str = "ok") -> Answer:
    known = {"image_id": "sha256:1", "size": 1, "changed": True} if status == "ok" else {}
    row = {"hostname": "web-1", "status": status, "reason": "not reachable since", **known}
    return Answer({"job_id": JOB.format(number), "results": [row]})


def images(controller: StubController) -> list[str]:
    return sorted(asked.body["image"] for asked in controller.asked if asked.method == "POST")


def test_each_image_is_a_job_of_its_own(asking: Here, controller: StubController) -> None:
    controller.answers[ROUTE] = pulled(1)
    done = asking("pull", "nginx", "redis", "nginx", *ON)
    assert done.status == 0
    assert images(controller) == ["nginx", "redis"]
    assert len({asked.headers["idempotency-key"] for asked in controller.asked}) == 2
    # Results one after the other, in the order in which they were asked for.
    assert done.stdout.index("nginx") < done.stdout.index("redis")


@pytest.mark.parametrize("stdin", [False, True])
def test_images_are_read_from_a_file(
    asking: Here, controller: StubController, tmp_path: Path, *, stdin: bool
) -> None:
    text = "\ufeff# those of the shop\nnginx:1.27\n\n  redis  # the cache\r\nnginx:1.27\n"
    path = tmp_path / "images.txt"
    path.write_text(text)
    controller.answers[ROUTE] = pulled(1)
    done = asking("pull", "busybox", "-f", "-" if stdin else path, *ON, stdin=text)
    assert done.status == 0
    assert images(controller) == ["busybox", "nginx:1.27", "redis"]


def test_what_programs_are_told_of_several_is_a_list_in_their_order(
    asking: Here, controller: StubController, tmp_path: Path
) -> None:
    controller.answers[ROUTE] = pulled(1)
    found = json.loads(asking("pull", "redis", "nginx", *ON, "-o", "json").stdout)
    assert [each["image"] for each in found] == ["redis", "nginx"]
    assert all(each["results"][0]["status"] == "ok" for each in found)
    # By how it is called, and not by how many there are.
    (tmp_path / "one").write_text("nginx")
    assert len(json.loads(asking("pull", "-f", tmp_path / "one", *ON, "-o", "json").stdout)) == 1
    assert "job_id" in json.loads(asking("pull", "nginx", *ON, "-o", "json").stdout)


def test_all_are_checked_before_anything_is_asked_for(
    asking: Here, controller: StubController, tmp_path: Path
) -> None:
    path = tmp_path / "images.txt"
    path.write_text("nginx\n# a comment\nBad Name\nNginx\n")
    said = failed(asking("pull", "-f", path, *ON))
    assert f"{path}, line 3: " in said
    assert f"{path}, line 4: " in said
    path.write_bytes(b"nginx\n\xff\n")
    assert f"{path}, line 2, is not UTF-8" in failed(asking("pull", "-f", path, *ON))
    path.write_text("# nothing\n")
    assert "There is no IMAGE in" in failed(asking("pull", "-f", path, *ON))
    assert "Missing argument 'IMAGE'" in failed(asking("pull", *ON))
    assert "no such file" in failed(asking("pull", "-f", tmp_path / "none", *ON)).lower()
    both = failed(asking("pull", "-f", "-", *ON, "--registry-user", "ann", stdin="nginx"))
    assert "can't be both" in both
    key = failed(asking("pull", "nginx", "redis", *ON, "--idempotency-key", "a"))
    assert "--idempotency-key is for one job" in key
    assert controller.asked == []


REFUSED = Answer({"error": "Not that one.", "details": "", "code": 403}, 403)


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([pulled(1), pulled(2)], 0),
        ([pulled(1), pulled(2, "failed")], 1),
        ([pulled(1), pulled(2, "skipped")], 1),
        ([pulled(1), REFUSED], 1),
        ([REFUSED, REFUSED], 2),
        ([pulled(1, "skipped"), pulled(2, "expired")], 3),
        ([pulled(1), pulled(2, "pending")], 4),
    ],
)
def test_one_exit_status_says_what_became_of_all(
    asking: Here, controller: StubController, answers: list[Answer], status: int
) -> None:
    controller.answers[ROUTE] = answers
    controller.answers["GET /job"] = REFUSED
    done = asking("pull", "nginx", "redis", *ON)
    assert done.status == status
    assert done.stderr.count("Not that one.") == (1 if REFUSED in answers else 0)


def test_nothing_more_is_asked_of_a_controller_that_is_not_there(
    asking: Here, controller: StubController
) -> None:
    away = {"error": "The broker is out of reach.", "details": "", "code": 500}
    controller.answers[ROUTE] = Answer(away, 500, headers={"Retry-After": "1"})
    names = [f"image-{number}" for number in range(100)]
    done = asking("pull", *names, *ON)
    assert done.status == 5
    assert len(controller.asked) < 50
    assert all(f"  {name}\n" in done.stderr for name in names)


DRY: dict[str, Any] = {
    "dry_run": True,
    "operation": "docker.pull.execute",
    "target": "_all",
    "expires": "2030-01-02T09:00:00Z",
    "nodes": {},
}


@pytest.mark.parametrize(
    ("foreseen", "status"),
    [
        (["would_run", "would_fail"], 0),
        (["could_run"], 0),
        (["would_fail", "skipped"], 1),
        (["skipped"], 3),
        (["pending", "skipped"], 4),
    ],
)
def test_a_dry_run_is_well_if_somebody_would_do_it(
    asking: Here, controller: StubController, foreseen: list[str], status: int
) -> None:
    rows = [
        {"hostname": f"web-{number}", "machine_id": str(number), "status": each, "reason": "so"}
        for number, each in enumerate(foreseen)
    ]
    rows[0]["plan"] = {"digest": "sha256:" + "1" * 64, "free": 2**30, "unresolved": "no answer"}  # type: ignore[assignment]
    controller.answers[ROUTE] = Answer(DRY | {"results": rows})
    done = asking("pull", "nginx", *ON, "--dry-run")
    assert (done.status, done.stderr) == (status, "")
    assert "so; no answer" in done.stdout
    assert "1.00 GiB" in done.stdout
    assert all(asked.query == "dry_run=true" for asked in controller.asked)
    plain = json.loads(asking("pull", "nginx", *ON, "--dry-run", "-o", "json").stdout)
    assert plain["results"][0]["status"] == foreseen[0]
    several = asking("pull", "nginx", "redis", *ON, "--dry-run", "-o", "json")
    assert [each["image"] for each in json.loads(several.stdout)] == ["nginx", "redis"]


def test_a_dry_run_of_a_retry_shows_what_that_would_come_to(
    asking: Here, controller: StubController
) -> None:
    plan = {"digest": "sha256:" + "1" * 64, "free": 2**30}
    row = {"hostname": "web-1", "machine_id": "1", "status": "would_run", "plan": plan}
    job = "0199aaaa-0000-7000-8000-000000000000"
    controller.answers[f"POST /job/{job}/retry"] = Answer(DRY | {"results": [row]})
    done = asking("job", "retry", job, "--dry-run", "--on", "web-1")
    assert (done.status, done.stderr) == (0, "")
    assert "1.00 GiB" in done.stdout
    plain = asking("job", "retry", job, "--dry-run", "-o", "json", "--idempotency-key", "k")
    assert json.loads(plain.stdout)["results"] == [row]
    first, second = controller.asked
    assert first.query == second.query == "dry_run=true"
    assert "idempotency-key" not in first.headers
    assert second.headers["idempotency-key"] == "k"
