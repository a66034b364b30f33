"""For how long nodes are away to one controller: with clocks of the test's own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from towline.controller.absences import Absences
from towline.controller.fleet import Fleet
from towline.controller.moment import LocalClock
from towline.wire.node import Heartbeat, Registration

LATE = 5.0


class Link:
    """A connection that is lost when the test says so."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def lost(self) -> None:
        await self.ended.wait()


class Seen:
    """What a controller has seen; `now` is what its clock shows."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.link = Link()
        self.able = asyncio.Event()
        self.fleet = Fleet(LocalClock(running=lambda: self.now))
        self.absences = Absences(
            *(self.fleet, self.link, self.able),  # type: ignore[arg-type]
            look_every=0.001,
            late=LATE,
        )
        self.fleet.register(Registration("m1", "web-01", "0.2.0", time.time()))

    def beat(self, *, leaving: bool = False) -> None:
        assert self.fleet.receive("m1", Heartbeat("0" * 16, 1.0, leaving=leaving))

    async def passed(self, seconds: float) -> None:
        """Let time pass in which this controller doesn't stand still."""
        for _ in range(int(seconds)):
            self.now += 1
            await asyncio.sleep(0.01)


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    seen = Seen()
    running = asyncio.create_task(seen.absences.run())
    seen.able.set()
    await asyncio.sleep(0.01)
    yield seen
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_node_is_away_since_its_last_heartbeat_and_not_at_all_while_it_is_here(
    seen: Seen,
) -> None:
    await seen.passed(10)
    seen.beat()
    await seen.passed(2)
    assert seen.absences.of("m1") == 0
    assert not seen.absences.has_left("m1")
    seen.beat(leaving=True)
    await seen.passed(3)
    assert (seen.absences.of("m1"), seen.absences.has_left("m1")) == (3, True)
    seen.beat()
    assert (seen.absences.of("m1"), seen.absences.has_left("m1")) == (0, False)


@pytest.mark.parametrize("gap", ["not able", "connection lost", "stood still"])
async def test_a_node_is_seen_when_it_was_heard_since_the_last_gap(seen: Seen, gap: str) -> None:
    assert not seen.absences.sees("m1")
    seen.beat()
    await seen.passed(2)
    assert seen.absences.sees("m1")
    if gap == "stood still":
        seen.now += LATE + 1
    elif gap == "not able":
        seen.able.clear()
    else:
        seen.link.ended.set()
    await asyncio.sleep(0.01)
    assert (seen.fleet.is_here("m1"), seen.absences.sees("m1")) == (True, False)
    seen.able.set()
    seen.link.ended = asyncio.Event()
    await seen.passed(2)
    assert not seen.absences.sees("m1")
    seen.beat()
    assert seen.absences.sees("m1")


async def test_a_node_that_was_never_heard_is_away_since_this_controller_can_hear(
    seen: Seen,
) -> None:
    await seen.passed(7)
    assert (seen.absences.of("m1"), seen.absences.of("unknown")) == (7, 7)


@pytest.mark.parametrize("gap", ["not able", "connection lost", "stood still"])
async def test_after_a_gap_no_node_has_been_away(seen: Seen, gap: str) -> None:
    seen.beat(leaving=True)
    await seen.passed(20)
    assert (seen.absences.of("m1"), seen.absences.has_left("m1")) == (20, True)
    if gap == "stood still":
        seen.now += LATE + 1
        assert seen.absences.of("m1") == 0
    elif gap == "not able":
        seen.able.clear()
        await seen.passed(2)
        assert seen.absences.of("m1") == 0
        seen.able.set()
    else:
        seen.link.ended.set()
        await seen.passed(2)
        seen.link.ended = asyncio.Event()
    await asyncio.sleep(0.01)
    assert seen.absences.of("m1") <= 1
    await seen.passed(4)
    assert seen.absences.of("m1") <= 5
    assert not seen.absences.has_left("m1")
