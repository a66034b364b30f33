"""What is printed of the operations on images: what they take of disks, and what goes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.testing import screens
from tests.unit.cli.conftest import Here
from tests.unit.cli.made_results import DIGEST, OTHER, Row, listed
from tests.unit.cli.test_results import Sized
from tests.unit.stub import Answer, StubController
from towline.cli.form import Form
from towline.cli.results import result_lines
from towline.operation import AnyOperation
from towline.operations import image

HUB = "docker.io/library"
NOW = 1_767_400_000.0


def base(number: int, **more: Any) -> Row:
    of = {name: listed(f"web-{number:02}", 0)[name] for name in ("hostname", "machine_id")}
    return {**of, "status": "ok", "changed": False, **more}


def usage(number: int) -> Row:
    kinds = ("images", "containers", "volumes", "build cache")
    disk = [
        {"what": kind, "count": 7, "used": 3, "size": (each + 1) << 30, "reclaimable": each << 29}
        for each, kind in enumerate(kinds)
    ]
    return base(number, size=9 << 30, reclaimable=3 << 30, disk=disk)


def inspected(number: int) -> Row:
    return base(
        number,
        id=DIGEST,
        size=196_083_713,
        names=[f"{HUB}/nginx:1.27", f"{HUB}/nginx:latest"],
        digests=[f"{HUB}/nginx@{OTHER}"],
        platform="linux/amd64",
        created="2026-01-01T00:00:00Z",
        containers=["web", "web-old"],
        layers=[f"sha256:{each:02x}" + "0d" * 31 for each in range(3)],
        command=["nginx", "-g", "daemon off;"],
        ports=["80/tcp"],
        labels={"maintainer": "NGINX Docker Maintainers <docker-maint@nginx.com>"},
    )


def pruned(number: int, count: int) -> Row:
    images = [
        {
            **{"id": f"sha256:{each:02x}" + "0d" * 31, "frees": 1 << 28},
            **{"names": [f"{HUB}/nginx:1.2{each}"][: each % 2], "digests": []},
        }
        for each in range(count)
    ]
    kept = {"used": 3, "wanted": 1, "newest": 4, "young": 0}
    of = {"freed": count << 28, "count": count, "images": images, "kept": kept}
    return base(number, **of, truncated=False) | {"changed": count > 0}


def removed(number: int) -> Row:
    said = f"Untagged {HUB}/nginx:1.26, and removed the image."
    return base(number, message=said, id=DIGEST) | {"changed": True}


CASES: dict[str, tuple[list[Row], AnyOperation]] = {
    "usage": ([usage(1), usage(2)], image.usage),
    "inspect-one": ([inspected(1)], image.inspect),
    "inspect-few": ([inspected(1), inspected(2)], image.inspect),
    "prune-one": ([pruned(1, 4)], image.prune),
    "prune-few": ([pruned(1, 2), pruned(2, 3), pruned(3, 0)], image.prune),
    "prune-many": ([pruned(each, each % 9) for each in range(40)], image.prune),
    "remove-few": ([removed(1), removed(2)], image.remove),
}


@pytest.mark.parametrize("name", CASES)
def test_results_on_terminals_of_several_widths(name: str) -> None:
    rows, operation = CASES[name]

    def printed(width: int) -> str:
        form = Sized(columns=width)
        return "\n".join(result_lines(rows, operation, form, seconds=3.0, now=NOW))

    screens.compare(f"image-{name}", printed)


def test_what_pruning_has_freed_is_added_up() -> None:
    rows, operation = CASES["prune-many"]
    (line,) = result_lines(rows, operation, Form())
    assert line == "40 ok (35 changed) · 150 images · freed 37.5 GiB"


def test_a_dry_run_of_pruning_says_what_would_go_and_what_that_frees(
    asking: Here, controller: StubController
) -> None:
    nodes = []
    for each in CASES["prune-few"][0]:
        plan = {k: v for k, v in each.items() if k not in ("hostname", "machine_id", "status")}
        named = {"hostname": each["hostname"], "machine_id": each["machine_id"]}
        nodes.append({**named, "status": "would_run", "plan": plan})
    nodes.append({"hostname": "db-01", "machine_id": "d" * 32, "status": "skipped"})
    nodes[-1]["reason"] = "this node has no docker"
    found = {"dry_run": True, "operation": "image.prune.execute", "target": "_all", "nodes": {}}
    expires = {"expires": "2030-01-02T09:00:00Z"}
    route = f"{image.prune.method} /node/_all/{image.prune.path}"
    controller.answers[route] = Answer({**found, **expires, "results": nodes})
    asked = ["image", "prune", "--on", "_all", "--dry-run"]
    screens.compare("image-prune-dry", lambda width: asking(*asked, columns=width).stdout)
    first = asking(*asked).stdout.splitlines()[0]
    assert first == (
        "dry run: 3 would run (2 would change), 1 skipped · 5 images · 1.25 GiB would be freed"
    )
