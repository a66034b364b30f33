"""What failed where, and when it is tried again."""

import itertools
from typing import Any

import msgspec

from tests.testing.jobs import a_decision, a_job, an_event
from tests.testing.sets import NAME, digest
from towline.controller.jobs.state import JobState
from towline.controller.moment import LocalClock
from towline.controller.sets.attempts import (
    LONGEST,
    MOST_ENDED,
    NOT_LISTED,
    SETTLES,
    SETTLES_UNHEARD,
    Attempts,
    Brings,
)
from towline.operations.docker import pull
from towline.wire.event import COMPLETED, EXPIRED, FAILED, SKIPPED, WITHHELD, Lead, NamedNode
from towline.wire.job import Job

ONE = digest(1)
WHAT = Brings("set:web", NAME, "", ONE)


class Clocks:
    """Clocks that a test sets."""

    def __init__(self) -> None:
        self.ran, self.shows = 1000.0, 1_800_000_000.0
        self.local = LocalClock(lambda: self.ran, lambda: self.shows)

    def pass_by(self, seconds: float) -> None:
        self.ran += seconds
        self.shows += seconds


def of_a_set(machines: str = "ab", **more: object) -> Job:
    """Return a job of a set."""
    lead = Lead(ONE, "set:web", 1_700_000_000.0)
    fields: dict[str, Any] = {
        "operation": pull.name,
        "parameters": {"image": NAME},
        "caller": "set:web",
    }
    return a_job(machines=machines, **{**fields, "lead": lead, **more})


def attempts(job: Job) -> tuple[Attempts, Clocks]:
    clocks = Clocks()
    found = Attempts(clocks.local)
    found.turned(JobState(job))
    return found, clocks


def test_what_fails_is_tried_again_after_pauses_that_double_up_to_an_hour() -> None:
    job = of_a_set()
    found, clocks = attempts(job)
    pauses = []
    for _ in range(12):
        assert found.folded(an_event(job, FAILED, error="no space left")) == {"a"}
        attempt = found.of(WHAT, "a")
        assert attempt is not None
        pauses.append(attempt.until - clocks.shows)
        clocks.pass_by(pauses[-1])
    assert 7 <= pauses[0] <= 14
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses[:8]))
    assert all(0.7 * LONGEST <= pause <= 1.35 * LONGEST for pause in pauses[-3:])
    assert attempt is not None
    assert attempt.error == "no space left"
    assert found.of(WHAT, "b") is None


def test_after_a_success_the_next_failure_is_the_first() -> None:
    job = of_a_set()
    found, _ = attempts(job)
    for _ in range(5):
        found.folded(an_event(job, FAILED, error="no space left"))
    found.succeeded(WHAT, "a")
    assert found.of(WHAT, "a") is None
    found.folded(an_event(job, FAILED, error="no space left"))
    attempt = found.of(WHAT, "a")
    assert attempt is not None
    assert attempt.times == 1


def test_what_ended_well_counts_as_failed_once_the_inventory_had_its_time() -> None:
    job = of_a_set()
    found, clocks = attempts(job)
    found.folded(an_event(job, COMPLETED, data={}))
    attempt = found.of(WHAT, "a")
    assert attempt is not None
    assert attempt.error == NOT_LISTED
    assert clocks.shows < attempt.settles <= attempt.until < attempt.settles + 1
    # It may have been there and gone again. Twice in a row is a failure like any other.
    found.folded(an_event(job, COMPLETED, data={}))
    attempt = found.of(WHAT, "a")
    assert attempt is not None
    assert attempt.until > attempt.settles + 10


def test_only_once_the_node_has_said_what_it_has_is_what_ended_well_missing_for_good() -> None:
    job = of_a_set()
    found, clocks = attempts(job)
    ended = clocks.shows
    found.folded(an_event(job, COMPLETED, data={}))
    clocks.pass_by(3.0)
    # Its engine is busy: what it had before is all that is known.
    assert settles(found) == ended + SETTLES_UNHEARD
    found.heard("b")
    assert settles(found) == ended + SETTLES_UNHEARD
    found.heard("a")
    heard = clocks.shows
    assert settles(found) == heard + SETTLES
    clocks.pass_by(1.0)
    found.heard("a")
    assert settles(found) == heard + SETTLES
    attempt = found.of(WHAT, "a")
    assert attempt is not None
    assert attempt.settles <= attempt.until < attempt.settles + 1


def test_what_a_node_says_late_makes_no_time_longer_and_is_nothing_to_what_failed() -> None:
    job = of_a_set()
    found, clocks = attempts(job)
    ended = clocks.shows
    found.folded(an_event(job, COMPLETED, data={}))
    found.folded(an_event(job, FAILED, "b", error="no space left"))
    failed = found.of(WHAT, "b")
    clocks.pass_by(SETTLES_UNHEARD - 1)
    found.heard("a")
    found.heard("b")
    assert settles(found) == ended + SETTLES_UNHEARD
    assert found.of(WHAT, "b") == failed


def settles(found: Attempts) -> float:
    attempt = found.of(WHAT, "a")
    assert attempt is not None
    return attempt.settles


def test_no_change_of_the_clock_moves_a_pause() -> None:
    job = of_a_set()
    found, clocks = attempts(job)
    found.folded(an_event(job, FAILED, error="no space left"))
    before = found.of(WHAT, "a")
    clocks.shows -= 86400
    after = found.of(WHAT, "a")
    assert before is not None
    assert after is not None
    assert round(before.until - after.until) == 86400


def test_who_was_cancelled_or_had_gone_has_not_failed_and_who_skips_it_has() -> None:
    job = of_a_set("abcde")
    found, _ = attempts(job)
    ends = [("a", "cancelled"), ("b", "expired"), ("c", "failed")]
    nodes = [NamedNode(machine, machine, "why", status) for machine, status in ends]
    assert found.folded(a_decision(job, WITHHELD, nodes=nodes)) == {"c"}
    assert found.folded(an_event(job, EXPIRED, "d")) == set()
    assert found.folded(an_event(job, SKIPPED, "e")) == {"e"}


def test_jobs_of_others_are_nobodys_attempts() -> None:
    for other in ({"caller": "ci"}, {"operation": "node.load.get"}):
        job = of_a_set(**other)
        found, _ = attempts(job)
        assert not found.knows(job.id)
        assert found.folded(an_event(job, FAILED, error="no space left")) == set()


def test_what_is_wanted_no_more_is_forgotten_and_all_of_a_set_that_is_declared_anew() -> None:
    job = of_a_set()
    found, _ = attempts(job)
    found.folded(an_event(job, FAILED, error="no space left"))
    found.anew("set:other")
    found.forget({WHAT}.__contains__)
    assert found.of(WHAT, "a") is not None
    found.folded(an_event(job, COMPLETED, "b", data={}))
    found.anew("set:web")
    assert found.of(WHAT, "a") is None
    # It may have been there all the time.
    assert found.of(WHAT, "b") is not None
    found.forget(set[Brings]().__contains__)
    assert found.of(WHAT, "b") is None


def test_only_so_many_jobs_are_remembered() -> None:
    found = Attempts(Clocks().local)
    jobs = [of_a_set("") for _ in range(MOST_ENDED + 1)]
    for job in jobs:
        state = JobState(msgspec.structs.replace(job, plan=[]))
        state.apply(a_decision(job, "cancelling", data={"caller": "ann"}))
        found.turned(state)
    assert not found.knows(jobs[0].id)
    assert found.knows(jobs[-1].id)
