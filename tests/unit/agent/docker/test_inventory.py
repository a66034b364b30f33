"""When an engine is looked at, and what is said of it then."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.testing.doubles import until
from towline.agent.docker.answers import Happening, Image, ListedImage
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused, EngineUnreachable, UnreadableAnswer
from towline.agent.docker.inventory import EngineInventory, Rhythm
from towline.errors import TaskFailed
from towline.wire.inventory import Inventory, hash_of

START = "0123456789abcdef"
A, B = (f"sha256:{digit * 64}" for digit in "ab")
PULLED = Happening("image", "pull")
QUICK = Rhythm(quiet=0.01, longest=0.02, rest=0.0, shortest_pause=0.02, longest_pause=0.04)


class Scripted(Engine):
    """An engine that has what a test says, and tells what a test says.

    Attributes:
        away: raised whatever it is asked, while it is set.
        deaf: raised when it is asked for its events, while it is set.
        ends: whether its events end at once.
        takes: seconds that it takes for a list.
        looked, listened, inspected: how often it was asked for what.
    """

    def __init__(self) -> None:
        super().__init__("none://")
        self.there = {A: ListedImage(A, ["a:1"], [f"a@{A}"])}
        self.users: Counter[str] = Counter()
        self.away: TaskFailed | None = None
        self.deaf: TaskFailed | None = None
        self.ends = False
        self.takes = 0.0
        self.looked = self.listened = 0
        self.inspected: list[str] = []
        self.told: asyncio.Queue[Happening] = asyncio.Queue()

    async def images(self) -> list[ListedImage]:
        self.looked += 1
        if self.away is not None:
            raise self.away
        await asyncio.sleep(self.takes)
        return list(self.there.values())

    async def image_users(self) -> Counter[str]:
        return self.users

    async def image(self, name: str) -> Image | None:
        self.inspected.append(name)
        return Image(name, 1, os="linux", architecture="arm64")

    @asynccontextmanager
    async def happenings(self) -> AsyncIterator[AsyncIterator[Happening]]:
        self.listened += 1
        if self.deaf is not None:
            raise self.deaf
        yield self._told()

    async def _told(self) -> AsyncIterator[Happening]:
        while not self.ends:
            yield await self.told.get()

    def tell(self, happening: Happening = PULLED) -> None:
        self.told.put_nowait(happening)


class Node:
    """The inventory of an engine, and what it says."""

    def __init__(self, engine: Engine, rhythm: Rhythm) -> None:
        self.inventory = EngineInventory(engine, START, rhythm)
        self.said: list[Inventory] = []
        self.takes = 0.0

    async def changed(self, message: Inventory) -> None:
        await asyncio.sleep(self.takes)
        self.said.append(message)


@asynccontextmanager
async def following(engine: Scripted, rhythm: Rhythm = QUICK) -> AsyncIterator[Node]:
    node = Node(engine, rhythm)
    running = asyncio.create_task(node.inventory.follow(node.changed))
    yield node
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_all_is_said_at_first_and_then_what_changes() -> None:
    engine = Scripted()
    async with following(engine) as node:
        await until(lambda: node.said)
        assert node.said == node.inventory.whole()
        first = node.inventory.hash
        assert first == hash_of(node.said[0].images)
        engine.there[B] = ListedImage(B, ["b:1"])
        engine.tell()
        await until(lambda: len(node.said) == 2)
        assert (node.said[1].base, node.said[1].hash) == (first, node.inventory.hash)
        assert [image.id for image in node.said[1].images] == [B]
        del engine.there[B]
        engine.tell(Happening("image", "delete"))
        await until(lambda: len(node.said) == 3)
        assert (node.said[2].gone, node.said[2].hash) == ([B], first)


async def test_nothing_is_said_where_nothing_has_changed() -> None:
    engine = Scripted()
    async with following(engine) as node:
        await until(lambda: node.said)
        engine.tell()
        await until(lambda: engine.looked == 2)
        engine.tell()
        await until(lambda: engine.looked == 3)
        assert len(node.said) == 1


async def test_nothing_is_said_of_an_engine_that_was_never_looked_at_and_the_last_stays() -> None:
    engine = Scripted()
    engine.away = engine.deaf = EngineUnreachable("away")
    async with following(engine) as node:
        await until(lambda: engine.looked > 2 and engine.listened > 2)
        assert (node.inventory.hash, node.inventory.whole(), node.said) == ("", [], [])
        engine.away = engine.deaf = None
        await until(lambda: node.said)
        known = node.inventory.whole()
        engine.away = UnreadableAnswer("garbage")
        looked = engine.looked
        engine.tell()
        await until(lambda: engine.looked > looked)
        assert node.inventory.whole() == known == node.said


async def test_what_happens_together_is_looked_at_once() -> None:
    engine = Scripted()
    async with following(engine, Rhythm(quiet=0.1, longest=5.0, rest=0.0)) as node:
        await until(lambda: node.said and engine.listened)
        for _ in range(20):
            engine.tell()
            await asyncio.sleep(0.001)
        engine.there = {}
        await until(lambda: len(node.said) == 2)
        assert engine.looked == 2


async def test_what_never_stops_happening_does_not_put_a_look_off() -> None:
    engine = Scripted()
    async with following(engine, Rhythm(quiet=30.0, longest=0.05, rest=0.0)) as node:
        await until(lambda: node.said)
        engine.tell()
        await until(lambda: engine.looked == 2)


async def test_an_engine_that_is_slow_with_its_lists_is_left_alone_for_a_second_at_most() -> None:
    engine = Scripted()
    engine.takes = 0.05
    # Without a bound it would be left alone for longer than this test waits.
    async with following(engine, Rhythm(quiet=0.0, longest=0.0, rest=4000.0)) as node:
        await until(lambda: node.said)
        for looks in range(2, 5):
            engine.there[B] = ListedImage(B, [f"b:{looks}"])
            engine.tell()
            await until(lambda looks=looks: len(node.said) == looks)  # type: ignore[misc]
    assert Rhythm().longest_rest == 1.0


async def test_what_the_way_to_controllers_takes_does_not_count_as_the_engines() -> None:
    engine = Scripted()
    slow = Rhythm(quiet=0.0, longest=0.0, rest=1000.0, longest_rest=1000.0)
    async with following(engine, slow) as node:
        await until(lambda: node.said)
        node.takes = 0.1
        for looks in range(2, 5):
            engine.there[B] = ListedImage(B, [f"b:{looks}"])
            engine.tell()
            await until(lambda looks=looks: len(node.said) == looks)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("happening", "counts"),
    [
        *((Happening("container", action), True) for action in ("create", "destroy", "remove")),
        *((Happening("image", action), True) for action in ("pull", "tag", "untag", "load", "new")),
        *((Happening("container", action), False) for action in ("start", "die", "exec_start: x")),
        *((Happening("image", action), False) for action in ("save", "mount")),
        (Happening(), True),
    ],
)
async def test_what_changes_nothing_makes_no_look(happening: Happening, counts: bool) -> None:
    engine = Scripted()
    async with following(engine) as node:
        await until(lambda: node.said)
        engine.tell(happening)
        await until(lambda: engine.told.empty())
        await asyncio.sleep(0.05)
        assert engine.looked == (2 if counts else 1)


async def test_an_engine_that_ends_its_events_at_once_is_left_alone_longer_each_time() -> None:
    engine = Scripted()
    engine.ends = True
    rhythm = Rhythm(quiet=0.0, longest=0.0, rest=0.0, shortest_pause=0.05, longest_pause=60.0)
    async with following(engine, rhythm):
        await asyncio.sleep(0.4)
        # After at least 25, 50, 100, 200 milliseconds.
        assert 1 <= engine.listened <= 5
        assert engine.looked <= engine.listened + 1


@pytest.mark.parametrize("silent", [False, True])
async def test_an_engine_that_is_back_is_listened_to_at_once(silent: bool) -> None:
    engine = Scripted()
    if not silent:
        engine.deaf = EngineUnreachable("away")
    rhythm = Rhythm(0.01, 0.02, shortest_pause=60.0, longest_pause=60.0)
    async with following(engine, rhythm) as node:
        await until(lambda: engine.listened == 1 and node.said)
        engine.deaf = None
        engine.there = {}
        node.inventory.listen_again()
        node.inventory.listen_again()
        if silent:
            # Over the old connection nothing is said, and nothing that it has ended.
            await until(lambda: engine.listened == 1)
            node.inventory.listen_again()
        await until(lambda: len(node.said) == 2)
        assert engine.listened == 2


async def test_an_engine_that_tells_nothing_is_looked_at_now_and_then_and_after_a_task() -> None:
    engine = Scripted()
    engine.deaf = EngineRefused(403, "not through here")
    often = Rhythm(0.01, 0.02, every=0.02, rest=0.0, shortest_pause=60.0, longest_pause=60.0)
    async with following(engine, often):
        await until(lambda: engine.looked > 3)
    seldom = Rhythm(0.01, 0.02, shortest_pause=60.0, longest_pause=60.0)
    async with following(engine, seldom) as node:
        await until(lambda: node.said)
        engine.there[B] = ListedImage(B)
        node.inventory.due()
        await until(lambda: len(node.said) == 2)


async def test_what_an_image_is_for_is_asked_once() -> None:
    engine = Scripted()
    async with following(engine) as node:
        await until(lambda: node.said)
        engine.there[B] = ListedImage(B.removeprefix("sha256:"))
        engine.users[B] = 2
        engine.tell()
        await until(lambda: len(node.said) == 2)
        (image,) = node.said[1].images
        assert (image.id, image.platform, image.used) == (B, "linux/arm64", 2)
        assert sorted(engine.inspected) == [A, B]
