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
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal, Retention
from towline.broker.settings import Settings
from towline.errors import TaskFailed
from towline.wire.event import Lead
from towline.wire.job import new_id
from towline.wire.reference import Reference

DIGEST, OTHER = "sha256:" + "d" * 64, "sha256:" + "e" * 64


class Asked(Client):
    """An engine of which only the registry's answer is known."""

    def __init__(self, answer: str | TaskFailed | None) -> None:
        super().__init__("unix:///nowhere")
        self.answer = answer
        self.asked = 0
        self.login: dict[str, str] | None = None

    async def digest(self, name: str, auth: dict[str, str] | None = None) -> str:
        self.asked += 1
        self.login = auth
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
        journal = Journal(JetStream(connection))
        await journal.create(Retention(size=64 * 1024**2))
        yield journal


@pytest.fixture
def agree(journal: Journal) -> Callable[..., Any]:
    """Has nodes with such engines agree on a digest, and returns what each came to.

    Parameters: `got` is what the tag is for those that pull it, by what their engines say.
    """
    job = new_id()
    order = Order(Reference.parse("localhost:5000/a/b:1.0"), once=job)
    numbers = itertools.count()

    async def one(engine: Asked, got: str | None) -> str | None:
        attempt = Attempt(order, 1, lambda _: None)
        resolution = Resolution(
            *(engine, journal, f"machine-{next(numbers)}", "host"),
            turn=0.3,
            first_look=0.01,
            longest_look=0.05,
        )
        await resolution.prepare(attempt)
        if attempt.lead is None:
            await resolution.fetched(attempt, got)
        return attempt.lead.value if attempt.lead is not None else None

    async def all_of(*engines: Asked, got: str | None = None) -> list[str | None]:
        return await asyncio.gather(*(one(engine, got) for engine in engines))

    return all_of


async def test_of_many_nodes_one_asks_and_who_comes_later_asks_no_more(agree: Any) -> None:
    engines = [Asked(DIGEST) for _ in range(50)]
    assert await agree(*engines) == [DIGEST] * 50
    assert sum(engine.asked for engine in engines) == 1
    late = Asked(OTHER)
    assert await agree(late) == [DIGEST]
    assert not late.asked


async def test_where_one_is_refused_another_asks(agree: Any) -> None:
    assert await agree(Asked(EngineRefused(401, "unauthorized"))) == [None]
    assert await agree(Asked(DIGEST), Asked(DIGEST)) == [DIGEST] * 2


async def test_where_one_dies_or_takes_too_long_another_asks(agree: Any) -> None:
    silent = Asked(None)
    dying = asyncio.create_task(agree(silent))
    while not silent.asked:
        await asyncio.sleep(0.01)
    assert await agree(Asked(DIGEST)) == [DIGEST]
    dying.cancel()


async def test_where_none_can_resolve_each_asks_once_and_pulls_the_tag(agree: Any) -> None:
    engines = [Asked(EngineRefused(404, "page not found")) for _ in range(20)]
    assert await agree(*engines) == [None] * 20
    assert [engine.asked for engine in engines] == [1] * 20


async def test_what_the_first_got_by_the_tag_is_what_all_pull(agree: Any) -> None:
    refused = EngineRefused(404, "page not found")
    assert await agree(Asked(refused), got=DIGEST) == [DIGEST]
    # The tag has moved meanwhile, and an engine may not say what it was.
    for got in (OTHER, None):
        assert await agree(Asked(refused), Asked(OTHER), got=got) == [DIGEST] * 2


REFUSED = EngineRefused(404, "page not found")
LONG = 3600.0
"""Seconds of a turn that no test can wait for."""


class Job:
    """A job whose nodes agree, each when a test has it do so."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.order = Order(Reference.parse("localhost:5000/a/b:1.0"), once=new_id())

    async def prepare(
        self, machine: str, engine: Asked, turn: float = LONG
    ) -> tuple[Resolution, Attempt]:
        attempt = Attempt(self.order, 1, lambda _: None)
        attempt.auth = {"username": machine}
        resolution = Resolution(
            *(engine, self._journal, machine, machine),
            turn=turn,
            first_look=0.01,
            longest_look=0.05,
        )
        async with asyncio.timeout(10):
            await resolution.prepare(attempt)
        return resolution, attempt

    async def die(self, machine: str, turn: float = LONG) -> None:
        """Have a node take its turn, and die in it."""
        silent = Asked(None)
        dying = asyncio.create_task(self.prepare(machine, silent, turn))
        while not silent.asked:
            await asyncio.sleep(0.01)
        dying.cancel()
        await asyncio.wait([dying])


async def test_a_refusal_leaves_the_turn_to_another_node_at_once(journal: Journal) -> None:
    job, engine = Job(journal), Asked(DIGEST)
    assert (await job.prepare("first", Asked(REFUSED)))[1].lead is None
    _, attempt = await job.prepare("second", engine)
    assert attempt.lead is not None
    assert (attempt.lead.value, attempt.lead.hostname) == (DIGEST, "second")
    assert engine.login == {"username": "second"}


async def test_an_agent_that_died_in_its_turn_has_it_still_when_it_is_back(
    journal: Journal,
) -> None:
    job = Job(journal)
    await job.die("first")
    _, attempt = await job.prepare("first", Asked(DIGEST))
    assert attempt.lead is not None


@pytest.mark.parametrize("how", ["refused", "died"])
async def test_after_three_turns_that_brought_nothing_none_waits_for_another(
    journal: Journal, how: str
) -> None:
    job = Job(journal)
    for machine in range(3 if how == "refused" else 4):
        if how == "refused":
            await job.prepare(f"{machine}", Asked(REFUSED))
        else:
            await job.die(f"{machine}", turn=0.05)
    await job.die("one that is silent")
    _, attempt = await job.prepare("last", Asked(DIGEST))
    assert attempt.lead is not None


@pytest.mark.parametrize("got", [OTHER, None], ids=["another", "not known"])
async def test_who_was_not_first_pulls_what_the_first_has_found_meanwhile(
    journal: Journal, got: str | None
) -> None:
    job = Job(journal)
    resolution, attempt = await job.prepare("first", Asked(REFUSED))
    await job.prepare("second", Asked(DIGEST))
    await resolution.fetched(attempt, got)
    assert attempt.lead is not None
    assert (attempt.lead.value, attempt.lead.hostname) == (DIGEST, "second")


async def test_a_digest_that_is_gone_is_named_with_who_resolved_it_and_other_failures_are_not(
    journal: Journal,
) -> None:
    resolution = Resolution(Asked(DIGEST), journal, "machine", "host")
    lead = Lead(DIGEST, "web-07", 0.0)
    order = Order(Reference.parse("localhost:5000/a/b:1.0"), lead=lead)
    attempt = Attempt(order, 1, lambda _: None)
    await resolution.prepare(attempt)
    assert attempt.lead == lead
    gone = resolution.explain(attempt, EngineRefused(404, "manifest unknown: manifest unknown"))
    assert isinstance(gone, Hopeless)
    assert f"localhost:5000/a/b:1.0 was {DIGEST} when web-07 resolved it" in gone.error
    for other in (
        TaskFailed("connection reset by peer"),
        EngineRefused(403, "denied"),
        EngineRefused(0, "parent snapshot sha256:1 does not exist: not found"),
        EngineRefused(0, "no matching manifest for linux/arm64: no match for platform: not found"),
    ):
        assert resolution.explain(attempt, other) is other
