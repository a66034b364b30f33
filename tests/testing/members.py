"""Nodes that came by an invite, as controllers have let them in."""

import asyncio
import time

from tests.testing.own_broker import OwnBroker
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.seal import Seal
from towline.broker.settings import Settings
from towline.controller.fleet import Fleet
from towline.controller.members import Members
from towline.trust import claims
from towline.trust.keys import JOURNAL_LOGIN, NODES_JWT, NODES_SIGNING
from towline.wire.member import MemberRecord


def admit(broker: OwnBroker, hostname: str, labels: dict[str, str]) -> str:
    """Let a node in; return its login, as the text of a `.creds` file.

    Its machine id is its hostname at first, as in `OwnBroker.login_of`.
    """
    account, _ = claims.read(broker.trust.read(NODES_JWT), claims.Account)
    seed = claims.make_seed(claims.USER)
    key = claims.public_key(seed)
    token = claims.sign(
        claims.User(issuer_account=account.sub),
        by=broker.trust.read(NODES_SIGNING),
        about=key,
        name=hostname,
        exp=int(time.time()) + 3600,
    )
    now = time.time()
    record = MemberRecord(
        *(hostname, key, "", hostname, "accepted", "i1", now, "ann", now), labels=labels
    )
    asyncio.run(_add(broker, record))
    return claims.credentials(token, seed)


async def _add(broker: OwnBroker, record: MemberRecord) -> None:
    settings = Settings(broker.url.split(","), broker.trust.path(JOURNAL_LOGIN), broker.ca)
    async with Connection(settings, "tests") as connection:
        members = Members(JetStream(connection, seal=Seal(broker.trust.stored_key())), Fleet())
        await members.create(1)
        await members.add(record)
