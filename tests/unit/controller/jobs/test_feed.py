from pathlib import Path

import pytest

from tests.testing.jobs import a_job, add_event, add_job, an_event, begin
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.index import Index
from towline.wire.event import (
    STARTED,
)
from towline.wire.job import first_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def test_events_are_passed_on_from_a_place_in_the_journal(path: Path) -> None:
    job, other = a_job(1_000.0), a_job(2_000.0)
    with Index(path) as index:
        begin(index)
        add_job(index, job, 4)
        add_job(index, other, 6)
        for sequence, each in enumerate((job, job, other, other), 10):
            add_event(index, an_event(each, STARTED, str(sequence)), sequence)
        assert [number for number, _ in Feed(index).jobs_after(4, 9)] == [6]
        assert [number for number, _ in Feed(index).events_after(10, 2)] == [11, 12]
        assert [number for number, _ in Feed(index).events_after(0, 9, job_id=other.id)] == [12, 13]
        assert Feed(index).newest() == [6, 13]
        assert Feed(index).before(first_id(1_500.0)) == [5, 11]
        assert Feed(index).before(first_id(9_000.0)) == [6, 13]
        assert index.sequence(other.id) == 6
        assert index.job(job.id) == job
        assert index.job("none") is None
