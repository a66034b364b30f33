"""Turns: those who follow streams have them in the order of asking, and only so many at a time."""

import asyncio

from towline.controller.turns import Turns


async def test_a_turn_that_is_free_is_given_at_once() -> None:
    turns = Turns(together=3, every=3600)
    for _ in range(3):
        await turns.take()


async def test_the_others_wait_in_the_order_of_asking() -> None:
    turns, taken = Turns(together=2, every=0.01), list[int]()

    async def take(number: int) -> None:
        await turns.take()
        taken.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(9):
            group.create_task(take(number))
        await asyncio.sleep(0)
        assert taken == [0, 1]
    assert taken == list(range(9))


async def test_who_no_longer_waits_takes_nobody_s_turn() -> None:
    turns = Turns(together=1, every=0.01)
    await turns.take()
    gone = [asyncio.create_task(turns.take()) for _ in range(50)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    await turns.take()


async def test_turns_are_free_again_when_nobody_has_asked_for_a_while() -> None:
    turns = Turns(together=2, every=0.01)
    for _ in range(3):
        await turns.take()
        await turns.take()
        await asyncio.sleep(0.05)
