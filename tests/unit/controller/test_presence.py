"""How nodes are registered, asked for heartbeats, and known to be here."""

import asyncio
import time
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.testing.doubles import AWAY, ConnectionDouble, until
from tests.testing.signing import SIGNER, opened
from towline.broker.jetstream import JetStream
from towline.broker.listener import Received
from towline.controller.fleet import Fleet
from towline.controller.presence import MOST_HEARTBEATS, RENEWED_PER_SECOND, Presence
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.member import MemberRecord
from towline.wire.node import Heartbeat, Registration
from towline.wire.release import BeatNow
from towline.wire.report import Answer

NOW = float(int(time.time()))
REGISTRATION = Registration("a", "web-01", "0.2.0", NOW)


class Journal(ConnectionDouble):
    """Acknowledges what is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: list[tuple[str, Registration]] = []

    async def request(self, subject: str, payload: bytes, **_: Any) -> Any:
        if self.failing is not None:
            raise self.failing
        self.stored.append((subject, msgspec.json.decode(payload, type=Registration)))
        return type("Reply", (), {"data": b'{"seq": 1}'})


class World:
    """The presence of nodes at a controller."""

    def __init__(self, **more: Any) -> None:
        self.fleet, self.nodes, self.journal = Fleet(), ConnectionDouble(), Journal()
        stream = JetStream(self.journal)
        self.presence = Presence(self.fleet, self.nodes, stream, SIGNER, **more)

    async def register(self, registration: Registration = REGISTRATION) -> Answer:
        data = msgspec.json.encode(registration)
        return await self.presence.register(Received("ask.a.register", data, "_INBOX.1"))

    def beat(self, machine: str = "a", start: str = "1" * 16, **more: Any) -> None:
        data = msgspec.json.encode(Heartbeat(start, 5.0, **more))
        self.presence._heartbeat(Received(f"beat.{machine}", data, ""))

    @property
    def asked(self) -> list[BeatNow]:
        """The intervals that nodes were asked for."""
        found = [messages.order(opened(data), "a") for subject, data in self.nodes.published]
        return [each for each in found if isinstance(each, BeatNow)]


async def test_a_node_is_registered_once_and_answered_with_its_interval() -> None:
    world = World(interval=7.0)
    for _ in range(2):
        assert (await world.register()).interval == 7.0
    ((subject, stored),) = world.journal.stored
    assert subject == "$KV.nodes.a"
    assert stored.registered == world.fleet.one("a").registered
    since = stored.registered
    await world.register(msgspec.structs.replace(REGISTRATION, hostname="web-02", registered=1e9))
    assert [registration.registered for _, registration in world.journal.stored] == [since] * 2
    assert world.fleet.one("web-02").machine == "a"


async def test_what_nodes_ought_to_trust_is_said_to_each_and_to_all_when_it_changes() -> None:
    trusts = ["a.b.c"]
    world = World(interval=60.0, trusts=lambda: trusts[0])
    said = msgspec.structs.replace(REGISTRATION, trusts="a.b.x")
    assert (await world.register(said)).trusts == "a.b.c"
    assert world.fleet.one("a").registration.trusts == "a.b.x"
    ((_, stored),) = world.journal.stored
    assert stored.trusts == "a.b.x"
    world.beat()
    world.presence._known.set()
    world.presence.heartbeats.ready.set()
    asking = asyncio.create_task(world.presence._ask())
    await until(lambda: world.asked)
    trusts[0] = "a.d.c"
    world.presence.trust_anew()
    await until(lambda: len(world.asked) == 2)
    assert [each.trusts for each in world.asked] == ["a.b.c", "a.d.c"]
    # One node need not wait for others, nor send a heartbeat sooner.
    assert [each.renew_within for each in world.asked] == [1 / RENEWED_PER_SECOND] * 2
    assert world.asked[1].spread == 60.0
    assert (await world.register(said)).trusts == "a.d.c"
    asking.cancel()
    await asyncio.wait([asking])


async def test_of_a_node_that_came_by_an_invite_is_stored_what_its_record_says() -> None:
    world = World()
    world.fleet.enrol(
        MemberRecord("a", "U" + "A" * 55, "key", "db-01", "accepted", "i1", NOW, "ann", NOW)
    )
    for claimed in ("web-01", "web-02"):
        said = msgspec.structs.replace(REGISTRATION, hostname=claimed, labels={"group": "web"})
        assert (await world.register(said)).error == ""
    ((_, stored),) = world.journal.stored
    assert (stored.hostname, stored.labels, stored.public_key) == ("db-01", {}, "key")


async def test_what_could_not_be_stored_is_to_be_sent_again() -> None:
    world = World()
    world.journal.failing = AWAY
    found = await world.register()
    assert (found.again, found.interval) == (True, None)
    assert world.fleet.members() == []


@pytest.mark.parametrize(
    "wrong", [{"machine": "b"}, {"labels": {"group": "web.*"}}], ids=lambda wrong: next(iter(wrong))
)
async def test_who_registers_another_machine_or_what_is_no_label_is_not_taken(
    wrong: dict[str, Any],
) -> None:
    world = World()
    with pytest.raises(Unreadable):
        await world.register(msgspec.structs.replace(REGISTRATION, **wrong))
    assert world.journal.stored == []


async def test_the_interval_grows_with_the_fleet() -> None:
    world = World(interval=5.0)
    for number in range(round(6 * MOST_HEARTBEATS)):
        machine = f"m{number}"
        world.fleet.register(msgspec.structs.replace(REGISTRATION, machine=machine))
        world.beat(machine)
    assert world.presence.interval == 6.0


async def test_a_new_interval_is_said_without_asking_for_a_heartbeat_at_once() -> None:
    most = round(MOST_HEARTBEATS)
    world = World(interval=2.0)
    for number in range(4 * most):
        world.fleet.register(msgspec.structs.replace(REGISTRATION, machine=f"m{number}"))
    world.presence._known.set()
    world.presence.heartbeats.ready.set()
    asking = asyncio.create_task(world.presence._ask())
    await until(lambda: world.asked)
    # Those who are known are about to come.
    assert (world.asked[0].interval, world.asked[0].spread) == (4.0, 0.5)
    for number in range(4 * most):
        world.beat(f"m{number}")
    await until(world.presence.settled.is_set)
    for number in range(4 * most, 6 * most):
        machine = f"m{number}"
        world.fleet.register(msgspec.structs.replace(REGISTRATION, machine=machine))
        world.beat(machine)
    await until(lambda: len(world.asked) == 2)
    assert (world.asked[1].interval, world.asked[1].spread) == (6.0, 6.0)
    asking.cancel()
    await asyncio.wait([asking])


async def test_at_each_connection_all_nodes_are_asked_for_a_heartbeat() -> None:
    world = World(interval=5.0)
    world.fleet.register(REGISTRATION)
    world.presence._known.set()
    world.presence.heartbeats.ready.set()
    asking = asyncio.create_task(world.presence._ask())
    await until(lambda: world.asked)
    assert world.asked[0].interval == 5.0
    assert not world.presence.settled.is_set()
    world.beat()
    await until(world.presence.settled.is_set)
    world.nodes.there = False
    await asyncio.sleep(0.05)
    world.nodes.there = True
    await until(lambda: len(world.asked) == 2)
    assert {subject for subject, _ in world.nodes.published} == {"task._all"}
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_node_that_stays_silent_is_waited_for_an_interval_and_no_longer() -> None:
    world = World(interval=0.1)
    world.fleet.register(REGISTRATION)
    world.presence._known.set()
    world.presence.heartbeats.ready.set()
    asking = asyncio.create_task(world.presence._ask())
    await until(world.presence.settled.is_set)
    assert not list(world.fleet.here())
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_fleet_that_grows_makes_nobody_wait_for_longer() -> None:
    world = World(interval=0.4)

    def grow(count: int) -> None:
        first = world.fleet.registered
        for number in range(first, first + count):
            world.fleet.register(msgspec.structs.replace(REGISTRATION, machine=f"m{number}"))

    grow(200)
    world.presence._known.set()
    world.presence.heartbeats.ready.set()
    asking = asyncio.create_task(world.presence._ask())
    for count in range(1, 4):
        await until(lambda: len(world.asked) >= count)  # noqa: B023
        if world.presence.settled.is_set():
            break
        grow(world.fleet.registered)
    assert world.presence.settled.is_set()
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_second_agent_of_one_machine_id_is_not_taken_for_the_first() -> None:
    world = World()
    world.fleet.register(REGISTRATION)
    world.beat()
    assert world.fleet.one("a").second is None
    world.beat(start="2" * 16)
    assert world.fleet.one("a").start == "1" * 16
    seen = world.fleet.one("a").second
    assert seen is not None
    again = msgspec.structs.replace(REGISTRATION, start="3" * 16)
    answer = await world.register(again)
    assert (answer.second, answer.again) == (True, True)
    assert world.fleet.one("a").second is not seen


AGAIN = msgspec.structs.replace(REGISTRATION, start="2" * 16, after="1" * 16)


@pytest.mark.parametrize(
    ("after", "settled", "here"),
    [("1" * 16, True, True), ("1" * 16, False, False), ("", False, False)],
    ids=["a copy with its ledger", "a controller that was just started", "a copy without it"],
)
async def test_who_goes_on_where_an_agent_that_runs_was_is_the_second(
    after: str, settled: bool, here: bool
) -> None:
    world = World()
    world.fleet.register(msgspec.structs.replace(REGISTRATION, start="1" * 16))
    if here:
        world.beat()
    if settled:
        world.presence.settled.set()
    copied = msgspec.structs.replace(AGAIN, after=after)
    registering = asyncio.create_task(world.register(copied))
    await until(lambda: world.nodes.published)
    assert [subject for subject, _ in world.nodes.published] == ["task.a." + "1" * 16]
    assert len(world.asked) == 1
    world.beat()
    answer = await registering
    assert (answer.second, answer.again) == (True, True)
    assert world.fleet.one("a").second is not None
    world.beat(start="2" * 16, second=True)
    assert world.fleet.one("a").start == "1" * 16
    assert world.journal.stored == []


@pytest.mark.parametrize("last", [{"leaving": True}, {"second": True}])
async def test_an_agent_that_was_started_again_takes_the_place_of_the_one_that_ended(
    last: dict[str, Any],
) -> None:
    world = World(alive_within=0.2)
    world.fleet.register(REGISTRATION)
    world.beat()
    registering = asyncio.create_task(world.register(AGAIN))
    await until(lambda: world.nodes.published)
    world.beat(**last)
    answer = await registering
    assert (answer.second, answer.error) == (False, "")
    world.beat(start="2" * 16, after="1" * 16)
    assert world.fleet.one("a").start == "2" * 16


async def test_of_two_that_go_on_at_once_where_one_has_ended_the_first_counts() -> None:
    world = World(alive_within=0.2)
    world.fleet.register(REGISTRATION)
    world.beat()
    registering = asyncio.create_task(
        world.register(msgspec.structs.replace(AGAIN, start="3" * 16))
    )
    await until(lambda: world.nodes.published)
    world.beat(start="2" * 16, after="1" * 16)
    assert (await registering).second


async def test_what_a_second_agent_shows_makes_it_no_node_where_the_first_was_not_seen() -> None:
    world = World()
    world.fleet.register(REGISTRATION)
    world.beat(start="2" * 16, second=True)
    member = world.fleet.one("a")
    assert (member.here, member.start, member.second is None) == (False, "", False)


async def test_a_node_that_does_not_believe_what_it_was_sent_is_logged_once_for_many() -> None:
    world = World()
    world.fleet.register(REGISTRATION)
    with capture_logs() as logs:
        for refused in (0, 1, 1, 500, 501):
            world.beat(refused=refused, refusal="it is not signed" if refused else "")
        world.presence._refusals.close()
    said = "a node does not believe what it was sent"
    lines = [each for each in logs if each["event"] == said]
    assert [(each["refused"], each["reason"], each["messages"]) for each in lines] == [
        (1, "it is not signed", 1),
        (501, "it is not signed", 2),
    ]
