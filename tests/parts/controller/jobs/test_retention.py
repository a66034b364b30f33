"""What the index drops with the journal."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.testing.broker import Broker
from tests.testing.journal import MIB, add_job, connected
from towline.broker.journal import CHANGES, Journal, Retention
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await ask():
            await asyncio.sleep(0.05)


async def test_the_index_forgets_what_the_journal_has_dropped_long_before_its_age(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path) as broker, Index(tmp_path / "index.sqlite") as index:
        async with connected(broker) as jetstream:
            journal = Journal(jetstream)
            await journal.create(Retention(size=32 * MIB))
            indexer = Indexer(jetstream, index, OpenJobs(), retention=86400, prune_after=20)
            indexing = asyncio.create_task(indexer.run())
            made = [await add_job(journal, 1000) for _ in range(30)]
            _, _, last = await journal.state(CHANGES)
            # As age does it, or an operator.
            await jetstream.call(f"STREAM.PURGE.{CHANGES}", {"seq": last - 9})

            # It was perhaps pruned a moment before, and is again after so many more.
            async def only_what_is_kept() -> bool:
                if index.find(made[0]) is not None or index.find(made[-1]) is None:
                    await add_job(journal, 1)
                    return False
                return True

            await until(only_what_is_kept)
            assert all(index.find(each) is None for each in made[:20])
            assert all(index.find(each) is not None for each in made[20:])
            indexing.cancel()
            await asyncio.gather(indexing, return_exceptions=True)
