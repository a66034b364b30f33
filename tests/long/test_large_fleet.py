"""A whole fleet that comes back at once after its broker was away."""

import asyncio
import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from tests.testing.process import wait_until

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
Fleet: Any = importlib.import_module("fleet").Fleet

NODES, HEARTBEAT = (2000, "5s") if "TOWLINE_LONG_TESTS" in os.environ else (200, "1s")
COST = 5
"""Numbers a node may use up on its way back. The server gives them to consumers as well, so some
three are usual: a fleet that spins uses up hundreds."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Fleet(tmp_path_factory.mktemp("many"), NODES, heartbeat=HEARTBEAT) as fleet:
        fleet.wait_until_here(timeout=60)
        yield fleet


def test_a_fleet_is_back_after_the_broker_was_killed_and_nobody_is_refused_or_spins(
    many: Any,
) -> None:
    client: httpx.Client = many.clients[0]
    many.broker.process.kill()
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
    assert len(results) == NODES
    assert {result["status"] for result in results} == {"ok"}
    log = many.broker.process.stderr
    assert not re.search("authentication|authorization|slow consumer", log, re.IGNORECASE)
    assert NODES < _numbered(many) <= COST * (NODES + 1)


def _numbered(fleet: Any) -> int:
    """Return the number that the server gives a client now: it counts them from its start."""

    async def connect() -> int:
        broker = fleet.broker
        client = await nats.connect(broker.url, user="tests", password=broker.password)
        try:
            return client.client_id or 0
        finally:
            await client.close()

    return asyncio.run(connect())
