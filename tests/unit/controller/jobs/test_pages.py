"""Pages of a list of jobs: where one ends, and whether there is another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.jobs import LONG_AGO, Fold, a_job
from towline.controller.jobs.index import Index
from towline.controller.jobs.lists import Filter, Listed, Lists

JOBS = 4


@pytest.fixture
def lists(tmp_path: Path) -> Iterator[Lists]:
    with Index(tmp_path / "index.sqlite") as index:
        fold = Fold(index)
        for number in range(1, JOBS + 1):
            fold.job(a_job(LONG_AGO + number))
        yield Lists(index)


def made(listed: Listed) -> int:
    """Return which of the jobs it is, by when it was made."""
    return round(listed.job.created - LONG_AGO)


@pytest.mark.parametrize("limit", range(1, JOBS + 2))
def test_a_page_names_a_next_one_only_where_there_is_one(lists: Lists, limit: int) -> None:
    seen: list[int] = []
    cursor = None
    while True:
        page, cursor = lists.page(Filter(), limit=limit, before=cursor)
        assert 0 < len(page) <= limit
        seen += [made(each) for each in page]
        assert (cursor is None) is (len(seen) == JOBS)
        if cursor is None:
            break
    assert seen == list(range(JOBS, 0, -1))


def test_a_page_by_offset_and_one_without_jobs_name_no_next_one(lists: Lists) -> None:
    page, cursor = lists.page(Filter(), limit=2, offset=2)
    assert ([made(each) for each in page], cursor) == ([2, 1], None)
    assert lists.page(Filter(caller="nobody"), limit=2) == ([], None)
