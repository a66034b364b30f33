"""What trickles or never comes is ended, and stops nobody else."""

import asyncio
import itertools

from tests.system.limits.conftest import REQUESTS, pull
from tests.testing.answers import refused
from tests.testing.attack import Sender, at_once, meanwhile
from tests.testing.cluster import Cluster

REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n"


async def test_heads_bodies_and_connections_that_are_slow_are_ended_and_others_are_answered(
    guarded: Cluster,
) -> None:
    """All at once: each of them takes its 20 or 30 seconds."""
    heads: list[str] = []
    bodies: list[str] = []
    numbers = itertools.count()

    async def trickle_head(sender: Sender) -> None:
        await sender.trickle(REQUEST * 10)
        heads.append(refused(await sender.answer(), 408))

    async def trickle_body(sender: Sender) -> None:
        token = guarded.token("write", subject=f"slow-{next(numbers) // REQUESTS}")
        await sender.send(pull(token))
        await sender.trickle(b" " * 1000)
        bodies.append(refused(await sender.answer(), 408))

    async def send_nothing(sender: Sender) -> None:
        assert "No request has come" in refused(await sender.answer(), 408)

    async with meanwhile(guarded), asyncio.TaskGroup() as group:
        group.create_task(at_once(200, trickle_head, guarded))
        group.create_task(at_once(90, trickle_body, guarded))
        group.create_task(at_once(1, send_nothing, guarded))
    assert (len(heads), len(bodies)) == (200, 90)
    assert {said.partition(" within")[0] for said in heads} == {"The request's head has not ended"}
    assert {said.partition(" within")[0] for said in bodies} == {"The request's body has not ended"}
