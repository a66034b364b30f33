"""The fold of the journal into the index."""

import asyncio
from pathlib import Path
from typing import Any

from towline.broker.journal import STREAMS
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs
from towline.errors import BrokerUnreachable


class Broker:
    """A broker whose streams have lost all they held, and that delivers nothing."""

    clustered = False

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
