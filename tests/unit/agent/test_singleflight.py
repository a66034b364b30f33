"""Work that several tasks want at the same time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from towline.agent.singleflight import SingleFlight


class Work:
    """Counts how often it is done; each doing ends when it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.go.wait()
        finally:
            self.ended += 1
        return number


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def joiner(flights: SingleFlight[None], work: Callable[[], Awaitable[int]]) -> "asyncio.Task[int]":
    return asyncio.create_task(flights.join("key", None, lambda _: work()))


async def test_who_comes_at_the_same_time_shares_one_doing() -> None:
    flights, work = SingleFlight[None](), Work()
    joined = [joiner(flights, work) for _ in range(5)]
    work.go.set()
    assert await asyncio.gather(*joined) == [1] * 5


async def test_who_comes_while_it_is_done_shares_the_next_doing() -> None:
    flights, work = SingleFlight[None](), Work()
    first = joiner(flights, work)
    await turns()
    later = [joiner(flights, work) for _ in range(5)]
    await turns()
    assert work.begun == 1
    work.go.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 5


async def test_other_keys_wait_for_nobody() -> None:
    flights, work = SingleFlight[None](), Work()
    waiting = joiner(flights, work)
    await turns()

    async def other() -> str:
        return "done"

    assert await flights.join("another", None, lambda _: other()) == "done"
    work.go.set()
    await waiting


async def test_an_error_reaches_all_and_spoils_nothing_for_those_who_come_later() -> None:
    flights = SingleFlight[None]()

    async def fail() -> int:
        raise ValueError("no luck")

    answers = await asyncio.gather(
        *(flights.join("key", None, lambda _: fail()) for _ in range(3)), return_exceptions=True
    )
    assert [str(answer) for answer in answers] == ["no luck"] * 3
    work = Work()
    work.go.set()
    assert await flights.join("key", None, lambda _: work()) == 1


async def test_one_that_is_cancelled_leaves_the_others_theirs() -> None:
    flights, work = SingleFlight[None](), Work()
    leaving, staying = joiner(flights, work), joiner(flights, work)
    await turns()
    leaving.cancel()
    await turns()
    work.go.set()
    assert await staying == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_the_last_to_leave_ends_the_work_and_who_comes_then_gets_another() -> None:
    flights, work = SingleFlight[None](), Work()
    leaving = joiner(flights, work)
    await turns()
    leaving.cancel()
    await turns()
    assert work.ended == 1
    work.go.set()
    assert await flights.join("key", None, lambda _: work()) == 2


async def test_a_round_that_nobody_waits_for_any_more_is_not_begun() -> None:
    flights, work = SingleFlight[None](), Work()
    first = joiner(flights, work)
    await turns()
    second = joiner(flights, work)
    await turns()
    second.cancel()
    await turns()
    work.go.set()
    assert await first == 1
    await turns()
    assert work.begun == 1
