"""The cooldowns of registries, kept by controllers in a real broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.testing.broker import Broker
from towline.broker.jetstream import JetStream
from towline.controller.cooldowns import Cooldowns, cooldown_key
from towline.errors import BrokerUnreachable
from towline.operations import docker, node
from towline.wire.cooldown import FIRST, Cooldown
from towline.wire.job import Job, new_id
from towline.wire.report import CooldownQuestion

NOW = 1_800_000_000.0
REGISTRY = "registry.internal:5000"


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


class Clock:
    """The controllers' clock, which stands still."""

    def __init__(self) -> None:
        self.moment = NOW

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def controller(jetstream: JetStream, clock: Clock) -> AsyncIterator[Callable[[], Any]]:
    """Makes controllers' cooldowns, all at one broker, each of which follows them."""
    running: list[asyncio.Task[None]] = []
    await Cooldowns(jetstream, clock).create(1)

    def make() -> Cooldowns:
        made = Cooldowns(jetstream, clock, interval=0.5)
        running.append(asyncio.create_task(made.run()))
        return made

    yield make
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def a_job(image: str = f"{REGISTRY}/app:1.0", *, nodes: int = 4) -> Job:
    parameters = {"image": image}
    return Job(new_id(), docker.pull.name, parameters, "_all", "ci", NOW, NOW + 3600, nodes=nodes)


def refused(job: Job, **more: Any) -> CooldownQuestion:
    return CooldownQuestion(job.id, "toomanyrequests", **more)


async def test_what_one_controller_begins_all_know_until_its_return_is_over(
    controller: Callable[[], Cooldowns], clock: Clock
) -> None:
    one, other, job = controller(), controller(), a_job()
    assert one.of(job) is None
    begun = await one.limited(job, "web-01", refused(job))
    assert begun == Cooldown(
        REGISTRY, NOW, NOW + FIRST, NOW + FIRST + 2, 1, "web-01", "toomanyrequests"
    )
    assert one.of(job) == begun
    await until(lambda: other.of(job) == begun)
    assert other.of(a_job(f"{REGISTRY}/another@sha256:{'0' * 64}")) == begun
    assert other.of(a_job("nginx")) is None
    clock.moment = begun.over - 0.1
    assert other.of(job) == begun
    clock.moment = begun.over
    assert (one.of(job), other.of(job)) == (None, None)
    # One that starts later learns of it from the broker.
    clock.moment = NOW
    late = controller()
    await until(lambda: late.of(job) == begun)


async def test_of_many_nodes_that_are_refused_together_the_first_begins_one_for_all(
    controller: Callable[[], Cooldowns],
) -> None:
    one, other, job = controller(), controller(), a_job(nodes=40)
    found = await asyncio.gather(
        *(
            asker.limited(job, f"web-{number}", refused(job))
            for number in range(20)
            for asker in (one, other)
        )
    )
    assert len(set(map(repr, found))) == 1
    assert found[0] is not None
    assert found[0].row == 1


async def test_who_was_refused_after_it_has_waited_begins_the_next_at_any_controller(
    controller: Callable[[], Cooldowns], clock: Clock
) -> None:
    one, job = controller(), a_job()
    first = await one.limited(job, "web-01", refused(job))
    assert first is not None
    clock.moment = first.until + 0.5
    # A controller that has not followed yet looks into the broker.
    second = await controller().limited(job, "web-02", refused(job, known=first.since))
    assert second is not None
    assert (second.row, second.by, second.until) == (2, "web-02", clock.moment + 2 * FIRST)
    late = await one.limited(job, "web-03", refused(job, known=first.since))
    assert late == second


async def test_who_began_it_settles_how_long_the_registry_asks_for(
    controller: Callable[[], Cooldowns], clock: Clock
) -> None:
    one, other, job = controller(), controller(), a_job()
    begun = await one.limited(job, "web-01", refused(job))
    assert begun is not None
    clock.moment = NOW + 1
    settled = await other.limited(job, "web-01", refused(job, known=NOW, asked=600.0))
    assert settled is not None
    assert (settled.since, settled.until) == (NOW, NOW + 600.0)
    await until(lambda: one.of(job) == settled)


async def test_a_job_that_logs_in_nowhere_has_none(controller: Callable[[], Cooldowns]) -> None:
    job = Job(new_id(), node.load.name, {}, "_all", "ci", NOW, NOW + 60)
    assert controller().of(job) is None
    assert await controller().limited(job, "web-01", refused(job)) is None


async def test_a_job_that_can_not_be_read_is_refused(
    controller: Callable[[], Cooldowns],
) -> None:
    job = Job(new_id(), docker.pull.name, {"picture": "app"}, "_all", "ci", NOW, NOW + 60)
    with pytest.raises(ValueError, match=job.id):
        controller().of(job)
    with pytest.raises(ValueError, match=job.id):
        await controller().limited(job, "web-01", refused(job))


async def test_one_that_can_not_be_stored_is_an_error_and_counts_for_nobody(
    controller: Callable[[], Cooldowns], own_broker: Broker
) -> None:
    one, job = controller(), a_job()
    begun = await one.limited(job, "web-01", refused(job))
    await asyncio.to_thread(own_broker.stop)
    # What is known needs no broker.
    assert await one.limited(job, "web-02", refused(job)) == begun
    other = a_job("nginx")
    with pytest.raises(BrokerUnreachable):
        async with asyncio.timeout(30):
            await one.limited(other, "web-02", refused(other))
    assert one.of(other) is None


def test_a_key_is_a_registry_s_own_and_fits_a_subject() -> None:
    keys = {cooldown_key(each) for each in (REGISTRY, "registry.example", "[::1]:5000")}
    assert len(keys) == 3
    assert all(key.isalnum() for key in keys)
