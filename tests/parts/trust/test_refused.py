"""A broker that refuses a login, or that nobody known vouches for: what is told, and read anew."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.testing.own_broker import OwnBroker
from tests.testing.ports import free_port
from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.trust import claims
from towline.trust.certificates import make_authority
from towline.trust.keys import NODES_SIGNING

NODE = "web-01"


@contextlib.asynccontextmanager
async def connecting(settings: Settings) -> AsyncIterator[tuple[Connection, asyncio.Event]]:
    """Yield a connection, and what is set when it is refused."""
    refused = asyncio.Event()
    async with Connection(
        settings, "tests", inbox=f"_INBOX.{NODE}", on_refused=refused.set, longest_pause=0.1
    ) as connection:
        yield connection, refused


@pytest.fixture
def files(broker: OwnBroker, tmp_path: Path) -> Settings:
    """Files of a node that are all right."""
    login, ca = tmp_path / "node.creds", tmp_path / "ca.pem"
    login.touch(0o600)
    login.write_text(broker.trust.node_login(NODE))
    ca.write_text(broker.ca.read_text())
    return Settings([broker.url], login, ca)


def ended(broker: OwnBroker, login: str) -> str:
    """Return a login with the key of another one, which has ended."""
    found, user = claims.read(claims.token_in(login), claims.User)
    jwt = claims.sign(
        claims.User(issuer_account=user.issuer_account),
        by=broker.trust.read(NODES_SIGNING).split()[0],
        about=found.sub,
        name=found.name,
        iat=1,
        exp=2,
    )
    return claims.credentials(jwt, claims.seed_in(login))


@pytest.mark.parametrize("what", ["login", "certificate"])
async def test_it_is_told_and_the_next_attempt_reads_what_has_been_put_right(
    broker: OwnBroker, files: Settings, what: str
) -> None:
    assert files.ca is not None
    assert files.credentials is not None
    path = files.credentials if what == "login" else files.ca
    good = path.read_text()
    path.write_text(ended(broker, good) if what == "login" else make_authority().certificate)
    async with asyncio.timeout(60), connecting(files) as (connection, refused):
        await refused.wait()
        assert not connection.connected
        path.write_text("unreadable")
        refused.clear()
        await asyncio.sleep(0.3)
        path.write_text(good)
        await connection.client()
        assert connection.connected


async def test_a_broker_that_is_not_there_refuses_nobody(files: Settings, tmp_path: Path) -> None:
    nowhere = Settings([f"tls://127.0.0.1:{free_port()}"], files.credentials, files.ca)
    async with connecting(nowhere) as (connection, refused):
        await asyncio.sleep(0.3)
        assert connection.last_error != "not connected yet"
    assert not refused.is_set()
