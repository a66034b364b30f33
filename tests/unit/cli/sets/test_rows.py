"""What nodes are against an image of a set is said as of a job, and who is waited for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.cli.sets.made_sets import AGENT, DIGEST, MOMENT, OTHER, a_set, an_image, nodes
from towline.cli.sets.rows import AWAY, WINDOW, Against
from towline.cli.watch import awaited_row
from towline.client import AgentView
from towline.endpoints.set_views import SetNode, SetView

LATER = "2026-01-01T00:00:10Z"
HAS, LACKS = {"state": "converged"}, {"state": "missing"}
ROLLING = {"next": OTHER, "job": "0199c5a0-7d3e-7abc-8def-000000000001"}
SHUT = {"window": "02:00-04:00 UTC"}


def row(
    node: dict[str, Any],
    image: dict[str, Any],
    of_set: dict[str, Any],
    member: dict[str, Any] | None,
) -> dict[str, Any]:
    found = msgspec.convert(a_set(an_image(**image), **of_set), SetView)
    (given,) = nodes(node).body["nodes"]
    fleet = None
    if member is not None:
        fleet = {"m1": msgspec.convert({**AGENT, **member}, AgentView)}
    against = Against(found, found.images[0], fleet, window=False)
    return against.row(msgspec.convert(given, SetNode))


@pytest.mark.parametrize(
    ("node", "image", "of_set", "member", "status", "why"),
    [
        (HAS, {}, {}, {}, "ok", None),
        (LACKS, {}, {}, {}, "pending", None),
        ({**LACKS, "job": ROLLING["job"]}, {}, {}, None, "running", None),
        # What the tag names is looked up anew when another thing is declared.
        (HAS, {}, {"changed_at": LATER}, {}, "pending", None),
        (HAS, {"checked_at": LATER}, {"changed_at": MOMENT}, {}, "ok", None),
        ({**HAS, "here": False}, {}, {"changed_at": LATER}, {}, "ok", None),
        (
            HAS,
            {"image": f"docker.io/library/nginx@{DIGEST}"},
            {"changed_at": LATER},
            {},
            "ok",
            None,
        ),
        # The rollout has not reached it, or has.
        (HAS, ROLLING, {}, {}, "running", None),
        ({**HAS, "digest": OTHER}, ROLLING, {}, {}, "ok", None),
        ({**HAS, "here": False}, ROLLING, {}, {}, "pending", AWAY),
        (HAS, {"next": OTHER, "stopped": "no"}, {}, {}, "cancelled", "no"),
        (HAS, {"next": OTHER}, SHUT, {}, "pending", WINDOW),
        (HAS, ROLLING, SHUT, {}, "running", None),
        (LACKS, {"next": OTHER, "current": None}, SHUT, {}, "pending", None),
        # Nobody waits for whom nothing can be brought to.
        ({**LACKS, "here": False, "reason": "gone"}, {}, {}, {}, "pending", "gone"),
        ({**LACKS, "reason": "drained"}, {}, {}, {"drained_at": MOMENT}, "skipped", "drained"),
        (LACKS, ROLLING, {}, {"troubles": {"docker": "refused"}}, "pending", "refused"),
        # A tag that names nothing.
        ({"state": "unknown"}, {"current": None, "problem": "no"}, {}, {}, "failed", "no"),
        ({"state": "unknown", "here": False}, {"current": None}, {}, {}, "pending", AWAY),
        (HAS, {"problem": "away"}, {"changed_at": LATER}, {}, "ok", None),
    ],
)
def test_each_way_in_which_a_node_stands_is_one_of_a_jobs_and_is_waited_for_without_a_reason(
    node: dict[str, Any],
    image: dict[str, Any],
    of_set: dict[str, Any],
    member: dict[str, Any] | None,
    status: str,
    why: str | None,
) -> None:
    found = row(node, image, of_set, member)
    assert (found["status"], found.get("reason") or found.get("error")) == (status, why)
    assert awaited_row(found) is (status in ("pending", "running") and why is None)
