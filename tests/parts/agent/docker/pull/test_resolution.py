"""Nodes agree on a tag's digest over one real broker."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.testing.broker import Broker
from towline.agent.docker.engine import Engine as Client
from towline.agent.docker.errors import EngineRefused, Hopeless
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.resolution import Resolution
from towline.broker.connection import Connection
from towline.broker.journal import Journal, Retention
from towline.broker.settings import Settings
from towline.errors import TaskFailed
from towline.wire.event import Lead
from towline.wire.job import new_id
from towline.wire.reference import Reference

DIGEST = "sha256:" + "d" * 64


class Asked(Client):
    """An engine of which only the registry's answer is known."""

    def __init__(self, answer: str | TaskFailed | None) -> None:
        super().__init__("unix:///nowhere")
        self.answer = answer
        self.asked = 0

    async def digest(self, name: str, auth: dict[str, str] | None = None) -> str:
        self.asked += 1
        if self.answer is None:
            await asyncio.sleep(3600)
        if isinstance(self.answer, TaskFailed):
            raise self.answer
        return str(self.answer)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("digest")) as broker:
        yield broker


@pytest.fixture
async def journal(broker: Broker) -> AsyncIterator[Journal]:
    async with Connection(Settings([broker.url], broker.credentials), "digest") as connection:
        journal = Journal(connection)
        await journal.create(Retention(size=64 * 1024**2))
        yield journal


@pytest.fixture
def agree(journal: Journal) -> Callable[..., Any]:
    """Has nodes with such engines agree on a digest, and returns what each came to."""
    job = new_id()
    order = Order(Reference.parse("localhost:5000/a/b:1.0"), once=job)
    numbers = itertools.count()

    async def one(engine: Asked) -> str:
        attempt = Attempt(order, 1, lambda _: None)
        resolution = Resolution(
            *(engine, journal, f"machine-{next(numbers)}", "host"),
            turn=0.3,
            first_look=0.01,
            longest_look=0.05,
        )
        await resolution.before(attempt)
        assert attempt.lead is not None
        return attempt.lead.value

    async def all_of(*engines: Asked) -> list[str | BaseException]:
        return await asyncio.gather(*(one(engine) for engine in engines), return_exceptions=True)

    return all_of


async def test_of_many_nodes_one_asks_and_who_comes_later_asks_no_more(agree: Any) -> None:
    engines = [Asked(DIGEST) for _ in range(50)]
    assert await agree(*engines) == [DIGEST] * 50
    assert sum(engine.asked for engine in engines) == 1
    late = Asked("sha256:" + "e" * 64)
    assert await agree(late) == [DIGEST]
    assert not late.asked


async def test_where_one_is_refused_another_asks(agree: Any) -> None:
    refused = EngineRefused(401, "unauthorized")
    assert await agree(Asked(refused)) == [refused]
    assert await agree(Asked(DIGEST), Asked(DIGEST)) == [DIGEST] * 2


async def test_where_one_dies_or_takes_too_long_another_asks(agree: Any) -> None:
    silent = Asked(None)
    dying = asyncio.create_task(agree(silent))
    while not silent.asked:
        await asyncio.sleep(0.01)
    assert await agree(Asked(DIGEST)) == [DIGEST]
    dying.cancel()


async def test_where_all_are_refused_each_says_so(agree: Any) -> None:
    engines = [Asked(EngineRefused(404, f"manifest unknown {number}")) for number in range(20)]
    assert await agree(*engines) == [engine.answer for engine in engines]
    assert [engine.asked for engine in engines] == [1] * 20


async def test_a_digest_that_is_gone_is_named_with_who_resolved_it_and_other_failures_are_not(
    journal: Journal,
) -> None:
    resolution = Resolution(Asked(DIGEST), journal, "machine", "host")
    lead = Lead(DIGEST, "web-07", 0.0)
    order = Order(Reference.parse("localhost:5000/a/b:1.0"), lead=lead)
    attempt = Attempt(order, 1, lambda _: None)
    await resolution.before(attempt)
    assert attempt.lead == lead
    gone = resolution.explain(attempt, EngineRefused(404, "manifest unknown: manifest unknown"))
    assert isinstance(gone, Hopeless)
    assert f"localhost:5000/a/b:1.0 was {DIGEST} when web-07 resolved it" in gone.error
    for other in (TaskFailed("connection reset by peer"), EngineRefused(403, "denied")):
        assert resolution.explain(attempt, other) is other
