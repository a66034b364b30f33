"""The timeline of a job, as the API and the command line show it."""

from __future__ import annotations

from typing import Any

from tests.testing.jobs import a_job
from towline.controller.http import views
from towline.controller.jobs.state import JobState
from towline.wire.event import COMPLETED, STARTED, Event

JOB = a_job(1_000.0)


def moments(*events: Event) -> list[tuple[str, str]]:
    """Return what each moment of a job with these events is, and where."""
    timeline: list[dict[str, Any]] = views.job(JobState(JOB), list(events))["timeline"]
    assert [moment["timestamp"] for moment in timeline] == sorted(
        moment["timestamp"] for moment in timeline
    )
    return [(moment["event"], moment["hostname"]) for moment in timeline]


def of(hostname: str, kind: str, time: float, started: float | None = None) -> Event:
    return Event(JOB.id, f"m-{hostname}", hostname, kind, time, started=started)


def test_a_start_that_came_with_its_end_stands_where_it_belongs() -> None:
    # Both began at once; the journal has the end of the first before anything of the second.
    assert moments(of("a", COMPLETED, 1_003.0, 1_001.0), of("b", COMPLETED, 1_004.0, 1_002.0)) == [
        ("submitted", JOB.target),
        ("started", "a"),
        ("started", "b"),
        ("completed", "a"),
        ("completed", "b"),
    ]


def test_what_the_journal_got_late_stands_where_it_belongs() -> None:
    late = of("a", STARTED, 1_001.0)
    assert moments(of("b", STARTED, 1_002.0), of("b", COMPLETED, 1_003.0, 1_002.0), late) == [
        ("submitted", JOB.target),
        ("started", "a"),
        ("started", "b"),
        ("completed", "b"),
    ]


def test_moments_of_the_same_time_stay_in_the_order_of_the_journal() -> None:
    assert moments(of("a", COMPLETED, 1_000.0, 1_000.0), of("b", STARTED, 1_000.0)) == [
        ("submitted", JOB.target),
        ("started", "a"),
        ("completed", "a"),
        ("started", "b"),
    ]
