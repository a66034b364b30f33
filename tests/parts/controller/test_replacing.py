"""Machines that take the name of one that is away, where their invite lets them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.testing.admission import Node, Site
from tests.testing.joining import Machine
from tests.testing.logins import lets_in
from tests.testing.own_broker import OwnBroker
from towline.errors import Conflict, Forbidden
from towline.wire.joining import JoinAnswer


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with OwnBroker(tmp_path_factory.mktemp("own")) as broker:
        yield broker


@pytest.fixture
async def site(broker: OwnBroker) -> AsyncIterator[Site]:
    async with Site(broker) as site:
        yield site


async def until_replaceable(site: Site, machine: Machine, token: str) -> JoinAnswer:
    """Ask to come in until the one before has been away for long enough; return the answer."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await site.join(machine, token)
            except Conflict as refused:
                if "has not been away for" not in refused.error:
                    raise
                await asyncio.sleep(0.02)


async def came_in(broker: OwnBroker, site: Site, path: Path, name: str, token: str) -> Node:
    machine = Machine(name)
    return Node(broker, machine, (await site.join(machine, token)).jwt, path)


async def test_of_two_machines_at_once_at_two_controllers_one_takes_the_name_of_one_that_left(
    broker: OwnBroker, tmp_path: Path
) -> None:
    # Machines that have just come in keep their names.
    async with Site(broker, starts_within=60) as site, Site(broker, starts_within=60) as other:
        token = await site.invite(replace=True)
        old = await came_in(broker, site, tmp_path, "one", token)
        await other.until(old.machine, "accepted")
        async with old.here(site, other, leaves=True):
            pass
        for each in (site, other):
            await each.until_here(old.machine, here=False)
        machines = [Machine("one") for _ in range(6)]
        found = await asyncio.gather(
            *((site, other)[at % 2].join(each, token) for at, each in enumerate(machines)),
            return_exceptions=True,
        )
        (answer,) = [each for each in found if isinstance(each, JoinAnswer)]
        assert [isinstance(each, Conflict) for each in found].count(True) == 5, found
        for each in (site, other):
            await each.until(old.machine, "removed")
            await each.until(answer.machine, "accepted")
            named = each.members.named("one")
            assert (named and named.machine) == answer.machine
            assert each.fleet.get(old.machine) is None
        assert not await lets_in(broker, old.login)
        winner = machines[found.index(answer)]
        new = Node(broker, winner, answer.jwt, tmp_path)
        async with new.here(site, other):
            assert site.fleet.one("one").machine == new.machine
        entries = {entry.id: entry for each in (site, other) for entry in await each.removals()}
        (entry,) = [each for each in entries.values() if each.target == "one"]
        assert entry.caller == f"controller (replaced by {answer.machine})"
        record = other.members.get(old.machine)
        assert (record and record.changed_by) == entry.caller


async def test_a_node_that_was_silent_for_a_while_is_replaced_as_well(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    token = await site.invite(replace=True, hostname="silent")
    old = await came_in(broker, site, tmp_path, "x", token)
    async with old.here(site):
        pass
    await site.until_here(old.machine, here=False)
    assert (await until_replaceable(site, Machine("y"), token)).hostname == "silent"


async def test_a_node_that_is_here_is_never_replaced(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    token = await site.invite(replace=True)
    old = await came_in(broker, site, tmp_path, "here", token)
    async with old.here(site):
        for name in ("here", "HERE"):
            with pytest.raises(Conflict, match="is here"):
                await site.join(Machine(name), token)
        assert site.fleet.is_here(old.machine)
        assert not old.dropped.is_set()
        assert await lets_in(broker, old.login)


@pytest.mark.parametrize("replace", [True, False])
async def test_a_name_from_another_invite_is_another_node_s(
    broker: OwnBroker, site: Site, tmp_path: Path, replace: bool
) -> None:
    name = f"other-{replace}".lower()
    old = await came_in(broker, site, tmp_path, name, await site.invite(replace=replace))
    async with old.here(site, leaves=True):
        pass
    await site.until_here(old.machine, here=False)
    with pytest.raises(Conflict, match="Another node is called"):
        await site.join(Machine(name), await site.invite(replace=True))
    assert await lets_in(broker, old.login)


async def test_an_invite_that_does_not_say_so_replaces_nobody(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    token = await site.invite()
    old = await came_in(broker, site, tmp_path, "plain", token)
    async with old.here(site, leaves=True):
        pass
    await site.until_here(old.machine, here=False)
    with pytest.raises(Conflict, match="Another node is called"):
        await site.join(Machine("plain"), token)


async def test_one_that_was_replaced_is_refused_wherever_it_comes_back(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    token, machine = await site.invite(replace=True), Machine("back")
    old = Node(broker, machine, (await site.join(machine, token)).jwt, tmp_path)
    async with old.here(site, leaves=True):
        pass
    await site.until_here(old.machine, here=False)
    new = await site.join(Machine("back"), token)
    # The third was not there when it was replaced.
    async with Site(broker) as third:
        for each in (site, third):
            with pytest.raises(Forbidden):
                await each.joining.renewed(old.machine)
            with pytest.raises(Forbidden):
                await each.joining.renew(machine.renewal(each.key))
            named = each.members.named("back")
            assert (named and named.machine) == new.machine
        assert [each.machine for each in third.fleet.members() if each.hostname == "back"] == []
    assert not await lets_in(broker, old.login)
    with pytest.raises(Forbidden, match="was removed"):
        await site.join(machine, token)


async def test_a_machine_that_has_just_come_in_and_a_controller_that_does_not_know_keep_names(
    broker: OwnBroker, tmp_path: Path
) -> None:
    async with Site(broker, starts_within=60) as site:
        token = await site.invite(replace=True)
        await came_in(broker, site, tmp_path, "new", token)
        left = await came_in(broker, site, tmp_path, "left", token)
        async with left.here(site, leaves=True):
            pass
        await site.until_here(left.machine, here=False)
        site.able.clear()
        async with asyncio.timeout(20):
            while site.absences.of(left.machine) > 0:
                await asyncio.sleep(0.005)
        with pytest.raises(Conflict, match="minutes to start its agent"):
            await site.join(Machine("new"), token)
        with pytest.raises(Conflict, match="not been away"):
            await site.join(Machine("left"), token)
        site.able.set()
        async with asyncio.timeout(20):
            while site.absences.of(left.machine) == 0:
                await asyncio.sleep(0.005)
        # It may have come back meanwhile.
        with pytest.raises(Conflict, match="not been away"):
            await site.join(Machine("left"), token)
        await until_replaceable(site, Machine("left"), token)
        async with asyncio.timeout(20):
            while (record := site.members.named("new")) and site.absences.of(record.machine) < 1:
                await asyncio.sleep(0.02)
        with pytest.raises(Conflict, match="minutes to start its agent"):
            await site.join(Machine("new"), token)
