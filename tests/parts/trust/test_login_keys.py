"""Keys of nodes' logins that are replaced, at a real broker."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.logins import lets_in, make_older, taking_back, until_shut_out
from tests.testing.own_broker import OwnBroker
from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.controller.logins import Logins
from towline.trust import rotation
from towline.trust.account import FOR_GOOD
from towline.trust.keys import NODES_LOGIN, NODES_SIGNING


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[OwnBroker]:
    """A broker of this test's own: its keys are replaced."""
    with OwnBroker(tmp_path) as broker:
        yield broker


async def until_let_in(broker: OwnBroker, login: str) -> None:
    """Wait until a broker lets somebody in with a login."""
    async with asyncio.timeout(30):
        while not await lets_in(broker, login):
            await asyncio.sleep(0.05)


async def until_all_count(logins: Logins) -> None:
    """Wait until a broker lets in what each of several keys has signed."""
    async with asyncio.timeout(30):
        while logins.obstacle:
            await asyncio.sleep(0.02)


async def test_logins_of_both_keys_are_let_in_until_the_old_one_is_retired(
    broker: OwnBroker,
) -> None:
    trust = broker.trust
    old, revoked = trust.node_login("m"), trust.node_login("revoked")
    async with taking_back(broker) as logins:
        assert await logins.revoke(dict.fromkeys(logins.keys_of("revoked"), FOR_GOOD), {})
        rotation.rotate_logins(trust)
        logins.read_again()
        await until_all_count(logins)
        rotation.rotate_logins(trust)
        logins.read_again()
        new = trust.node_login("m")
        assert new != old
        assert await lets_in(broker, old)
        async with broker.raw(old) as dropped, broker.raw(new) as spared:
            rotation.retire_logins(trust)
            logins.read_again()
            await dropped.until_ended()
            assert await spared.settle() == []
        assert not await lets_in(broker, old)
        assert await lets_in(broker, new)
        # What was taken back before stays so, and a node's logins are those of every key.
        assert not await lets_in(broker, revoked)


async def test_what_is_taken_back_of_a_machine_is_what_any_of_the_keys_has_signed(
    broker: OwnBroker,
) -> None:
    old = broker.trust.node_login("m")
    rotation.rotate_logins(broker.trust)
    rotation.rotate_logins(broker.trust)
    async with taking_back(broker) as logins:
        new = broker.trust.node_login("m")
        await until_let_in(broker, new)
        assert await lets_in(broker, old)
        assert await logins.revoke(dict.fromkeys(logins.keys_of("m"), FOR_GOOD), {})
        assert not await lets_in(broker, old)
        assert not await lets_in(broker, new)


async def test_a_controller_with_an_older_file_takes_out_no_newer_key_and_none_stays_out_of_date(
    broker: OwnBroker,
) -> None:
    trust = broker.trust
    old, file = trust.node_login("m"), trust.path(NODES_SIGNING)
    shutil.copy(file, before := file.with_name("before"))
    rotation.rotate_logins(trust)
    shutil.copy(file, known := file.with_name("known"))
    rotation.rotate_logins(trust)
    new = trust.node_login("m")
    async with taking_back(broker):
        await until_let_in(broker, new)
    shutil.copy(file, both := file.with_name("both"))
    # One is started with the file of before the first step.
    shutil.copy(before, file)
    async with taking_back(broker) as logins:
        assert await logins.revoke(dict.fromkeys(logins.keys_of("other"), FOR_GOOD), {})
        assert await lets_in(broker, new)
    # The old key is retired while no controller runs.
    shutil.copy(both, file)
    rotation.retire_logins(trust)
    shutil.copy(file, retired := file.with_name("retired"))
    async with taking_back(broker):
        await until_shut_out(broker, old)
        assert await lets_in(broker, new)
    # One that has missed that brings the key back, until it gets the file.
    shutil.copy(known, file)
    async with taking_back(broker) as logins:
        await until_let_in(broker, old)
        shutil.copy(retired, file)
        logins.read_again()
        await until_shut_out(broker, old)
        assert await lets_in(broker, new)


async def test_keys_are_stored_once_the_broker_is_back(broker: OwnBroker) -> None:
    old = broker.trust.node_login("m")
    async with taking_back(broker, retry_every=0.1) as logins:
        assert logins.obstacle == ""
        await asyncio.to_thread(broker.stop)
        rotation.rotate_logins(broker.trust)
        logins.read_again()
        first, second = logins.keys
        assert second in logins.obstacle or first in logins.obstacle
        await asyncio.to_thread(broker.start)
        await until_all_count(logins)
        assert logins.obstacle == ""
        rotation.rotate_logins(broker.trust)
        rotation.retire_logins(broker.trust)
        logins.read_again()
        await until_shut_out(broker, old)


async def test_nodes_of_an_older_fleet_may_say_what_is_new_once_a_controller_is_newer(
    tmp_path: Path,
) -> None:
    broker = OwnBroker(tmp_path)
    make_older(broker.trust)
    with broker:
        login = tmp_path / "m.creds"
        login.touch(0o600)
        login.write_text(broker.trust.node_login("m"))
        settings = Settings([broker.url], login, broker.ca)
        changes: list[bool] = []
        nodes = Settings([broker.url], broker.trust.path(NODES_LOGIN), broker.ca)
        async with (
            Connection(nodes, "tests") as controller,
            Connection(settings, "tests", changes.append, inbox="_INBOX.m") as node,
        ):
            heard: list[str] = []
            client = await controller.client(10)
            await client.listen(">", lambda message: heard.append(message.subject))
            await controller.check()
            await node.client(10)

            async def say() -> None:
                await node.publish("inventory.m", b"{}")
                await node.publish("beat.m", b"{}")
                await node.check()
                await controller.check()

            # What a broker refuses costs a node nothing but that.
            await say()
            await say()
            assert (heard, changes) == (["beat.m"] * 2, [True])
            async with taking_back(broker), asyncio.timeout(30):
                while "inventory.m" not in heard:
                    await say()
                    await asyncio.sleep(0.05)
