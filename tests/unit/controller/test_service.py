"""When a controller serves nodes, and when it leaves that to others."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from tests.testing.doubles import ConnectionDouble, until
from towline.broker.listener import Listener
from towline.controller.service import Service
from towline.errors import BrokerUnreachable


class World:
    """A controller's two connections, and what it has to know before it may act."""

    async def catch_up(self) -> None:
        """Find the fold where the journal is, unless a test says otherwise."""
        if self.behind:
            raise BrokerUnreachable("The index is behind the journal.", "try again")

    def __init__(self) -> None:
        self.journal, self.nodes = ConnectionDouble(), ConnectionDouble()
        self.indexer = SimpleNamespace(caught_up=False, catch_up=self.catch_up)
        self.behind = False
        self.presence = SimpleNamespace(settled=asyncio.Event())
        self.able = asyncio.Event()
        self.listener = Listener(self.nodes, "report.*", lambda received: None, queue="q")
        self.service = Service(
            *(self.journal, self.nodes, self.indexer, self.presence, self.able),  # type: ignore[arg-type]
            [self.listener],
        )

    @property
    def state(self) -> tuple[bool, bool]:
        """Whether it is in the group, and whether it may act."""
        return self.listener.ready.is_set(), self.able.is_set()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    running = asyncio.create_task(world.service.run())
    yield world
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert world.state == (False, False)


async def serving(world: World) -> None:
    world.indexer.caught_up = True
    world.presence.settled.set()
    await until(lambda: world.state == (True, True))


async def test_it_joins_no_group_before_its_fold_has_caught_up(world: World) -> None:
    world.presence.settled.set()
    await asyncio.sleep(0.1)
    assert world.state == (False, False)
    await serving(world)


async def test_it_sends_nothing_before_it_knows_who_is_here(world: World) -> None:
    world.indexer.caught_up = True
    await until(lambda: world.state == (True, False))
    await asyncio.sleep(0.05)
    assert world.state == (True, False)
    await serving(world)


@pytest.mark.parametrize("lost", ["journal", "nodes"])
async def test_without_either_connection_it_leaves_the_group_and_may_not_act(
    world: World, lost: str
) -> None:
    await serving(world)
    connection: ConnectionDouble = getattr(world, lost)
    connection.there = False
    await until(lambda: world.state == (False, False))
    connection.there = True
    await until(lambda: world.state == (True, True))


@pytest.mark.parametrize("lost", ["journal", "nodes"])
async def test_a_connection_that_is_lost_at_the_start_is_waited_for(
    world: World, lost: str
) -> None:
    connection: ConnectionDouble = getattr(world, lost)
    world.indexer.caught_up = True
    await until(lambda: world.state == (True, False))
    connection.there = False
    await until(lambda: world.state == (False, False))
    world.presence.settled.set()
    await asyncio.sleep(0.05)
    assert world.state == (False, False)
    connection.there = True
    await until(lambda: world.state == (True, True))


async def test_it_serves_again_only_when_its_fold_is_where_the_journal_is(world: World) -> None:
    await serving(world)
    world.behind, world.journal.there = True, False
    await until(lambda: world.state == (False, False))
    world.journal.there = True
    await asyncio.sleep(0.2)
    assert world.state == (False, False)
    world.behind = False
    await until(lambda: world.state == (True, True))
