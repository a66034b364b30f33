"""A whole fleet that comes back at once after its broker was away."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import nats
import pytest
from scripts.fleet import Fleet

from tests.testing.broker import JOURNAL_USER
from tests.testing.own_broker import OwnBroker
from tests.testing.process import wait_until
from towline.trust.keys import JOURNAL_LOGIN

COST = 5
"""Numbers a node may use up on its way back. The server gives them to consumers as well, so some
three are usual: a fleet that spins uses up hundreds."""


@pytest.fixture(
    params=[
        pytest.param((200, True), marks=pytest.mark.smoke, id="200 with logins of their own"),
        pytest.param((2000, True), id="2000 with logins of their own"),
        pytest.param((2000, False), id="2000 with a password"),
    ]
)
def many(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """So many nodes, all of them here."""
    nodes, own_logins = request.param
    heartbeat = "1s" if nodes < 1000 else "5s"
    with Fleet(tmp_path, nodes, heartbeat=heartbeat, own_logins=own_logins) as fleet:
        fleet.wait_until_here(timeout=60)
        yield fleet


def test_a_fleet_is_back_after_the_broker_was_killed_and_nobody_is_refused_or_spins(
    many: Fleet,
) -> None:
    client: httpx.Client = many.clients[0]
    many.broker.kill()
    wait_until(
        lambda: client.get("/health/ready").status_code == 503, what="the controller to notice"
    )
    many.broker.start()
    wait_until(lambda: client.get("/health/ready").status_code == 200, what="readiness")
    many.wait_until_here(timeout=60)

    answer = client.post(
        "/node/_all/container/docker/pull", json={"image": "back:1"}, headers={"Prefer": "wait=30"}
    )
    results = answer.json()["results"]
    assert len(results) == many.nodes
    assert {result["status"] for result in results} == {"ok"}
    refused = re.search(
        "authentication|authorization|slow consumer", many.broker.log, re.IGNORECASE
    )
    assert not refused, refused
    assert many.nodes < _numbered(many) <= COST * (many.nodes + 1)


def _numbered(fleet: Fleet) -> int:
    """Return the number that the server gives a client now: it counts them from its start."""

    async def connect() -> int:
        broker = fleet.broker
        if isinstance(broker, OwnBroker):
            async with broker.client(broker.trust.path(JOURNAL_LOGIN)) as client:
                return client.client_id or 0
        client = await nats.connect(broker.url, user=JOURNAL_USER, password=broker.password)
        try:
            return client.client_id or 0
        finally:
            await client.close()

    return asyncio.run(connect())
