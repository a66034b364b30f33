"""Streams of events that are cut off anywhere, and gone on with."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.testing.jobs import Fold, a_decision, a_job, an_event
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.index import Index
from towline.controller.jobs.lists import Filter
from towline.controller.jobs.streams import EventStreams
from towline.controller.turns import Turns
from towline.endpoint import Event
from towline.endpoints.views import JobEvent
from towline.wire.event import COMPLETED, LEAVE, RELEASED
from towline.wire.job import Job
from towline.wire.rollout import Waves

Sent = list[Event[JobEvent]]


@pytest.fixture
def job() -> Job:
    """A job whose nodes are given leave together."""
    return a_job(machines="abc", waves=Waves(max_parallel="3"))


@pytest.fixture
def streams(tmp_path: Path, job: Job) -> Any:
    """Streams of what a controller knows of that job, and of a read."""
    with Index(tmp_path / "index.sqlite") as index:
        fold = Fold(index)
        fold.job(job)
        fold.event(a_decision(job, RELEASED, "abc"))
        fold.event(a_decision(job, LEAVE, "abc"))
        read = a_job(job.created + 1)
        fold.read(read, an_event(read, COMPLETED))
        for machine in "abc":
            fold.event(an_event(job, COMPLETED, machine))
        indexer: Any = SimpleNamespace(pulse=SimpleNamespace(wait=asyncio.sleep))
        yield EventStreams(Feed(index), index, indexer, Turns())


async def first(events: AsyncIterator[Event[JobEvent]], most: int) -> Sent:
    """Return so many events of a stream, or fewer where it ends."""
    found: Sent = []
    async for event in events:
        found.append(event)
        if len(found) == most:
            break
    return found


async def test_a_jobs_events_come_once_wherever_their_stream_is_cut_off(
    streams: EventStreams, job: Job
) -> None:
    every = await first(streams.of_job(job, None), 100)
    kinds = [event.kind for event in every]
    assert kinds[:3] == ["submitted", "released", "released"]
    assert kinds[3:] == [*["started"] * 3, *["completed"] * 3, "end"]
    assert len({event.id for event in every}) == len(every)
    for cut in range(1, len(every)):
        place = streams.place(every[cut - 1].id)
        assert place is not None
        assert not place.ended
        assert str(place) == every[cut - 1].id
        assert await first(streams.of_job(job, place), 100) == every[cut:]
    last = streams.place(every[-1].id)
    assert last is not None
    assert last.ended


@pytest.mark.parametrize("kinds", [frozenset[str](), frozenset({"started", "completed"})])
async def test_the_events_of_all_jobs_come_once_wherever_their_stream_is_cut_off(
    streams: EventStreams, kinds: frozenset[str]
) -> None:
    count = 7 if kinds else 10
    wanted = Filter()
    every = await first(streams.of_all(wanted, kinds, streams.beginning(0.0)), count)
    assert len({event.id for event in every}) == len(every)
    for cut in range(1, count):
        place = streams.place(every[cut - 1].id)
        assert place is not None
        rest = await first(streams.of_all(wanted, kinds, place), count - cut)
        assert rest == every[cut:]
