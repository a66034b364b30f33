"""Sums of where nodes stand: the same for all who ask at once, and anew when something changes."""

import asyncio
from collections.abc import Iterator
from typing import cast

import msgspec

from tests.testing.sets import NAME, a_set, digest
from tests.unit.controller.inventory.world import World
from tests.unit.controller.sets.test_declarations import InMemory, at
from towline.controller.sets.record import SetRecord, SetState
from towline.controller.sets.standing import Standing
from towline.controller.sets.summaries import MOST_FAILURES, TOGETHER, Summaries
from towline.controller.sets.view import Standings


class Rows:
    """Where nodes stand, and how often that was asked."""

    def __init__(self, *states: str) -> None:
        self.states = states
        self.looks = 0

    def of(self, record: SetRecord, state: SetState | None) -> Iterator[Standing]:
        """Yield rows."""
        self.looks += 1
        for count, each in enumerate(self.states):
            yield Standing(f"m{count}", f"m{count}", NAME, "", each)  # type: ignore[arg-type]


def summaries(rows: Rows) -> tuple[Summaries, InMemory]:
    sets = InMemory(a_set(), web=at(1))
    return Summaries(sets, World("m1").fleet, cast(Standings, rows)), sets


async def test_it_counts_what_is_how_and_has_the_first_that_failed() -> None:
    rows = Rows(*["converged"] * 3, *["failed"] * 9, "missing", "conflict", "unknown")
    found = await summaries(rows)[0].of(a_set())
    key = (NAME, "")
    assert found.nodes == 15
    assert found.counts[key] == {
        **{"converged": 3, "failed": 9, "missing": 1, "conflict": 1, "unknown": 1}
    }
    assert [each.machine for each in found.failures[key]] == [f"m{each}" for each in range(3, 8)]
    assert len(found.failures[key]) == MOST_FAILURES
    assert not found.waits, "the node that is unknown is away"


async def test_all_who_ask_at_once_are_answered_by_one_look() -> None:
    rows = Rows(*["converged"] * 40 * TOGETHER)
    known, sets = summaries(rows)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    found = await asyncio.gather(*(known.of(a_set()) for _ in range(20)))
    beside.cancel()
    assert rows.looks == 1
    assert all(each is found[0] for each in found)
    assert turns >= 40, "others had their turns in between"
    # What is known to have changed since is looked at anew, however short ago that was.
    await sets.change("web", lambda state: msgspec.structs.replace(state, images=at(2)))
    assert (await known.of(a_set())).state.images[0].current == digest(2)
    await known.of(a_set(generation=2))
    assert rows.looks == 3
