"""Nodes that are removed when they have been away for as long as their invite says."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.testing.admission import Node, Site
from tests.testing.joining import Machine
from tests.testing.logins import lets_in, until_shut_out
from tests.testing.own_broker import OwnBroker
from towline.controller.members import LASTS_EPHEMERAL
from towline.errors import Conflict
from towline.trust import claims
from towline.wire.member import MemberRecord

HOUR = 3600.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with OwnBroker(tmp_path_factory.mktemp("own")) as broker:
        yield broker


@pytest.fixture
async def site(broker: OwnBroker) -> AsyncIterator[Site]:
    async with Site(broker) as site:
        yield site


async def came_in(broker: OwnBroker, site: Site, path: Path, name: str, ephemeral: float) -> Node:
    machine = Machine(name)
    answer = await site.join(machine, await site.invite(ephemeral=ephemeral))
    return Node(broker, machine, answer.jwt, path)


async def left(site: Site, node: Node, ago: float) -> None:
    """Keep of a node that it was here last so many seconds ago."""

    def alter(record: MemberRecord) -> MemberRecord:
        moment = time.time() - ago
        return msgspec.structs.replace(record, left=moment, changed=moment)

    await site.members.change(node.machine, alter)


async def test_a_node_that_is_away_for_its_time_is_removed_once_and_one_that_is_here_stays(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    async with Site(broker) as other:
        gone = await came_in(broker, site, tmp_path, "gone", 1.0)
        stays = await came_in(broker, site, tmp_path, "stays", 2.0)
        async with stays.here(site, other):
            async with gone.here(site, other):
                pass
            await asyncio.gather(*(each.until(gone.machine, "removed") for each in (site, other)))
            assert (site.fleet.get(gone.machine), site.members.named("gone")) == (None, None)
            assert not await lets_in(broker, gone.login)
            member = site.fleet.get(stays.machine)
            assert member is not None
            while time.time() - member.registered < 3.0:  # longer than it may be away
                await asyncio.sleep(0.05)
            assert site.fleet.is_here(stays.machine)
            assert not stays.dropped.is_set()
        found = {entry.id: entry for each in (site, other) for entry in await each.removals()}
        (entry,) = [each for each in found.values() if each.target == "gone"]
        assert (entry.caller, entry.token, entry.address) == ("controller (away for 1s)", "", "")
        record = site.members.get(gone.machine)
        assert record is not None
        assert record.changed_by == entry.caller


async def test_its_login_lasts_a_day(site: Site) -> None:
    answer = await site.join(Machine("day"), await site.invite(ephemeral=HOUR))
    login, _ = claims.read(answer.jwt, claims.User)
    assert LASTS_EPHEMERAL - 60 < login.exp - time.time() <= LASTS_EPHEMERAL


async def test_a_machine_that_came_in_and_never_started_its_agent_is_removed(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    never = await came_in(broker, site, tmp_path, "never", 1.0)
    await site.until(never.machine, "removed")
    await until_shut_out(broker, never.login)


async def test_of_one_invite_only_so_many_machines_may_be_in_that_never_registered(
    broker: OwnBroker, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towline.controller.joining.MOST_UNSEEN", 2)
    token = await site.invite(ephemeral=HOUR)
    machines = [Machine(f"unseen-{number}") for number in range(3)]
    first, *_ = [await site.join(each, token) for each in machines[:2]]
    with pytest.raises(Conflict, match="2 machines have come in by this invite"):
        await site.join(machines[2], token)
    # Those that are in are answered again, and other invites have theirs.
    await site.join(machines[1], token)
    await site.join(Machine("unseen-other"), await site.invite(ephemeral=HOUR))
    async with Node(broker, machines[0], first.jwt, tmp_path).here(site):
        await site.join(machines[2], token)


async def test_when_a_node_was_here_last_is_kept_for_controllers_that_start_anew(
    broker: OwnBroker, tmp_path: Path
) -> None:
    async with Site(broker) as before:
        node = await came_in(broker, before, tmp_path, "kept", HOUR)
        async with node.here(before):
            pass
        member = before.fleet.get(node.machine)
        assert member is not None
        # Where its heartbeats are late it is missed already while it is here, and once more later.
        async with asyncio.timeout(30):
            while (record := before.members.get(node.machine)) is None or (
                (record.left or 0.0) < member.last_heartbeat
            ):
                await asyncio.sleep(0.005)
        sign = before.ephemeral._signs[node.machine]
        assert record.left == max(member.last_heartbeat, sign.time)
        # As if an hour had passed since.
        before.able.clear()
        await left(before, node, HOUR)
    async with Site(broker) as site:
        await site.until(node.machine, "removed")


async def test_a_node_that_is_here_when_controllers_start_anew_stays_whatever_is_kept_of_it(
    broker: OwnBroker, tmp_path: Path
) -> None:
    async with Site(broker, seen_for=HOUR) as before:
        node = await came_in(broker, before, tmp_path, "here", 20.0)
        async with node.here(before):
            pass
        await left(before, node, HOUR)
    async with Site(broker, seen_for=HOUR) as site:
        # It comes back later than the controller.
        assert not site.fleet.is_here(node.machine)
        async with node.here(site), asyncio.timeout(30):
            while (record := site.members.get(node.machine)) and record.left is not None:
                await asyncio.sleep(0.005)
        assert record is not None
        assert record.state == "accepted"


async def test_a_controller_that_does_not_know_who_is_here_removes_nobody(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    gone = await came_in(broker, site, tmp_path, "unknown", 0.5)
    site.able.clear()
    await left(site, gone, HOUR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.5):
            await site.until(gone.machine, "removed")
    assert (record := site.members.get(gone.machine)) is not None
    assert record.state == "accepted"
    site.able.set()
    await site.until(gone.machine, "removed")


async def test_a_controller_that_hears_no_node_shows_no_sign_of_those_that_were_here(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    node = await came_in(broker, site, tmp_path, "unheard", HOUR)
    moment = time.time() - 60
    async with node.here(site), asyncio.timeout(30):
        site.able.clear()
        while site.absences.sees(node.machine):
            await asyncio.sleep(0.005)
        # As another controller keeps it, that sees it away.
        record = await site.members.change(
            node.machine, lambda found: msgspec.structs.replace(found, left=moment)
        )
        assert site.fleet.is_here(node.machine)
        assert site.ephemeral._left(record) == moment
        site.able.set()
        while record.left is not None:
            await asyncio.sleep(0.005)
            record = site.members.get(node.machine) or record


async def test_one_that_is_not_registered_has_more_time_since_no_heartbeat_of_it_counts(
    broker: OwnBroker, tmp_path: Path
) -> None:
    async with Site(broker, seen_for=HOUR) as site:
        unknown = await came_in(broker, site, tmp_path, "unregistered", 0.2)
        gone = await came_in(broker, site, tmp_path, "registered", 0.8)
        async with gone.here(site):
            pass
        await site.until(gone.machine, "removed")
        record = site.members.get(unknown.machine)
        assert record is not None
        assert (record.state, record.left is None) == ("accepted", False)


async def test_a_node_stays_that_is_here_to_another_controller_than_the_one_that_removes(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    node = await came_in(broker, site, tmp_path, "half", 4.0)
    async with Site(broker, kept_for=2.0, deaf=True) as deaf, node.here(site):
        async with asyncio.timeout(30):
            while deaf.absences.of(node.machine) < 6.0:
                await asyncio.sleep(0.05)
        assert not node.dropped.is_set()
        record = deaf.members.get(node.machine)
        assert record is not None
        assert record.state == "accepted"


async def test_a_node_that_was_revoked_stays_in_the_list(
    broker: OwnBroker, site: Site, tmp_path: Path
) -> None:
    revoked = await came_in(broker, site, tmp_path, "revoked", 0.5)
    gone = await came_in(broker, site, tmp_path, "not-revoked", 0.6)
    async with revoked.here(site):
        member = site.fleet.get(revoked.machine)
        assert member is not None
        await site.expulsion.revoke(member, "ann")
        async with asyncio.timeout(30):
            await revoked.dropped.wait()
    await site.until(gone.machine, "removed")
    record = site.members.get(revoked.machine)
    assert record is not None
    assert (record.state, record.changed_by) == ("revoked", "ann")
