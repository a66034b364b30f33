"""So many pulls at a time on a node, and what those that wait say."""

import asyncio
from collections.abc import Callable

import pytest

from towline.agent.docker.pull.slots import Slots


class Pull:
    """Takes a slot, keeps what is recorded, and ends when it is let go.

    Attributes:
        then: what is done in the very moment in which it has left its slot.
    """

    def __init__(self, slots: Slots) -> None:
        self.recorded: list[str] = []
        self.running = False
        self.go = asyncio.Event()
        self.then: Callable[[], object] = lambda: None
        self.task = asyncio.create_task(self._run(slots))

    async def _run(self, slots: Slots) -> None:
        async with slots.slot(lambda step: self.recorded.append(step.message)):
            self.running = True
            await self.go.wait()
        self.running = False
        self.then()

    async def end(self) -> None:
        self.go.set()
        await self.task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


def slots(count: int) -> Slots:
    return Slots(count, reported_after=0.0)


async def test_no_more_run_than_there_are_slots_and_the_rest_in_their_order() -> None:
    node = slots(2)
    pulls = [Pull(node) for _ in range(5)]
    await until(lambda: len(pulls[4].recorded) == 1)
    assert [pull.running for pull in pulls] == [True, True, False, False, False]
    for ended, then in ((0, [1, 2]), (1, [2, 3]), (3, [2, 4]), (2, [4]), (4, [])):
        await pulls[ended].end()
        await asyncio.sleep(0.01)
        assert [number for number, pull in enumerate(pulls) if pull.running] == then
    assert node.busy == 0


async def test_a_wait_is_recorded_with_what_it_is_for_and_so_is_its_end() -> None:
    node = slots(1)
    first, second, third = (Pull(node) for _ in range(3))
    await until(lambda: bool(third.recorded))
    assert first.recorded == []
    assert second.recorded == ["queued: 1 pull runs before it"]
    assert third.recorded == ["queued: 1 pull runs and 1 wait before it"]
    await first.end()
    await until(lambda: len(second.recorded) == 2)
    assert second.recorded[1].startswith("its turn after ")
    for pull in (second, third):
        await pull.end()


async def test_one_that_gives_up_leaves_its_turn_to_the_next_and_says_nothing_more() -> None:
    node = slots(1)
    first, second, third = (Pull(node) for _ in range(3))
    await until(lambda: bool(third.recorded))
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    fourth = Pull(node)
    await until(lambda: bool(fourth.recorded))
    assert fourth.recorded == ["queued: 1 pull runs and 1 wait before it"]
    await first.end()
    await until(lambda: third.running)
    assert len(second.recorded) == 1
    for pull in (third, fourth):
        await pull.end()
    assert node.busy == 0


async def test_one_that_gives_up_at_once_has_never_waited() -> None:
    node = Slots(1, reported_after=0.01)
    first, second = Pull(node), Pull(node)
    await asyncio.sleep(0)
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert second.recorded == []
    await first.end()


@pytest.mark.parametrize("given", [True, False], ids=["given", "about to be given"])
async def test_a_slot_of_one_that_is_just_being_cancelled_is_passed_on(given: bool) -> None:
    node = slots(1)
    first, second, third = (Pull(node) for _ in range(3))
    await until(lambda: bool(third.recorded))
    first.go.set()
    if given:
        first.then = second.task.cancel
    else:
        second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    assert not second.running
    await until(lambda: third.running)
    await third.end()
    assert node.busy == 0


async def test_one_that_is_cancelled_in_its_slot_frees_it() -> None:
    node = slots(1)
    first, second = Pull(node), Pull(node)
    await until(lambda: first.running)
    first.task.cancel()
    await until(lambda: second.running)
    await second.end()
    assert node.busy == 0
