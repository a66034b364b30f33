"""Taking nodes' logins back, as a controller does, and whom a broker lets in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from tests.testing.own_broker import OwnBroker
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.controller.logins import Logins
from towline.trust import claims
from towline.trust.account import NodesAccount
from towline.trust.keys import JOURNAL_LOGIN, NODES_JWT, OPERATOR_SIGNING, SYSTEM_LOGIN, Trust

REVOKED = "-ERR 'User Authentication Revoked'"


def make_older(trust: Trust) -> str:
    """Have brokers start with the nodes' account as a version made it in which they said less."""
    before, account = claims.read(trust.read(NODES_JWT), claims.Account)
    (scope,) = account.signing_keys
    subjects = scope.template.pub.allow
    pub = claims.Permission(tuple(each for each in subjects if not each.startswith("inventory.")))
    assert len(pub.allow) < len(subjects)
    template = msgspec.structs.replace(scope.template, pub=pub)
    scopes = (msgspec.structs.replace(scope, template=template),)
    older = claims.sign(
        msgspec.structs.replace(account, signing_keys=scopes),
        by=trust.read(OPERATOR_SIGNING),
        about=before.sub,
        name="NODES",
        iat=before.iat - 60,
    )
    trust.path(NODES_JWT).write_text(older)
    return older


@contextlib.asynccontextmanager
async def taking_back(
    broker: OwnBroker, number: int = 0, *, system: str = SYSTEM_LOGIN, **timings: Any
) -> AsyncIterator[Logins]:
    """Take logins back at one of the brokers for as long as the block lasts.

    `system` is what the account is sent to the broker with.
    """
    url = f"tls://127.0.0.1:{broker.ports[number]}"

    def settings(login: str) -> Settings:
        return Settings([url], broker.trust.path(login), broker.ca)

    async with Connection(settings(JOURNAL_LOGIN), "tests", longest_pause=0.1) as journal:
        logins = Logins(
            *(JetStream(journal), settings(system), NodesAccount(broker.trust)), **timings
        )
        await logins.create(len(broker.ports))
        running = asyncio.create_task(logins.run())
        try:
            yield logins
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def lets_in(broker: OwnBroker, login: str, number: int = 0) -> bool:
    """Return whether a broker lets somebody in with the text of a `.creds` file."""
    async with broker.raw(login, number=number) as raw:
        return not raw.lines


async def until_shut_out(broker: OwnBroker, login: str, number: int = 0) -> None:
    """Wait until a broker lets nobody in with a login."""
    async with asyncio.timeout(30):
        while await lets_in(broker, login, number):
            await asyncio.sleep(0.05)
