import tracemalloc
from pathlib import Path

from tests.testing.jobs import LONG_AGO, Fold, a_job, an_event
from towline.broker.journal import CHANGES, READS, place, sequence
from towline.controller.jobs.feed import LARGEST_BATCH, Feed
from towline.controller.jobs.index import Index
from towline.wire.event import COMPLETED, STARTED
from towline.wire.job import Job


def test_jobs_and_events_are_passed_on_from_a_place_in_the_journal(tmp_path: Path) -> None:
    job, other = a_job(), a_job(LONG_AGO + 1000)
    read = a_job(LONG_AGO + 500)
    with Index(tmp_path / "index.sqlite") as index:
        fold, feed = Fold(index), Feed(index)
        assert feed.newest() == [0, 0]
        fold.job(job)
        events = [an_event(job, STARTED), an_event(job, COMPLETED)]
        fold.event(events[0])
        fold.job(other)
        fold.event(events[1])
        ended = an_event(read, COMPLETED)
        fold.read(read, ended)
        assert feed.newest() == [place(4), place(2)]
        assert feed.after(CHANGES, 0, 9).entries == [
            *((place(1), job.order), (place(2), events[0])),
            *((place(3), other.order), (place(4), events[1])),
        ]
        assert feed.after(CHANGES, place(1), 2).entries == [
            (place(2), events[0]),
            (place(3), other.order),
        ]
        assert feed.after(CHANGES, 0, 9, job_id=job.id).entries == [
            (place(2), events[0]),
            (place(4), events[1]),
        ]
        assert feed.after(READS, 0, 9).entries == [(place(1), read.order), (place(2), ended)]
        # Before the first thing of any job that is not older.
        assert feed.before(LONG_AGO + 700) == [place(3) - 1, place(2)]
        fold.job(a_job(LONG_AGO + 800, id=a_job(LONG_AGO - 5000).id))
        assert feed.before(LONG_AGO + 750) == [place(3) - 1, place(2)]
        fold.job(a_job(LONG_AGO + 2000, id=a_job(LONG_AGO - 4000).id))
        assert feed.before(LONG_AGO + 1500) == [place(6) - 1, place(2)]
        assert feed.before(LONG_AGO + 9000) == [place(6), place(2)]
        assert feed.before(LONG_AGO - 9000) == [place(1) - 1, place(1) - 1]


def test_a_place_is_the_sequence_and_what_stands_behind_it_in_the_message() -> None:
    assert place(7) < place(7, 1) < place(7, 4095) < place(8)
    assert {sequence(place(7, within)) for within in (0, 1, 4095)} == {7}


def test_what_stands_behind_a_place_is_read_once_for_all_who_ask(tmp_path: Path) -> None:
    with Index(tmp_path / "index.sqlite") as index:
        fold, feed = Fold(index), Feed(index)
        fold.job(a_job())
        known = feed.after(CHANGES, 0, 9)
        assert feed.after(CHANGES, 0, 9) is known
        for step in range(3):
            job = a_job(LONG_AGO + step)
            fold.job(job)
            assert [found for _, found in feed.after(CHANGES, 0, 9).entries][-1] == job.order
        index.forget(LONG_AGO + 10**6, {})
        assert feed.after(CHANGES, 0, 9).entries == []


def test_whoever_reads_all_has_little_of_it_remembered(tmp_path: Path) -> None:
    with Index(tmp_path / "index.sqlite") as index:
        fold, feed = Fold(index), Feed(index)
        job = a_job()
        fold.job(job)
        for step in range(99):
            fold.event(an_event(job, COMPLETED, error=f"{step:8000}"))
        feed.newest()
        tracemalloc.start()
        for step in range(99):
            feed.after(CHANGES, place(step), 500)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 10 * 1024**2


def test_what_is_large_is_read_a_few_at_a_time_and_none_is_left_out(tmp_path: Path) -> None:
    with Index(tmp_path / "index.sqlite") as index:
        fold, feed = Fold(index), Feed(index)
        jobs = [a_job(LONG_AGO + number) for number in range(30)]
        for job in jobs:
            fold.job(job)
            fold.event(an_event(job, COMPLETED, data={"text": "x" * 100_000}))
        found, reached, most = [], 0, 0
        while (batch := feed.after(CHANGES, reached, 500)).more:
            found += batch.entries
            reached, most = batch.entries[-1][0], max(most, len(batch.entries))
        found += batch.entries
        assert most <= 2 * (1 + LARGEST_BATCH // 100_000)
        assert [number for number, _ in found] == [place(step) for step in range(1, 61)]
        assert [each for _, each in found if isinstance(each, Job)] == [job.order for job in jobs]
