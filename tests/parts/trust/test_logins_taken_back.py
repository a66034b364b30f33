"""Logins of nodes that are taken back, at a real broker."""

import asyncio
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from tests.testing.logins import REVOKED, lets_in, taking_back, until_shut_out
from tests.testing.own_broker import OwnBroker
from towline.controller.logins import KEY, UPDATE
from towline.errors import Conflict
from towline.trust import claims
from towline.trust.account import FOR_GOOD, AccountRecord
from towline.trust.claims import NotTrusted
from towline.trust.keys import NODES_JWT, NODES_LOGIN, NODES_SIGNING, SYSTEM_LOGIN, create
from towline.trust.login_keys import node_seed


def login_of(broker: OwnBroker, machine: str, made: int) -> str:
    """Return a login of a machine id that was made at some moment."""
    account, _ = claims.read(broker.trust.read(NODES_JWT), claims.Account)
    signing = broker.trust.read(NODES_SIGNING)
    seed = node_seed(signing, machine)
    user = claims.User(issuer_account=account.sub)
    about = claims.public_key(seed)
    return claims.credentials(
        claims.sign(user, by=signing, about=about, name=machine, iat=made), seed
    )


async def test_who_is_connected_with_a_login_that_is_taken_back_is_dropped_and_nobody_else(
    broker: OwnBroker,
) -> None:
    login, other = broker.trust.node_login("m1"), broker.trust.node_login("m2")
    async with (
        taking_back(broker) as logins,
        broker.raw(login) as taken,
        broker.raw(login) as again,
        broker.raw(other) as spared,
    ):
        assert await logins.revoke(dict.fromkeys(logins.keys_of("m1"), FOR_GOOD), {})
        assert await taken.until_ended() == await again.until_ended() == [REVOKED]
        assert await spared.settle() == []
    assert not await lets_in(broker, login)
    assert not await lets_in(broker, broker.trust.node_login("m1", expires=60))
    assert await lets_in(broker, other)


async def test_a_login_that_was_made_later_than_those_that_are_taken_back_counts(
    broker: OwnBroker,
) -> None:
    now = int(time.time())
    async with taking_back(broker) as logins:
        assert await logins.revoke(dict.fromkeys(logins.keys_of("later"), now - 60), {})
    for ago, counts in ((90, False), (60, False), (59, True)):
        assert await lets_in(broker, login_of(broker, "later", now - ago)) is counts


async def test_controllers_that_take_logins_back_at_once_lose_none(broker: OwnBroker) -> None:
    machines = [f"at-once-{number}" for number in range(12)]
    async with (
        taking_back(broker) as one,
        taking_back(broker) as two,
        taking_back(broker) as three,
    ):
        several = [one, two, three] * 4
        found = await asyncio.gather(
            *(
                each.revoke(dict.fromkeys(each.keys_of(machine), FOR_GOOD), {})
                for each, machine in zip(several, machines, strict=True)
            )
        )
        assert all(found)
        for machine in machines:
            await until_shut_out(broker, broker.trust.node_login(machine))


async def test_what_is_taken_back_stays_so_when_the_broker_is_started_again(
    broker: OwnBroker,
) -> None:
    login = broker.trust.node_login("lasting")
    async with taking_back(broker) as logins:
        assert await logins.revoke(dict.fromkeys(logins.keys_of("lasting"), FOR_GOOD), {})
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    assert not await lets_in(broker, login)
    # A broker that has lost its accounts is given them by the first controller that comes.
    async with taking_back(broker):
        await asyncio.to_thread(broker.stop)
        shutil.rmtree(broker.state(0) / "broker" / "accounts")
        await asyncio.to_thread(broker.start)
        await until_shut_out(broker, login)


async def test_an_older_account_that_comes_late_does_not_stay_in_force(broker: OwnBroker) -> None:
    login = broker.trust.node_login("late")
    async with (
        broker.client(broker.trust.path(SYSTEM_LOGIN)) as system,
        taking_back(broker, again_every=0.1) as logins,
    ):
        older = broker.trust.read(NODES_JWT)
        assert await logins.revoke(dict.fromkeys(logins.keys_of("late"), FOR_GOOD), {})
        assert b'"code":200' in (await system.request(UPDATE, older.encode())).data
        await until_shut_out(broker, login)


@pytest.mark.parametrize("what", ["older", "unreadable", "deleted", "another fleet's"])
async def test_whatever_stands_at_the_broker_what_this_controller_took_back_stays_so(
    broker: OwnBroker, tmp_path: Path, what: str
) -> None:
    async with taking_back(broker) as logins:
        bucket, keys = logins._bucket, [f"{what[0]}{number}" for number in range(3)]
        assert await logins.revoke({keys[0]: FOR_GOOD}, {})
        older = await bucket.get(KEY)
        assert await logins.revoke({keys[1]: FOR_GOOD}, {})
        if what == "older":
            assert older is not None
            assert older.value is not None
            await bucket.put(KEY, older.value)
        elif what == "another fleet's":
            await bucket.put(KEY, AccountRecord(create(tmp_path).read(NODES_JWT)))
        else:
            await bucket._jetstream.append(bucket.subject(KEY), b"junk" if what[0] == "u" else b"")
        if what != "older":
            async with taking_back(broker) as later:
                with pytest.raises(NotTrusted):
                    await later.revoke({keys[2]: FOR_GOOD}, {})
        assert await logins.revoke({keys[2]: FOR_GOOD}, {})
        entry = await bucket.get(KEY)
        assert entry is not None
        assert entry.value is not None
        assert set(keys) <= claims.read(entry.value.jwt, claims.Account)[1].revocations.keys()


async def test_no_more_is_taken_back_than_can_be_read_again(broker: OwnBroker) -> None:
    async with taking_back(broker) as logins:
        assert await logins.revoke({"last": FOR_GOOD}, {})
        entry = await logins._bucket.get(KEY)
        assert entry is not None
        logins._most_bytes = len(msgspec.json.encode(entry.value))
        with pytest.raises(Conflict, match=r"no more can be.*two days"):
            await logins.revoke({"more": FOR_GOOD}, {})
        # What makes it no larger is stored.
        assert await logins.revoke({"last": FOR_GOOD}, {})


async def test_who_takes_a_login_back_is_shown_that_no_broker_has_done_so_yet(
    broker: OwnBroker,
) -> None:
    login = broker.trust.node_login("not-yet")
    async with taking_back(broker, system=NODES_LOGIN, in_force_within=0.5) as logins:
        assert not await logins.revoke(dict.fromkeys(logins.keys_of("not-yet"), FOR_GOOD), {})
    assert await lets_in(broker, login)
    # It is stored: a controller that can puts it into force.
    async with taking_back(broker):
        await until_shut_out(broker, login)
