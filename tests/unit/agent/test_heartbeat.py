"""That a node registers and says that it is here, and what it says of itself."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testing.controllers import Controllers
from tests.testing.doubles import AWAY, ConnectionDouble, ProviderDouble, believed, until
from tests.testing.ledger import NOW, a_task, end
from tests.testing.signing import signed
from towline.agent.capabilities import Capabilities
from towline.agent.heartbeat import LONGEST_INTERVAL, SHORTEST_INTERVAL, Heartbeats
from towline.agent.host.facts import Disk, Gathered
from towline.agent.host.survey import Survey
from towline.agent.ledger import Ledger
from towline.agent.questions import ControllerQuestions
from towline.wire.decoding import Unreadable
from towline.wire.facts import Facts
from towline.wire.node import MOST_NAMED, Heartbeat
from towline.wire.release import BeatNow
from towline.wire.target import Label

START = "0123456789abcdef"


class Node:
    """Heartbeats of a node without a broker.

    Attributes:
        subscribed: none is sent before it is set.
        taken: how many heartbeats there were when it was taken for the node, each time.
        tasks: how many run.
        found: what a look at the machine finds.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.connection = ConnectionDouble()
        self.controllers: Controllers = self.connection.controllers
        self.provider = ProviderDouble()
        self.capabilities = Capabilities(ledger, [self.provider], lambda: None)
        self.subscribed = asyncio.Event()
        self.subscribed.set()
        self.believed = believed(self.connection, "a")
        self.taken: list[int] = []
        self.tasks = 0
        self.ledger = ledger
        self.found = Gathered(Facts(cpu_count=2, fqdn="host-a.example.org"))
        self.survey = Survey(lambda: self.found, lambda: self.made.register_anew())
        self.made = self.make()

    def make(self, **more: Any) -> Heartbeats:
        async def subscribed() -> None:
            await self.subscribed.wait()

        async def taken() -> None:
            self.taken.append(len(self.beats))

        fields: dict[str, Any] = {"labels": [Label("group", "web.eu")], "interval": 60.0, **more}
        return Heartbeats(
            self.connection,
            "a",
            "host-a",
            start=START,
            after="fedcba9876543210",
            controllers=self.believed,
            questions=ControllerQuestions(self.believed, "a"),
            ledger=self.ledger,
            capabilities=self.capabilities,
            survey=self.survey,
            running_tasks=lambda: self.tasks,
            public_key="a2V5",
            subscribed=subscribed,
            taken=taken,
            shortest_pause=0.01,
            **fields,
        )

    @property
    def beats(self) -> list[Heartbeat]:
        return self.controllers.heartbeats

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.made.run())
        try:
            yield
            assert not task.done(), "it has ended"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


@pytest.fixture
async def node(ledger: Ledger) -> Node:
    made = Node(ledger)
    await made.capabilities.probe()
    return made


async def test_a_node_says_what_it_trusts_and_takes_what_controllers_say_of_that(
    node: Node,
) -> None:
    told: list[tuple[str, float]] = []
    node.controllers.trusts = "a.b.c"
    node.made = node.make(
        trusts=lambda: "x.y.z", told=lambda trusts, spread: told.append((trusts, spread))
    )
    async with node.running():
        await until(node.made.sent.is_set)
        node.made.asked(BeatNow(NOW, 60.0, 0.0, "d.e.f", 1.5))
    (registration,) = node.controllers.registrations
    assert registration.trusts == "x.y.z"
    assert told == [("a.b.c", 0.0), ("d.e.f", 1.5)]


async def test_a_node_registers_and_then_says_that_it_is_here(node: Node) -> None:
    node.tasks = 3
    async with node.running():
        await until(node.made.sent.is_set)
    (registration,) = node.controllers.registrations
    assert (registration.machine, registration.hostname) == ("a", "host-a")
    assert (registration.labels, registration.public_key) == ({"group": "web.eu"}, "a2V5")
    assert registration.started == pytest.approx(time.time(), abs=60)
    (beat,) = node.beats
    assert (beat.start, beat.after, beat.interval) == (START, "fedcba9876543210", 60.0)
    assert (beat.capabilities, beat.running, beat.leaving) == ({"docker": ""}, 3, False)
    assert beat.memory is not None


async def test_a_node_whose_facts_change_registers_anew(node: Node) -> None:
    await node.survey.look()
    async with node.running():
        await until(node.made.sent.is_set)
        await node.survey.look()
        await asyncio.sleep(0.05)
        assert [each.facts for each in node.controllers.registrations] == [node.found.facts]
        node.found = Gathered(Facts(cpu_count=4, fqdn="host-a.example.org"))
        await node.survey.look()
        await until(lambda: len(node.controllers.registrations) == 2)
    assert node.controllers.registrations[1].facts == node.found.facts


async def test_a_heartbeat_says_what_the_node_is_short_of(node: Node) -> None:
    node.found = Gathered(node.found.facts, fullest=Disk("/var", 97.2))
    await node.survey.look()
    async with node.running():
        await until(node.made.sent.is_set)
    found = node.beats[0].conditions
    assert found.memory_pressure is not None
    assert found.high_load is not None
    assert found.disk_pressure is not None
    assert found.disk_pressure.status
    assert found.disk_pressure.reason == "97% of the disk at /var is in use"


async def test_nothing_is_said_before_the_node_receives_what_is_for_it(node: Node) -> None:
    node.subscribed.clear()
    async with node.running():
        await asyncio.sleep(0.05)
        assert (node.controllers.registrations, node.beats) == ([], [])
        node.subscribed.set()
        await until(node.made.sent.is_set)


async def test_a_node_registers_until_it_is_answered_and_sends_no_heartbeat_before(
    node: Node,
) -> None:
    node.connection.failing = AWAY
    async with node.running():
        await asyncio.sleep(0.1)
        assert not node.beats
        node.connection.failing = None
        await until(node.made.sent.is_set)


async def test_a_registration_that_is_refused_is_tried_again(node: Node) -> None:
    answer = b'{"time":1700000000.0,"error":"removed"}'
    node.connection.junk = lambda purpose: signed(answer, purpose)
    async with node.running():
        await asyncio.sleep(0.05)
        assert not node.beats
        node.connection.junk = None
        await until(node.made.sent.is_set)


async def test_the_answer_says_since_when_the_ledger_is_used_and_the_interval(node: Node) -> None:
    node.controllers.interval = 0.2
    async with node.running():
        await until(lambda: len(node.beats) == 3)
    assert node.beats[0].interval == 0.2
    assert node.ledger.born == pytest.approx(time.time(), abs=60)


async def test_a_node_registers_anew_at_each_connection(node: Node) -> None:
    async with node.running():
        await until(node.made.sent.is_set)
        node.made.register_anew()
        await until(lambda: len(node.beats) == 2)
    assert len(node.controllers.registrations) == 2


async def test_a_change_is_said_at_once_though_not_more_often_than_allowed(node: Node) -> None:
    async with node.running():
        await until(node.made.sent.is_set)
        node.provider.trouble = "it is away\x00"
        await node.capabilities.probe()
        for _ in range(100):
            node.made.send_now()
            await asyncio.sleep(0)
        await until(lambda: len(node.beats) == 2)
        await asyncio.sleep(2 * SHORTEST_INTERVAL)
    assert node.beats[1].capabilities == {"docker": "it is away\ufffd"}
    assert len(node.beats) == 2


async def test_a_heartbeat_names_what_the_node_holds(node: Node) -> None:
    tasks = [a_task() for _ in range(3)]
    for task in tasks:
        node.ledger.accept(task)
    node.ledger.delivered(end(node.ledger, tasks[0]).number)
    async with node.running():
        await until(node.made.sent.is_set)
        for _ in range(MOST_NAMED):
            node.ledger.accept(a_task())
        node.made.send_now()
        await until(lambda: len(node.beats) == 2)
    first, second = node.beats
    assert (set(first.jobs), first.more) == ({task.id for task in tasks[1:]}, False)
    assert (len(second.jobs), second.more) == (MOST_NAMED, True)


async def test_a_ledger_that_cannot_be_read_keeps_back_no_heartbeat(
    tmp_path: Path,
) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        node = Node(ledger)
        with contextlib.suppress(Exception):
            ledger._reader.execute("PRAGMA query_only = OFF")
            ledger._reader.execute("DROP TABLE task")
        async with node.running():
            await until(node.made.sent.is_set)
    assert node.beats[0].jobs == frozenset()


# Asked by controllers


async def test_a_node_says_that_it_is_here_when_it_is_asked(node: Node) -> None:
    async with node.running():
        await until(node.made.sent.is_set)
        node.made.asked(BeatNow(NOW, interval=30.0))
        await until(lambda: len(node.beats) == 2)
    assert node.beats[1].interval == 30.0


async def test_whoever_asks_many_times_is_answered_once(node: Node) -> None:
    async with node.running():
        await until(node.made.sent.is_set)
        await asyncio.sleep(SHORTEST_INTERVAL)
        for _ in range(1000):
            node.made.asked(BeatNow(NOW, interval=60.0, spread=0.05))
        await until(lambda: len(node.beats) == 2)
        await asyncio.sleep(2 * SHORTEST_INTERVAL)
    assert len(node.beats) == 2


@pytest.mark.parametrize(
    ("asked", "expected"), [(0.0, SHORTEST_INTERVAL), (6e9, LONGEST_INTERVAL), (45.0, 45.0)]
)
async def test_no_interval_is_taken_that_would_silence_the_node_or_busy_it(
    node: Node, asked: float, expected: float
) -> None:
    node.made.asked(BeatNow(NOW, interval=asked, spread=6e9))
    assert node.made.interval == expected
    await node.made.close()


async def test_the_last_one_says_that_the_node_leaves(node: Node) -> None:
    async with node.running():
        await until(node.made.sent.is_set)
    await node.made.close()
    assert [beat.leaving for beat in node.beats] == [False, True]


@pytest.mark.parametrize("second", [True, False])
async def test_an_agent_that_was_never_taken_for_the_node_leaves_unsaid_though_nobody_answers(
    node: Node, second: bool
) -> None:
    node.controllers.second = second
    if second:
        node.made.sent.set()  # it counted before, as one that was cut off for long
        async with node.running():
            await until(lambda: node.beats)
    beats = len(node.beats)
    node.connection.failing = AWAY
    async with node.running():
        await asyncio.sleep(0.05)
    await node.made.close()
    assert not any(beat.leaving for beat in node.beats[beats:])


async def test_it_is_taken_for_the_node_once_before_the_first_one(node: Node) -> None:
    async with node.running():
        await until(node.made.sent.is_set)
        node.made.register_anew()
        await until(lambda: len(node.beats) > 1)
    assert node.taken == [0]


async def test_an_agent_that_is_refused_as_a_second_one_goes_on_with_nothing_and_leaves_unsaid(
    node: Node,
) -> None:
    node.controllers.second = True
    async with node.running():
        await until(lambda: len(node.beats) > 1)
    await node.made.close()
    assert node.taken == []
    assert all(beat.second and not beat.leaving for beat in node.beats)
    node.controllers.second = False
    async with node.running():
        await until(node.made.sent.is_set)
    await node.made.close()
    assert len(node.taken) == 1
    assert node.beats[-1].leaving


async def test_a_node_whose_clock_shows_anything_can_register(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    async with node.running():
        await until(node.made.sent.is_set)
    (registration,) = node.controllers.registrations
    assert registration.started == 946_684_800.0


async def test_a_node_registers_once_more_now_and_then_and_goes_on_where_nobody_answers(
    node: Node,
) -> None:
    node.made = node.make(interval=SHORTEST_INTERVAL, register_after=2)
    async with node.running():
        await until(lambda: len(node.controllers.registrations) == 2)
        node.connection.failing = AWAY
        beats = len(node.beats)
        await until(lambda: len(node.beats) > beats + 3)
        node.connection.failing = None
        await until(lambda: len(node.controllers.registrations) == 3)


async def test_a_node_whose_connection_is_lost_while_nobody_answers_registers_before_it_says_more(
    node: Node,
) -> None:
    node.made = node.make(interval=SHORTEST_INTERVAL, register_after=1)
    async with node.running():
        await until(lambda: node.beats)
        node.connection.gate.clear()
        await asyncio.sleep(3 * SHORTEST_INTERVAL)
        node.connection.failing = AWAY
        node.made.register_anew()
        node.connection.gate.set()
        await asyncio.sleep(2 * SHORTEST_INTERVAL)
        beats = len(node.beats)
        await asyncio.sleep(3 * SHORTEST_INTERVAL)
        assert len(node.beats) == beats
        node.connection.failing = None
        await until(lambda: len(node.beats) > beats)


async def test_a_node_that_registers_once_more_says_the_same(node: Node) -> None:
    # What differs would be stored, and followed by all controllers, for each node again and again.
    node.made = node.make(interval=SHORTEST_INTERVAL, register_after=1)
    async with node.running():
        await until(lambda: len(node.controllers.registrations) >= 3)
    first, *more = node.controllers.registrations
    assert all(each == first for each in more)


async def test_a_node_that_is_connected_anew_sends_none_before_it_is_subscribed(
    node: Node,
) -> None:
    node.made = node.make(interval=SHORTEST_INTERVAL)
    async with node.running():
        await until(lambda: node.beats)
        node.subscribed.clear()
        await asyncio.sleep(2 * SHORTEST_INTERVAL)
        beats = len(node.beats)
        node.made.register_anew()
        await asyncio.sleep(3 * SHORTEST_INTERVAL)
        assert len(node.beats) == beats
        node.subscribed.set()
        await until(lambda: len(node.beats) > beats)


async def test_a_heartbeat_says_how_many_messages_were_refused_and_why(node: Node) -> None:
    async with node.running():
        await until(node.made.sent.is_set)
        node.believed.refuse(Unreadable("it is signed\nwith\x00another key"))
        node.made.send_now()
        await until(lambda: len(node.beats) > 1)
    assert [(beat.refused, beat.refusal) for beat in (node.beats[0], node.beats[-1])] == [
        (0, ""),
        (1, "it is signed\nwith\ufffdanother key"),
    ]


async def test_a_node_whose_time_is_doubted_asks_with_its_next_heartbeat(node: Node) -> None:
    async with node.running():
        await until(node.made.sent.is_set)
        node.believed.clock_doubted = True
        node.made.send_now()
        await until(lambda: len(node.controllers.registrations) == 2)
        node.made.send_now()
        await until(lambda: len(node.beats) > 2)
    assert len(node.controllers.registrations) == 2
