"""What the index drops with the journal."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.testing.broker import Broker
from tests.testing.journal import MIB, add_job, connected
from towline.broker.journal import JOBS, Journal, Retention
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lists import Filter, Lists


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await ask():
            await asyncio.sleep(0.05)


async def test_the_index_forgets_what_a_full_journal_dropped_long_before_its_age(
    tmp_path: Path,
) -> None:
    with Broker(tmp_path) as broker, Index(tmp_path / "index.sqlite") as index:
        async with connected(broker) as jetstream:
            journal = Journal(jetstream)
            await journal.create(Retention(size=32 * MIB))
            indexer = Indexer(jetstream, index, retention=86400, prune_after=20)
            indexing = asyncio.create_task(indexer.run())
            made = [await add_job(journal, 700_000) for _ in range(60)]

            async def only_what_is_kept() -> bool:
                info = await jetstream.call(f"STREAM.INFO.{JOBS}")
                kept = int(info["state"]["messages"])
                if kept >= 30 or Lists(index).count(Filter()) > 30:
                    await add_job(journal, 1)
                    return False
                return True

            await until(only_what_is_kept)
            assert index.find(made[0], {}) is None
            assert index.find(made[-1], {}) is not None
            indexing.cancel()
            await asyncio.gather(indexing, return_exceptions=True)
