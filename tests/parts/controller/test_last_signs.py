"""When nodes were heard last, kept by controllers in a real broker."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from tests.parts.controller.test_cooldowns import until
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.controller.fleet import Fleet
from towline.controller.last_signs import BUCKET, SHARES, LastSigns
from towline.units import timestamp
from towline.wire.node import Heartbeat, Registration, Signs

LONG_AGO = 1_700_000_000.0
BEAT = Heartbeat("1" * 16, 5.0)
LEAVES = Heartbeat("1" * 16, 5.0, leaving=True)


class Site:
    """A controller that knows some nodes, as far as it keeps when these were heard."""

    def __init__(self, jetstream: JetStream, count: int, keep_every: float) -> None:
        self.fleet = Fleet()
        for n in range(count):
            self.fleet.register(
                Registration(f"m{n}", f"web-{n}", "0.2.0", LONG_AGO, LONG_AGO + 1.0)
            )
        able = asyncio.Event()
        able.set()
        self.signs = LastSigns(self.fleet, jetstream, able, look_every=0.01, keep_every=keep_every)
        self.task = asyncio.create_task(self.signs.run())

    def last(self, machine: str = "m0") -> float:
        member = self.fleet.get(machine)
        assert member is not None
        return member.last_heartbeat

    async def end(self) -> None:
        """Stop as it would be killed: nothing more is kept."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def site(jetstream: JetStream) -> AsyncIterator[Callable[..., Site]]:
    made: list[Site] = []
    await LastSigns(Fleet(), jetstream, asyncio.Event()).create(1)

    def make(count: int = 1, keep_every: float = 60.0) -> Site:
        made.append(Site(jetstream, count, keep_every))
        return made[-1]

    yield make
    for each in made:
        await each.end()


@pytest.fixture
def bucket(jetstream: JetStream) -> Bucket[Signs]:
    return Bucket(jetstream, BUCKET, Signs)


async def kept(bucket: Bucket[Signs], machine: str = "m0") -> float:
    for share in range(SHARES):
        entry = await bucket.get(str(share))
        if entry is not None and entry.value is not None and machine in entry.value.heard:
            return entry.value.heard[machine]
    return 0.0


async def test_when_a_node_went_is_known_to_a_controller_that_is_started_anew(
    site: Callable[..., Site], bucket: Bucket[Signs]
) -> None:
    first = site()
    assert first.last() == LONG_AGO + 1.0  # registered; its agent's start is by its own clock
    first.fleet.receive("m0", BEAT)
    await asyncio.sleep(0.02)
    first.fleet.receive("m0", LEAVES)
    heard = first.last()
    async with asyncio.timeout(10):
        while await kept(bucket) < heard - 1.0:
            await asyncio.sleep(0.01)
    await first.end()

    second = site()
    await until(lambda: second.last() > LONG_AGO + 1.0)
    assert heard - 1.0 <= second.last() <= heard + 0.001
    member = second.fleet.get("m0")
    assert member is not None
    assert member.absence == f"not reachable since {timestamp(second.last())}"


async def test_of_a_node_that_was_here_as_the_controller_was_killed_it_is_not_long_ago(
    site: Callable[..., Site], bucket: Bucket[Signs]
) -> None:
    first = site(keep_every=0.05)
    first.fleet.receive("m0", BEAT)
    beginning = first.last()
    async with asyncio.timeout(10):
        while await kept(bucket) <= beginning + 0.1:
            first.fleet.receive("m0", BEAT)
            await asyncio.sleep(0.01)
    await first.end()
    second = site()
    await until(lambda: second.last() > beginning)
    assert second.last() <= first.last() + 0.001


async def test_nodes_that_are_here_cost_few_writes_at_however_many_controllers(
    site: Callable[..., Site], jetstream: JetStream
) -> None:
    several = [site(300), site(300)]
    for _ in range(20):
        for each in several:
            for n in range(300):
                each.fleet.receive(f"m{n}", BEAT)
        await asyncio.sleep(0.02)
    stream = await jetstream.call(f"STREAM.INFO.KV_{BUCKET}")
    assert stream["state"]["messages"] == SHARES
    # Each share once, at most; what is kept of nodes that are here is not a minute old.
    assert stream["state"]["last_seq"] == SHARES


async def test_of_what_two_controllers_have_heard_the_later_counts(
    site: Callable[..., Site], bucket: Bucket[Signs]
) -> None:
    here, there = site(), site()
    here.fleet.receive("m0", LEAVES)
    earlier = here.last()
    await until(lambda: there.last() >= earlier - 0.001)
    await asyncio.sleep(1.01)
    there.fleet.receive("m0", BEAT)
    there.fleet.receive("m0", LEAVES)
    await until(lambda: here.last() > earlier + 1.0)
    assert await kept(bucket) == pytest.approx(there.last(), abs=0.001)


async def test_what_a_clock_that_was_wrong_has_kept_counts_for_nothing(
    site: Callable[..., Site], bucket: Bucket[Signs]
) -> None:
    wrong = Signs({"m0": time.time() + 3600.0, "gone": LONG_AGO})
    await bucket.put(str(zlib.crc32(b"m0") % SHARES), wrong)
    only = site()
    await only.signs.known.wait()
    assert only.last() == LONG_AGO + 1.0
    only.fleet.receive("m0", BEAT)
    async with asyncio.timeout(10):
        while not 0.0 < await kept(bucket) <= time.time():
            await asyncio.sleep(0.01)
