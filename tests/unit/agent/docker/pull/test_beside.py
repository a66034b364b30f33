"""Work that others watch, and may end."""

import asyncio

import pytest

from towline.agent.docker.pull.fetching import beside
from towline.errors import TaskFailed


async def work(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


async def object_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise TaskFailed("no room")


async def test_a_watch_that_objects_ends_the_work() -> None:
    with pytest.raises(TaskFailed, match="no room"):
        await beside(work(60), object_after(0))


async def test_work_that_ends_well_in_the_same_moment_counts() -> None:
    assert await beside(work(0), object_after(0)) == "done"


async def test_watches_that_end_or_go_on_change_nothing() -> None:
    async def soon() -> None:
        return

    async def never() -> None:
        await asyncio.Event().wait()

    assert await beside(work(0.01), soon(), never()) == "done"
