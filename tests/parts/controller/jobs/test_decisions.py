"""Decisions in the journal: folded whenever they come, and made behind the last one only."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.testing.jobs import a_decision, a_job, an_event, planned
from towline.broker.answers import WrongLastSequence
from towline.broker.jetstream import JetStream
from towline.broker.journal import CHANGES, READS, Journal, Retention
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs
from towline.controller.rollout.decisions import Decisions
from towline.wire.event import CANCELLING, COMPLETED
from towline.wire.job import READ
from towline.wire.messages import Answered
from towline.wire.subjects import decision_subject


class World:
    """A journal, and what is folded of it."""

    def __init__(self, jetstream: JetStream, index: Index) -> None:
        self.jetstream = jetstream
        self.journal = Journal(jetstream)
        self.index = index
        self.open = OpenJobs()
        self.indexer = Indexer(jetstream, index, self.open, retention=86400.0)
        self.decisions = Decisions(self.journal, self.open, self.indexer)

    async def folded(self, stream: str, sequence: int) -> None:
        """Wait until a message is folded."""
        async with asyncio.timeout(30):
            while not await self.indexer.until({stream: sequence}):
                pass


@pytest.fixture
async def world(jetstream: JetStream, tmp_path: Path) -> AsyncIterator[World]:
    with Index(tmp_path / "index.sqlite") as index:
        world = World(jetstream, index)
        await world.journal.create(Retention(size=256 * 1024**2))
        indexing = asyncio.create_task(world.indexer.run())
        yield world
        indexing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await indexing


async def test_what_was_decided_of_a_read_counts_though_it_is_folded_before_the_read(
    world: World,
) -> None:
    job = a_job(plan=planned("ab"), nodes=2, effect=READ)
    cancelled = a_decision(job, CANCELLING)
    decided = await world.journal.decide(cancelled, 0)
    await world.folded(CHANGES, decided)
    made = await world.journal.add_reads([Answered(job)], "one")
    await world.folded(READS, made)
    state = world.open.get(job.id)
    assert state is not None
    assert state.cancelled is not None
    assert await world.decisions.make(job.id, lambda state: None) is state
    later = await world.journal.decide(a_decision(job, CANCELLING), decided)
    await world.folded(CHANGES, later)
    await world.decisions.cancel(job.id, "ann")


async def test_of_a_read_that_is_recorded_twice_the_first_record_counts(world: World) -> None:
    job = a_job(plan=planned("a"), nodes=1, effect=READ)
    other = msgspec.structs.replace(job, plan=planned("b"))
    ended = [[an_event(each, COMPLETED, machine)] for each, machine in ((job, "a"), (other, "b"))]
    for number, (each, ends) in enumerate(zip((job, other), ended, strict=True)):
        made = await world.journal.add_reads([Answered(each, ends)], str(number))
    made = await world.journal.add_reads([Answered(other)], "once more")
    await world.folded(READS, made)
    assert world.open.get(job.id) is None
    found = world.index.find(job.id)
    assert found is not None
    assert {task.machine: task.status for task in found[0].tasks.values()} == {"a": "ok"}
    status = world.index.status(job.id)
    assert status is not None
    assert status.done


async def test_a_decision_behind_one_that_nobody_can_read_is_refused_and_not_tried_for_ever(
    world: World,
) -> None:
    job = a_job(plan=planned("ab"), nodes=2)
    made = await world.journal.add_job(job)
    await world.folded(CHANGES, made)
    odd = await world.jetstream.append(decision_subject(job.id), b"nothing that can be read")
    await world.folded(CHANGES, odd)
    with pytest.raises(WrongLastSequence):
        async with asyncio.timeout(30):
            await world.decisions.cancel(job.id, "ann")
