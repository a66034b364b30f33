"""What the API calls the events of a job, and what it says of them."""

from typing import Any

import msgspec
import pytest

from towline.endpoints import views
from towline.wire.event import (
    CANCELLED,
    EXPIRED,
    FAILED,
    LED,
    NOBODY,
    RELEASED,
    SKIPPED,
    STARTED,
    STEP,
    WITHHELD,
    Event,
    Lead,
    NamedNode,
)

LEAD = Lead("sha256:0000", "web-01", 1.0)


def of_node(kind: str, **more: Any) -> Event:
    return Event("job", "machine", "web-01", kind, 1.0, **more)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (of_node(STARTED), "started"),
        (of_node(STEP, step="queued", waits="max_pulls"), "queued"),
        (of_node(STEP, step="dequeued"), "dequeued"),
        (of_node(STEP), "step"),
        # Not the node's to say: only a step has a name of its own.
        (of_node(STARTED, step="completed"), "started"),
        (of_node("resting"), "resting"),
        (Event("job", NOBODY, "", RELEASED, 1.0, leads=True, nodes=[]), "resolving"),
        (Event("job", NOBODY, "", RELEASED, 1.0, nodes=[]), "released"),
        (Event("job", NOBODY, "", LED, 1.0), "resolved"),
    ],
)
def test_the_api_calls_an_event_what_it_has_always_called_it(event: Event, name: str) -> None:
    assert views.kind(event) == name
    assert views.event(event).event == name


def test_a_step_is_shown_with_its_message() -> None:
    waiting = of_node(STEP, step="queued", waits="max_pulls", error="queued: 1 pull runs before it")
    assert msgspec.to_builtins(views.event(waiting)) == {
        "job_id": "job",
        "timestamp": "1970-01-01T00:00:01.000Z",
        "event": "queued",
        "hostname": "web-01",
        "reason": "queued: 1 pull runs before it",
        "machine_id": "machine",
    }


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (of_node(FAILED, error="why"), "error"),
        (of_node(SKIPPED, error="why"), "reason"),
        (of_node(CANCELLED, error="why"), "reason"),
        (of_node(EXPIRED, error="why"), "reason"),
        (of_node(STEP, step="queued", waits="max_pulls", error="why"), "reason"),
        (of_node(STEP, step="attempt", error="why"), "message"),
        (Event("job", NOBODY, "", WITHHELD, 1.0, error="why", nodes=[]), "reason"),
    ],
)
def test_only_what_failed_is_shown_as_an_error(event: Event, field: str) -> None:
    shown = msgspec.to_builtins(views.event(event))
    assert shown[field] == "why"
    assert [name for name in ("error", "reason") if name in shown and name != field] == []


def test_a_lead_is_shown_as_what_was_resolved_and_by_which_node() -> None:
    nodes = [NamedNode("a", "web-01")]
    turn = Event("job", NOBODY, "", RELEASED, 1.0, nodes=nodes, leads=True)
    found = Event(
        "job", NOBODY, "", LED, 1.0, data={"value": LEAD.value, "hostname": LEAD.hostname}
    )
    assert views.event(turn).message == "by web-01"
    assert views.event(found).message == "sha256:0000 by web-01"
    assert Lead.of(found) == LEAD
