"""Storing in groups: what arrives while one group is stored is the next one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from towline.broker.answers import BrokerRefused
from towline.controller.jobs.recorder import LARGEST_GROUP, Recorder
from towline.errors import BrokerUnreachable
from towline.runtime.part import keep_running
from towline.wire.messages import MOST_IN_GROUP

REFUSED = BrokerRefused(10077, "maximum bytes exceeded")
AWAY = BrokerUnreachable("The broker is out of reach.", "a test says so")


class Journal:
    """Stores while its gate is open; refuses groups with what it can't store."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.ids: list[str] = []
        self.bad: dict[str, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, values: Sequence[str], message_id: str) -> int:
        self.groups.append(list(values))
        self.ids.append(message_id)
        await self.gate.wait()
        for value in values:
            if value in self.bad:
                raise self.bad[value]
        return len(self.groups)


@contextlib.asynccontextmanager
async def recording(journal: Journal) -> AsyncIterator[Recorder[str]]:
    recorder = Recorder(journal.append)
    running = asyncio.create_task(keep_running("recorder", recorder.run, shortest_pause=0.01))
    try:
        async with asyncio.timeout(20):
            yield recorder
    finally:
        running.cancel()
        await asyncio.wait([running])


async def outcomes(*stored: asyncio.Future[None]) -> list[BaseException | None]:
    return await asyncio.gather(*stored, return_exceptions=True)


def storing(recorder: Recorder[str], values: str, size: int = 1) -> list[asyncio.Future[None]]:
    return [recorder.store(value, size) for value in values]


async def test_what_arrives_while_a_group_is_stored_is_the_next_one() -> None:
    journal = Journal()
    async with recording(journal) as recorder:
        journal.gate.clear()
        first = storing(recorder, "a")
        while not journal.groups:
            await asyncio.sleep(0)
        rest = storing(recorder, "bcd")
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in [*first, *rest])
        journal.gate.set()
        assert await outcomes(*first, *rest) == [None] * 4
    assert journal.groups == [["a"], ["b", "c", "d"]]
    assert len(set(journal.ids)) == 2


@pytest.mark.parametrize(
    ("size", "places", "groups"),
    [
        (1, 1, ["abcd"]),
        (LARGEST_GROUP // 2, 1, ["ab", "cd"]),
        (LARGEST_GROUP * 2, 1, ["a", "b", "c", "d"]),
        (1, MOST_IN_GROUP // 3, ["abc", "d"]),
        (1, MOST_IN_GROUP, ["a", "b", "c", "d"]),
    ],
)
async def test_a_group_is_as_large_as_a_message_may_be(
    size: int, places: int, groups: list[str]
) -> None:
    journal, stored = Journal(), list[Exception | None]()
    recorder = Recorder(journal.append)
    for value in "abcd":
        recorder.add(value, size, stored.append, places=places)
    running = asyncio.create_task(recorder.run())
    async with asyncio.timeout(20):
        while len(stored) < 4:
            await asyncio.sleep(0)
    running.cancel()
    assert journal.groups == [list(group) for group in groups]
    assert stored == [None] * 4


async def test_a_group_that_is_refused_is_split_until_it_is_known_for_which_one() -> None:
    journal = Journal()
    journal.bad = {"c": REFUSED}
    async with recording(journal) as recorder:
        found = await outcomes(*storing(recorder, "abcdef"))
    assert found == [None, None, REFUSED, None, None, None]
    assert journal.groups[0] == list("abcdef")
    assert ["c"] in journal.groups
    assert len(set(journal.ids)) == len(journal.ids)


async def test_what_may_have_been_stored_is_not_split_and_said_to_all() -> None:
    journal = Journal()
    journal.bad = {"b": AWAY}
    async with recording(journal) as recorder:
        assert await outcomes(*storing(recorder, "abc")) == [AWAY] * 3
        assert await outcomes(*storing(recorder, "d")) == [None]
    assert journal.groups == [["a", "b", "c"], ["d"]]


async def test_one_that_can_t_be_answered_costs_no_other_of_its_group() -> None:
    journal, stored = Journal(), list[Exception | None]()

    def broken(error: Exception | None) -> None:
        raise RuntimeError("a fault")

    async with recording(journal) as recorder:
        recorder.add("a", 1, broken)
        recorder.add("b", 1, stored.append)
        assert await outcomes(*storing(recorder, "c")) == [None]
    assert stored == [None]
    assert journal.groups == [["a", "b", "c"]]


async def test_who_has_left_is_not_answered_and_what_was_sent_is_stored() -> None:
    journal = Journal()
    async with recording(journal) as recorder:
        journal.gate.clear()
        left, stays = storing(recorder, "ab")
        while not journal.groups:
            await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait([left])
        journal.gate.set()
        assert await outcomes(stays) == [None]


async def test_at_the_end_nobody_waits_for_ever() -> None:
    journal = Journal()
    async with recording(journal) as recorder:
        journal.gate.clear()
        first = storing(recorder, "a")
        while not journal.groups:
            await asyncio.sleep(0)
        rest = storing(recorder, "b")
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        found = await outcomes(*first, *rest)
    assert [type(error) for error in found] == [BrokerUnreachable] * 2
