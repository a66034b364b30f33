"""How much the journal keeps, and what it refuses."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.jobs import a_decision, a_job, an_event
from tests.testing.journal import MIB, add_job, connected
from towline.broker.answers import BrokerRefused, WrongLastSequence
from towline.broker.jetstream import JetStream
from towline.broker.journal import CHANGES, FULL, READS, STREAMS, Journal, Retention
from towline.wire.event import CANCELLING, COMPLETED, PAUSED
from towline.wire.messages import Answered
from towline.wire.subjects import decision_subject, job_subject


async def sizes(jetstream: JetStream) -> dict[str, int]:
    """Return how many bytes each stream may take."""
    found = {}
    for stream in STREAMS:
        info = await jetstream.call(f"STREAM.INFO.{stream}")
        found[stream] = int(info["config"]["max_bytes"])
    return found


async def test_the_journal_is_as_large_as_asked_for_and_reads_have_their_share(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path) as broker:
        async with connected(broker) as jetstream:
            await Journal(jetstream).create(Retention(size=256 * MIB))
            assert await sizes(jetstream) == {CHANGES: 224 * MIB, READS: 32 * MIB}
            await Journal(jetstream).create(Retention(size=64 * MIB))
            assert await sizes(jetstream) == {CHANGES: 224 * MIB, READS: 32 * MIB}


async def test_a_broker_with_less_room_gets_a_smaller_journal_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path, storage="300MB") as broker:
        async with connected(broker) as jetstream:
            journal = Journal(jetstream)
            with capture_logs() as logs:
                await journal.create(Retention(size=1024 * MIB))
            made = await sizes(jetstream)
            assert await add_job(journal, 10)
    assert sum(made.values()) <= 300 * MIB
    assert min(made.values()) >= 16 * MIB
    wanted = {CHANGES: 896 * MIB, READS: 128 * MIB}
    assert {entry["stream"] for entry in logs if "retention-size" in entry.get("mend", "")} == {
        stream for stream, size in made.items() if size < wanted[stream]
    }
    assert logs


async def test_full_of_changes_it_refuses_more_and_of_reads_it_forgets_the_oldest(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path) as broker:
        async with connected(broker) as jetstream:
            journal = Journal(jetstream)
            await journal.create(Retention(size=32 * MIB))
            large = a_job(parameters={"image": "x" * 900_000})
            jobs = [a_job(parameters=large.parameters) for _ in range(40)]
            with pytest.raises(BrokerRefused) as refused:
                await asyncio.gather(*(journal.add_job(job, timeout=30) for job in jobs))
            assert refused.value.number == FULL
            for number in range(40):
                await journal.add_reads([Answered(large)], f"id-{number}")
            _, first, last = await journal.state(CHANGES)
            assert (first, last < 40) == (1, True)
            _, first, last = await journal.state(READS)
            assert first > 1
            assert last == 40


async def test_decisions_stand_in_one_order_and_what_is_only_of_a_job_can_be_deleted(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path) as broker:
        async with connected(broker) as jetstream:
            journal = Journal(jetstream)
            await journal.create(Retention(size=64 * MIB))
            job, other = a_job(), a_job()
            for each in (job, other):
                await journal.add_job(each)
            first = await journal.decide(a_decision(job, PAUSED), 0)
            for last in (0, first - 1, first + 1):
                with pytest.raises(WrongLastSequence):
                    await journal.decide(a_decision(job, CANCELLING), last)
            reports = [an_event(each, COMPLETED) for each in (job, other)]
            assert await journal.add_reports(reports, "id") == first + 1
            assert await journal.add_reports(reports, "id") == first + 1
            last = await journal.decide(a_decision(job, CANCELLING), first)
            await journal.purge(job.id, before=last)
            assert await asyncio.to_thread(broker.subjects, CHANGES) == {
                *(job_subject(other.id), decision_subject(job.id), "report")
            }
