"""Events on their way from the ledger to the journal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.testing.doubles import AWAY, JournalDouble, until
from tests.testing.ledger import a_job, an_end, full_disk, on_disk, outbox
from towline.agent.ledger import Ledger
from towline.agent.outbox import Outbox
from towline.broker.answers import BrokerRefused
from towline.errors import BrokerUnreachable
from towline.runtime.part import keep_running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path, retry_every=0.01) as ledger:
        yield ledger


@contextlib.asynccontextmanager
async def running(journal: JournalDouble, ledger: Ledger) -> AsyncIterator[Outbox]:
    made = Outbox(journal, ledger, retry_every=0.01)
    task = asyncio.create_task(keep_running("outbox", made.run, shortest_pause=0.01))
    try:
        yield made
    finally:
        assert not task.done(), "it has ended"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        journal.failing = None
        await made.close()


async def test_what_an_earlier_agent_left_is_delivered(path: Path) -> None:
    events = [an_end(a_job()) for _ in range(100)]
    with Ledger(path) as ledger:
        for event in events:
            await ledger.end(event)
    journal = JournalDouble()
    with Ledger(path) as ledger:
        async with running(journal, ledger):
            await until(lambda: journal.events == events)
        assert not outbox(ledger)


async def test_an_end_is_sent_at_once_and_leaves_the_ledger(ledger: Ledger) -> None:
    journal, event = JournalDouble(), an_end(a_job())
    await Outbox(journal, ledger).end(event)
    assert journal.events == [event]
    assert not outbox(ledger)


@pytest.mark.parametrize("failure", [AWAY, BrokerRefused(1, "no"), RuntimeError("unexpected")])
async def test_an_end_that_cannot_be_sent_waits_in_the_ledger(
    ledger: Ledger, path: Path, failure: Exception
) -> None:
    journal, event = JournalDouble(), an_end(a_job())
    journal.failing = failure
    async with running(journal, ledger) as made:
        await made.end(event)
        assert on_disk(path)[1] == {event.job}
        journal.failing = None
        await until(lambda: journal.events == [event])
        await until(lambda: not outbox(ledger))


async def test_one_event_that_cannot_be_stored_keeps_back_no_other(ledger: Ledger) -> None:
    journal = JournalDouble()
    events = [an_end(a_job(f"job-{number}")) for number in range(10)]
    journal.failing, journal.failing_job = BrokerRefused(1, "no"), "job-3"
    for event in events:
        ledger.end(event)
    async with running(journal, ledger):
        await until(lambda: len(set(journal.jobs)) == 9)
        await until(lambda: [event.job for event in outbox(ledger)] == ["job-3"])
        journal.failing = None
        # Ended before it is struck off, the last one would be sent once more: that is no fault.
        await until(lambda: not outbox(ledger))
    assert sorted(journal.jobs) == sorted(f"job-{number}" for number in range(10))


async def test_delivering_goes_on_while_the_disk_is_full(ledger: Ledger, path: Path) -> None:
    journal, events = JournalDouble(), [an_end(a_job()) for _ in range(100)]
    for event in events[:-1]:
        ledger.end(event)
    await ledger.end(events[-1])
    with full_disk(path):
        async with running(journal, ledger):
            await until(lambda: journal.events == events)
            await until(lambda: not outbox(ledger))


async def test_an_end_reaches_the_journal_while_the_disk_is_full_and_the_ledger_afterwards(
    ledger: Ledger, path: Path
) -> None:
    journal, job, event = JournalDouble(), a_job(), an_end(a_job())
    await ledger.end(an_end(job))
    ledger.delivered(1)
    journal.failing = AWAY
    async with running(journal, ledger) as made:
        with full_disk(path):
            ending = asyncio.create_task(made.end(event))
            await asyncio.sleep(0.1)
            journal.failing = None
            await until(lambda: event in journal.events)
            assert not ending.done()
        await ending
        assert not outbox(ledger)


async def test_a_step_that_a_full_disk_refused_is_recorded_when_there_is_room(
    ledger: Ledger, path: Path
) -> None:
    journal, event = JournalDouble(), an_end(a_job())
    await ledger.end(an_end(a_job("job-0")))
    ledger.delivered(1)
    journal.failing = AWAY
    async with running(journal, ledger) as made:
        with full_disk(path):
            made.step(event)
            await asyncio.sleep(0.1)
        await until(lambda: event.job in on_disk(path)[1])
        journal.failing = None
        await until(lambda: event in journal.events)


async def test_an_outbox_that_closes_delivers_what_it_can(ledger: Ledger, path: Path) -> None:
    journal, event = JournalDouble(), an_end(a_job())
    made = Outbox(journal, ledger)
    await ledger.end(event)
    journal.failing = AWAY
    await made.close()
    assert on_disk(path)[1] == {event.job}
    journal.failing = None
    await made.close()
    assert journal.events == [event]


async def test_an_announcement_is_tried_until_it_is_stored(ledger: Ledger) -> None:
    journal, event = JournalDouble(), an_end(a_job())
    journal.failing = AWAY
    announcing = asyncio.create_task(Outbox(journal, ledger, retry_every=0.01).announce(event))
    await asyncio.sleep(0.05)
    assert not announcing.done()
    journal.failing = None
    await announcing
    assert journal.events == [event]


async def test_an_answer_is_tried_once(ledger: Ledger) -> None:
    journal = JournalDouble()
    journal.failing = AWAY
    with pytest.raises(BrokerUnreachable):
        await Outbox(journal, ledger).answer(an_end(a_job()))
