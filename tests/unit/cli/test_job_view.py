"""What is printed of one job, with its results and its timeline."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.testing import screens
from tests.unit.cli.made_results import DIGEST, FEW, MIXED, TWINS, UNKNOWN
from tests.unit.cli.test_results import Sized
from towline.cli.form import Form
from towline.cli.job_view import job_lines
from towline.cli.tables import text_width
from towline.client import JobView

NOW = 1_893_456_000.0
"""2030-01-01T00:00:00Z"""


def moment(seconds: float, event: str, hostname: str | None = None, **more: str) -> dict[str, Any]:
    at = f"2029-12-31T22:00:{seconds:06.3f}Z"
    return {"timestamp": at, "event": event, "hostname": hostname, **more}


def a_job(rows: list[dict[str, Any]], timeline: list[dict[str, Any]]) -> JobView:
    return msgspec.convert(
        {
            "id": "0199c5a0-7d3e-7abc-8def-0123456789ab",
            **{"status": "partial_failure", "created": "2029-12-31T22:00:00.000Z"},
            **{"updated_at": "2029-12-31T22:00:27.300Z", "expires": "2030-01-01T22:00:00Z"},
            "operation": {
                "type": "docker.pull.execute",
                "data": {"image": "registry.example.org/team/app:1.27", "retries": 0},
            },
            **{"target": "group:web,!rack:r3", "caller": "alice"},
            "resolved": {
                **{"digest": DIGEST, "resolver": "web-001"},
                "timestamp": "2029-12-31T22:00:00.100Z",
            },
            **{"results": rows, "timeline": timeline},
        },
        JobView,
    )


SMALL = a_job(
    FEW,
    [
        moment(0, "submitted"),
        moment(0.1, "resolved", "web-001", message=f"{DIGEST} by web-001"),
        moment(0.4, "started", "web-001"),
        moment(1.2, "failed", "web-003", error=UNKNOWN),
        moment(27.3, "completed", "web-001"),
    ],
)


def test_a_job_is_shown_on_a_terminal_of_each_width() -> None:
    screens.compare("job", lambda width: "\n".join(job_lines(SMALL, Sized(columns=width), now=NOW)))


@pytest.mark.parametrize("width", [40, 57, 80, 140])
def test_no_line_of_it_is_wider_than_the_terminal(width: int) -> None:
    lines = job_lines(SMALL, Sized(columns=width), now=NOW)
    assert max(map(text_width, lines)) <= width


def test_of_many_nodes_the_timeline_is_that_of_the_job_and_of_what_failed() -> None:
    timeline = [moment(0, "submitted"), moment(1, "failed", "web-260", error=UNKNOWN)]
    timeline += [moment(1, "started", row["hostname"]) for row in MIXED]
    job = a_job(MIXED, timeline)
    *_, last = job_lines(job, Form(), now=NOW)
    assert last == f"{len(MIXED)} moments of single nodes: --all-nodes shows them"
    everything = job_lines(job, Form(all_nodes=True), now=NOW)
    assert sum("  started  " in line for line in everything) == len(MIXED)


def test_wide_has_moments_in_full() -> None:
    lines = job_lines(SMALL, Form("wide"), now=NOW)
    assert any(line.startswith("2029-12-31T22:00:00.400Z  started") for line in lines)
    assert "created    2029-12-31T22:00:00.000Z" in lines


def test_the_timeline_tells_machines_of_the_same_name_apart() -> None:
    alike = [moment(1, "started", "web", machine_id=each * 32) for each in "ab"]
    lines = job_lines(a_job(TWINS, alike), Form(), now=NOW)
    assert [line.split("  ")[2] for line in lines[-2:]] == [
        *("web (aaaaaaaaaaaa)", "web (bbbbbbbbbbbb)")
    ]
