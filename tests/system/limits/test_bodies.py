"""Bodies that trickle, and answers that nobody takes, stop nobody else."""

import itertools

from tests.system.limits.conftest import REQUESTS, pull
from tests.testing.answers import refused
from tests.testing.attack import Sender, at_once, meanwhile
from tests.testing.cluster import Cluster


async def test_bodies_that_trickle_are_ended_and_others_are_answered(guarded: Cluster) -> None:
    refusals: list[str] = []
    numbers = itertools.count()

    async def trickle(sender: Sender) -> None:
        token = guarded.token("write", subject=f"slow-{next(numbers) // REQUESTS}")
        await sender.send(pull(token))
        await sender.trickle(b" " * 1000)
        refusals.append(refused(await sender.answer(), 408))

    async with meanwhile(guarded):
        await at_once(100, trickle, guarded)
    assert {said.partition(" within")[0] for said in refusals} == {
        "The request's body has not ended"
    }
