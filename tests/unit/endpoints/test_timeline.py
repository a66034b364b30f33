"""The timeline of a job, as the API and the command line show it."""

from __future__ import annotations

from tests.testing.jobs import a_decision, a_job, planned
from towline.controller.jobs.state import JobState
from towline.endpoints import views
from towline.wire.event import COMPLETED, LEAVE, RELEASED, STARTED, Event
from towline.wire.job import Job, PlannedNode
from towline.wire.rollout import Waves

BEGAN = 1_700_001_000.0
JOB = a_job(BEGAN)


def moments(*events: Event, job: Job = JOB) -> list[tuple[str, str]]:
    """Return what each moment of a job with these events is, and where."""
    timeline = views.job(JobState(job), list(events)).timeline or []
    times = [moment.timestamp for moment in timeline]
    assert times == sorted(times)
    return [(moment.event, moment.hostname or "") for moment in timeline]


def of(hostname: str, kind: str, time: float, started: float | None = None) -> Event:
    return Event(JOB.id, f"m-{hostname}", hostname, kind, time, started=started)


def test_a_start_that_came_with_its_end_stands_where_it_belongs() -> None:
    # Both began at once; the journal has the end of the first before anything of the second.
    assert moments(
        of("a", COMPLETED, BEGAN + 3, BEGAN + 1), of("b", COMPLETED, BEGAN + 4, BEGAN + 2)
    ) == [
        ("submitted", JOB.target),
        ("started", "a"),
        ("started", "b"),
        ("completed", "a"),
        ("completed", "b"),
    ]


def test_what_the_journal_got_late_stands_where_it_belongs() -> None:
    late = of("a", STARTED, BEGAN + 1)
    assert moments(of("b", STARTED, BEGAN + 2), of("b", COMPLETED, BEGAN + 3, BEGAN + 2), late) == [
        ("submitted", JOB.target),
        ("started", "a"),
        ("started", "b"),
        ("completed", "b"),
    ]


def test_moments_of_the_same_time_stay_in_the_order_of_the_journal() -> None:
    assert moments(of("a", COMPLETED, BEGAN, BEGAN), of("b", STARTED, BEGAN)) == [
        ("submitted", JOB.target),
        ("started", "a"),
        ("completed", "a"),
        ("started", "b"),
    ]


def test_the_leave_of_nodes_is_shown_as_their_start_and_only_once() -> None:
    leave = a_decision(JOB, LEAVE, "ab")
    again = Event(JOB.id, "a", "host-a", STARTED, BEGAN + 2)
    assert moments(leave, again) == [
        ("submitted", JOB.target),
        ("started", "host-a"),
        ("started", "host-b"),
    ]


def test_the_first_turns_of_a_plan_are_shown_where_nodes_have_theirs_in_order() -> None:
    plan = [*planned("a", "leads"), *planned("b", "waits")]
    leads = a_job(BEGAN, plan=plan, leads=True)
    assert moments(job=leads) == [("submitted", "_all"), ("resolving", "")]
    waves = a_job(BEGAN, plan=[*planned("a"), *planned("b", "waits")], waves=Waves("1"))
    assert moments(job=waves) == [("submitted", "_all"), (RELEASED, "")]
    assert moments(job=a_job(BEGAN, machines="ab")) == [("submitted", "_all")]


def test_machines_of_the_same_name_are_told_apart() -> None:
    names = {"a": "web", "b": "web", "c": "db"}
    plan = [PlannedNode(machine, name, "turn") for machine, name in names.items()]
    job = a_job(BEGAN, "abc", plan=plan)
    events = [Event(job.id, machine, name, STARTED, BEGAN + 1) for machine, name in names.items()]
    timeline = views.job(JobState(job), events).timeline or []
    assert [(each.hostname, each.machine_id) for each in timeline[1:]] == [
        *(("web", "a"), ("web", "b"), ("db", None))
    ]
