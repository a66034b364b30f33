"""Which logins a broker takes."""

import base64
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.testing.nats_protocol import Raw
from tests.testing.own_broker import OwnBroker
from towline.trust import claims
from towline.trust.keys import (
    JOURNAL,
    JOURNAL_JWT,
    NODES_JWT,
    NODES_SIGNING,
    OPERATOR,
    OPERATOR_SIGNING,
    SYSTEM,
    SYSTEM_LOGIN,
    Trust,
    create,
)

EVERYTHING = claims.User(subs=-1, data=-1, payload=-1)


def account_of(trust: Trust, name: str) -> str:
    return claims.read(trust.read(name), claims.Account)[0].sub


def login(user: claims.User, by: str, *, exp: int = 0) -> str:
    seed = claims.make_seed(claims.USER)
    about = claims.public_key(seed)
    return claims.credentials(claims.sign(user, by=by, about=about, name="m", exp=exp), seed)


def expired(trust: Trust, directory: Path) -> str:
    user = claims.User(issuer_account=account_of(trust, NODES_JWT))
    return login(user, trust.read(NODES_SIGNING), exp=int(time.time()) - 1)


def foreign(trust: Trust, directory: Path) -> str:
    return create(directory).node_login("m")


def for_another_account(trust: Trust, directory: Path) -> str:
    """The nodes' signing key signs a login to the journal."""
    user = claims.User(issuer_account=account_of(trust, JOURNAL_JWT))
    return login(user, trust.read(NODES_SIGNING))


def for_the_system(trust: Trust, directory: Path) -> str:
    user = claims.User(issuer_account=claims.public_key(trust.read(SYSTEM)))
    return login(user, trust.read(NODES_SIGNING))


def with_permissions(trust: Trust, directory: Path) -> str:
    """The nodes' signing key signs a login that says itself what it may do."""
    user = msgspec.structs.replace(EVERYTHING, issuer_account=account_of(trust, NODES_JWT))
    return login(user, trust.read(NODES_SIGNING))


def by_the_operator(trust: Trust, directory: Path) -> str:
    user = msgspec.structs.replace(EVERYTHING, issuer_account=account_of(trust, NODES_JWT))
    return login(user, trust.read(OPERATOR))


def by_itself(trust: Trust, directory: Path) -> str:
    seed = claims.make_seed(claims.USER)
    about = claims.public_key(seed)
    user = claims.User(issuer_account=account_of(trust, NODES_JWT))
    return claims.credentials(claims.sign(user, by=seed, about=about, name="m"), seed)


def by_an_account_of_its_own(trust: Trust, directory: Path) -> str:
    return login(EVERYTHING, claims.make_seed(claims.ACCOUNT))


def by_the_accounts_signing_key(trust: Trust, directory: Path) -> str:
    return login(EVERYTHING, trust.read(OPERATOR_SIGNING))


def with_another_s_seed(trust: Trust, directory: Path) -> str:
    token = claims.token_in(trust.node_login("m"))
    return claims.credentials(token, claims.make_seed(claims.USER))


def changed(change: Callable[[str, str, str], str]) -> Callable[[Trust, Path], str]:
    def make(trust: Trust, directory: Path) -> str:
        text = trust.node_login("m")
        token = claims.token_in(text)
        return text.replace(token, change(*token.split(".")))

    return make


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def renamed(head: str, payload: str, signature: str) -> str:
    said = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert b'"name":"m"' in said
    other = encoded(said.replace(b'"name":"m"', b'"name":"n"'))
    return f"{head}.{other}.{signature}"


def without_algorithm(head: str, payload: str, signature: str) -> str:
    header = encoded(b'{"typ":"JWT","alg":"none"}')
    return f"{header}.{payload}."


REFUSED: dict[str, Callable[[Trust, Path], str]] = {
    "that has ended": expired,
    "of another fleet": foreign,
    "to another account": for_another_account,
    "to the system account": for_the_system,
    "with permissions of its own": with_permissions,
    "signed by the operator": by_the_operator,
    "signed by itself": by_itself,
    "signed by an account that there isn't": by_an_account_of_its_own,
    "signed by the key that signs accounts": by_the_accounts_signing_key,
    "whose seed is another's": with_another_s_seed,
    "with another name": changed(renamed),
    "without a signature": changed(lambda head, payload, _: f"{head}.{payload}."),
    "signed with no algorithm": changed(without_algorithm),
    "with another's signature": changed(lambda head, payload, _: f"{head}.{payload}.{'A' * 86}"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_no_login_is_taken(broker: OwnBroker, what: str, tmp_path: Path) -> None:
    text = REFUSED[what](broker.trust, tmp_path)
    async with broker.raw(text) as raw:
        assert [line for line in raw.lines if "authorization" in line.lower()], raw.lines
        assert await raw.settle() == []


async def test_a_login_that_ends_while_it_is_used_is_used_no_longer(broker: OwnBroker) -> None:
    async with broker.raw(broker.trust.node_login("m", expires=2)) as raw:
        assert raw.lines == []
        assert any("expired" in line.lower() for line in await raw.until_ended())


async def test_nobody_gets_in_without_a_login_or_in_the_clear(broker: OwnBroker) -> None:
    text = broker.trust.node_login("m")
    async with Raw(broker.ports[0], text) as raw:
        assert not [line for line in raw.lines if line.startswith("+OK")]
        raw.publish("beat.m")
        assert raw.lines == [] or "TLS" in raw.lines[0] or "Secure" in raw.lines[0]


async def test_the_login_that_changes_accounts_does_that_and_sees_nothing_else(
    broker: OwnBroker,
) -> None:
    async with broker.raw(broker.trust.read(SYSTEM_LOGIN)) as raw:
        raw.send("SUB _INBOX.a.> 1")
        assert await raw.settle() == []
        for subject in (
            "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.CLAIMS.DELETE",
            "$SYS.REQ.ACCOUNT.X.INFO",
        ):
            raw.publish(subject, reply="_INBOX.a.1")
            assert len(await raw.settle()) == 1, subject
        for subject in ("$SYS.>", ">", "$SYS.ACCOUNT.>"):
            raw.send(f"SUB {subject} 2")
            assert len(await raw.settle()) == 1, subject


async def test_the_key_of_one_account_signs_no_login_to_another(broker: OwnBroker) -> None:
    user = msgspec.structs.replace(EVERYTHING, issuer_account=account_of(broker.trust, NODES_JWT))
    async with broker.raw(login(user, broker.trust.read(JOURNAL))) as raw:
        assert [line for line in raw.lines if "authorization" in line.lower()]
