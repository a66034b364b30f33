import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.jobs import LONG_AGO, Fold, a_job, an_event
from towline.controller.jobs.index import Index
from towline.controller.jobs.lists import Filter, Lists
from towline.wire.event import (
    COMPLETED,
    FAILED,
    STARTED,
)
from towline.wire.job import Job


class Sample:
    """Jobs of many kinds, in an index and in a list."""

    def __init__(self, index: Index) -> None:
        fold = Fold(index)
        self.index = index
        self.jobs: list[tuple[Job, str, str]] = []
        choose = random.Random(7)
        for sequence in range(1, 301):
            made = LONG_AGO + sequence
            job = msgspec.structs.replace(
                a_job(made, machine := choose.choice("ab")),
                operation=choose.choice(["docker.pull.execute", "node.load.get"]),
                target=choose.choice(["_all", "web-01"]),
                caller=choose.choice(["ann", "bob", "eve"]),
            )
            kind = choose.choice([STARTED, COMPLETED, FAILED])
            fold.job(job)
            fold.event(an_event(job, kind, machine))
            status = {STARTED: "processing", COMPLETED: "completed", FAILED: "failed"}[kind]
            self.jobs.insert(0, (job, machine, status))

    def wanted(self, wanted: Filter) -> list[str]:
        return [
            job.id
            for job, machine, status in self.jobs
            if wanted.status in (None, status)
            and wanted.operation in (None, job.operation)
            and wanted.target in (None, job.target)
            and wanted.caller in (None, job.caller)
            and wanted.machine in (None, machine)
            and (wanted.since is None or job.created >= wanted.since)
            and (wanted.until is None or job.created < wanted.until)
        ]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    with Index(tmp_path_factory.mktemp("sample") / "index.sqlite") as index:
        yield Sample(index)


def maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


@given(
    wanted=st.builds(
        Filter,
        status=maybe("processing", "completed", "failed", "submitted"),
        operation=maybe("docker.pull.execute", "node.load.get", "none"),
        target=maybe("_all", "web-01"),
        caller=maybe("ann", "bob"),
        machine=maybe("a", "z"),
        since=maybe(LONG_AGO + 100, LONG_AGO + 5000),
        until=maybe(LONG_AGO + 200, 0.0),
    ),
    limit=st.integers(1, 50),
)
def test_pages_hold_all_jobs_that_are_wanted_and_no_others(
    sample: Sample, wanted: Filter, limit: int
) -> None:
    expected = sample.wanted(wanted)
    assert Lists(sample.index).count(wanted) == len(expected)
    by_cursor: list[str] = []
    cursor = None
    while page := Lists(sample.index).jobs(wanted, limit=limit, before=cursor):
        by_cursor += [listed.job.id for listed in page]
        cursor = page[-1].job.id
    assert by_cursor == expected
    by_offset = [
        listed.job.id
        for offset in range(0, len(expected) + 1, limit)
        for listed in Lists(sample.index).jobs(wanted, limit=limit, offset=offset)
    ]
    assert by_offset == expected
