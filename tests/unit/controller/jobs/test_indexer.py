"""The fold of the journal into the index."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg

from tests.testing.doubles import until
from tests.testing.jobs import LONG_AGO, Fold, a_decision, a_job, an_event
from towline.broker.consumer import Message
from towline.broker.journal import CHANGES, STREAMS
from towline.broker.seal import Seal
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs
from towline.errors import BrokerUnreachable
from towline.wire.event import COMPLETED, DELETED
from towline.wire.subjects import job_subject


class Broker:
    """A broker whose streams have lost all they held, and that delivers nothing."""

    clustered = False
    seal = Seal()

    async def call(self, subject: str, *_: Any, **__: Any) -> dict[str, Any]:
        assert subject.startswith("STREAM.INFO.")
        state = {"messages": 0, "first_seq": 1001, "last_seq": 1000}
        return {"created": "2026-01-01T00:00:00Z", "state": state}

    async def client(self) -> Any:
        raise BrokerUnreachable("The broker is out of reach.", "it delivers nothing")


async def test_an_index_made_anew_is_not_behind_a_journal_that_has_lost_all(tmp_path: Path) -> None:
    with Index(tmp_path / "index.sqlite") as index:
        indexer = Indexer(Broker(), index, OpenJobs(), retention=60.0)  # type: ignore[arg-type]
        following = [asyncio.create_task(indexer.follow(stream)) for stream in STREAMS]
        try:
            await asyncio.sleep(0.05)
            assert indexer.caught_up
            await indexer.catch_up()
        finally:
            for task in following:
                task.cancel()


class Slow(Broker):
    """A broker that takes its time, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.free = asyncio.Event()

    async def call(self, subject: str, *_: Any, **__: Any) -> dict[str, Any]:
        self.asked += 1
        await self.free.wait()
        return await super().call(subject)


async def test_thousands_who_wait_for_the_fold_ask_the_broker_a_few_times(tmp_path: Path) -> None:
    broker = Slow()
    with Index(tmp_path / "index.sqlite") as index:
        indexer = Indexer(broker, index, OpenJobs(), retention=60.0)  # type: ignore[arg-type]
        indexer._folded = dict.fromkeys(STREAMS, 1000)
        first = asyncio.create_task(indexer.catch_up())
        while not broker.asked:
            await asyncio.sleep(0)
        # What these want to know may have been stored since the first has asked.
        others = [asyncio.create_task(indexer.catch_up()) for _ in range(1000)]
        await asyncio.sleep(0)
        others[0].cancel()
        broker.free.set()
        async with asyncio.timeout(30):
            await asyncio.gather(first, *others[1:])
    assert broker.asked == 2 * len(STREAMS)


async def test_who_asks_while_the_broker_is_away_is_told_so_and_may_ask_again(
    tmp_path: Path,
) -> None:
    class Away(Broker):
        away = True

        async def call(self, subject: str, *_: Any, **__: Any) -> dict[str, Any]:
            if self.away:
                raise BrokerUnreachable("The broker is out of reach.", "gone")
            return await super().call(subject)

    broker = Away()
    with Index(tmp_path / "index.sqlite") as index:
        indexer = Indexer(broker, index, OpenJobs(), retention=60.0)  # type: ignore[arg-type]
        indexer._folded = dict.fromkeys(STREAMS, 1000)
        found = await asyncio.gather(
            *(indexer.catch_up() for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in found] == [BrokerUnreachable] * 3
        broker.away = False
        await indexer.catch_up()


async def test_a_job_that_goes_on_is_forgotten_with_the_journal_that_had_it(tmp_path: Path) -> None:
    with Index(tmp_path / "index.sqlite") as index:
        fold = Fold(index)
        fold.job(a_job(expires=LONG_AGO + 1e9))
        indexer = Indexer(Broker(), index, fold.open, retention=60.0)  # type: ignore[arg-type]
        writing = asyncio.create_task(indexer.write())
        await until(lambda: not len(fold.open))
        writing.cancel()


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_job_that_is_stored_again_after_its_end_is_not_opened_again(
    deleted: bool, tmp_path: Path
) -> None:
    with Index(tmp_path / "index.sqlite") as index:
        fold = Fold(index)
        job = a_job()
        fold.job(job)
        fold.event(an_event(job, COMPLETED))
        if deleted:
            fold.event(a_decision(job, DELETED))
        index.flush()
        indexer = Indexer(Broker(), index, fold.open, retention=60.0)  # type: ignore[arg-type]
        indexer._fold(CHANGES, message(job_subject(job.id), msgspec.json.encode(job)))
        assert fold.open.get(job.id) is None
        assert index.over(job.id)


def message(subject: str, data: bytes) -> Message:
    return Message(subject, data, 99, LONG_AGO, 0, Msg(None))  # type: ignore[arg-type]
