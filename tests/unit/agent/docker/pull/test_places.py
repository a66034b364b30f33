"""So many pulls at a time on a node, and what those that wait say."""

import asyncio
from collections.abc import Callable

import pytest

from towline.agent.docker.pull import places
from towline.agent.docker.pull.places import Places


class Pull:
    """Takes a place, tells what it is told, and ends when it is let go."""

    def __init__(self, places: Places) -> None:
        self.told: list[str] = []
        self.running = False
        self.go = asyncio.Event()
        self.task = asyncio.create_task(self._run(places))

    async def _run(self, places: Places) -> None:
        async with places.place(lambda step: self.told.append(step.message)):
            self.running = True
            await self.go.wait()
        self.running = False

    async def end(self) -> None:
        self.go.set()
        await self.task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "TOLD_AFTER", 0.0)


async def test_no_more_run_than_there_are_places_and_the_rest_in_their_order() -> None:
    node = Places(2)
    pulls = [Pull(node) for _ in range(5)]
    await until(lambda: len(pulls[4].told) == 1)
    assert [pull.running for pull in pulls] == [True, True, False, False, False]
    for ended, then in ((0, [1, 2]), (1, [2, 3]), (3, [2, 4]), (2, [4]), (4, [])):
        await pulls[ended].end()
        await asyncio.sleep(0.01)
        assert [number for number, pull in enumerate(pulls) if pull.running] == then
    assert node.busy == 0


async def test_who_waits_is_told_for_whom_and_when_that_is_over() -> None:
    node = Places(1)
    first, second, third = (Pull(node) for _ in range(3))
    await until(lambda: bool(third.told))
    assert first.told == []
    assert second.told == ["queued: 1 pull runs before it"]
    assert third.told == ["queued: 1 pull runs and 1 wait before it"]
    await first.end()
    await until(lambda: len(second.told) == 2)
    assert second.told[1].startswith("its turn after ")
    for pull in (second, third):
        await pull.end()


async def test_one_that_gives_up_leaves_its_turn_to_the_next_and_says_nothing_more() -> None:
    node = Places(1)
    first, second, third = (Pull(node) for _ in range(3))
    await until(lambda: bool(third.told))
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    await first.end()
    await until(lambda: third.running)
    assert len(second.told) == 1
    await third.end()
    assert node.busy == 0


async def test_a_place_given_to_one_that_is_just_being_cancelled_is_passed_on() -> None:
    node = Places(1)
    first, second, third = (Pull(node) for _ in range(3))
    await until(lambda: bool(third.told))
    first.go.set()
    await until(lambda: not first.running)
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    await until(lambda: third.running)
    await third.end()
    assert node.busy == 0


async def test_one_that_is_cancelled_in_its_place_frees_it() -> None:
    node = Places(1)
    first, second = Pull(node), Pull(node)
    await until(lambda: first.running)
    first.task.cancel()
    await until(lambda: second.running)
    await second.end()
    assert node.busy == 0
