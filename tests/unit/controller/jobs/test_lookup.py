"""Jobs are found by their short ids, by whoever may see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from tests.testing.jobs import LONG_AGO, Fold, a_job
from towline.controller.auth import Caller, narrowed
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.lookup import MOST_NAMED, Lookup
from towline.errors import Forbidden, InvalidRequest, NotFound
from towline.wire.job import Job

ALONE, TWICE = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def caller(subject: str, *permissions: str) -> Caller:
    plain = frozenset(each for each in permissions if "@" not in each)
    return Caller(subject, [], plain, 0.0, narrowed(permissions))


ANN = caller("ann")
READER = caller("reader", "job:read")
NARROW = caller("narrow", "job:read@group:db")


class Folded:
    """Takes the place of an indexer that has folded all there is."""

    def __init__(self) -> None:
        self.asked = 0

    async def catch_up(self) -> None:
        self.asked += 1


class Jobs:
    def __init__(self, index: Index) -> None:
        self.indexer = Folded()
        self.lookup = Lookup(index, cast("Any", self.indexer), Fleet(), cast("Any", None))
        self._fold = Fold(index)

    def make(self, short: str, by: str, at: float) -> Job:
        job = a_job(LONG_AGO + at)
        job = msgspec.structs.replace(job, id=f"{job.id[:24]}{short}", caller=by)
        self._fold.job(job)
        return job


def _never(job_id: str) -> None:
    pytest.fail(f"plan and events of job {job_id} are read")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Index(tmp_path / "index.sqlite") as index:
        yield Jobs(index)


@pytest.mark.parametrize("form", [str.lower, str.upper])
async def test_a_job_is_found_by_its_id_and_its_short_id(jobs: Jobs, form: Any) -> None:
    job = jobs.make(ALONE, "ann", 1)
    jobs.make(TWICE, "ann", 2)
    for name in (job.id, ALONE):
        state, _ = await jobs.lookup.named(form(name), READER)
        assert state.job.id == job.id


async def test_of_a_short_id_that_no_job_has_the_journal_is_asked_first(jobs: Jobs) -> None:
    with pytest.raises(NotFound, match=f"There is no job {ALONE}"):
        await jobs.lookup.named(ALONE, READER)
    assert jobs.indexer.asked


async def test_several_of_a_short_id_are_named_to_whoever_may_see_them(jobs: Jobs) -> None:
    made = [jobs.make(TWICE, by, at) for at, by in enumerate(("ann", "bob", "ann"))]
    with pytest.raises(InvalidRequest, match="short id of 3 jobs") as refused:
        await jobs.lookup.named(TWICE, READER)
    assert all(job.id in refused.value.details for job in made)
    with pytest.raises(InvalidRequest, match="short id of 2 jobs") as refused:
        await jobs.lookup.named(TWICE, ANN)
    assert made[1].id not in refused.value.details


async def test_of_a_short_id_that_many_jobs_have_none_is_looked_at(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(MOST_NAMED + 1):
        jobs.make(TWICE, "ann", at)
    jobs.make(ALONE, "ann", 100)
    monkeypatch.setattr(jobs.lookup, "state", _never)
    for who in (ANN, READER, NARROW):
        with pytest.raises(InvalidRequest, match="more than 5 jobs: name one by its whole id"):
            await jobs.lookup.named(TWICE, who)


async def test_the_plans_of_jobs_that_are_shown_wherever_they_are_for_are_not_read(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(MOST_NAMED):
        jobs.make(TWICE, "ann", at)
    monkeypatch.setattr(jobs.lookup, "state", _never)
    for who in (ANN, READER):
        with pytest.raises(InvalidRequest, match="short id of 5 jobs"):
            await jobs.lookup.named(TWICE, who)


async def test_jobs_of_others_do_not_stand_in_the_way_of_ones_own(jobs: Jobs) -> None:
    jobs.make(TWICE, "bob", 1)
    mine = jobs.make(TWICE, "ann", 2)
    state, _ = await jobs.lookup.named(TWICE, ANN)
    assert state.job.id == mine.id


@pytest.mark.parametrize("who", [NARROW, caller("nobody")])
@pytest.mark.parametrize("others", [1, 2])
async def test_jobs_that_nobody_is_shown_are_told_apart_as_little_as_by_whole_ids(
    jobs: Jobs, who: Caller, others: int
) -> None:
    for at in range(others):
        jobs.make(TWICE, "bob", at)
    state, _ = await jobs.lookup.named(TWICE, who)
    with pytest.raises(Forbidden):
        jobs.lookup.check(state, who.bounds("job:read"))
