"""Idempotency keys in a real broker."""

import asyncio

import pytest

from tests.testing.broker import Broker
from towline.broker.jetstream import JetStream
from towline.controller.jobs.idempotency import BUCKET, Keys, digest
from towline.errors import Conflict
from towline.wire.job import new_id

ONE, OTHER = new_id(), new_id()
REQUEST = digest("docker.pull.execute", {"image": "app:1"})


@pytest.fixture
async def keys(jetstream: JetStream) -> Keys:
    keys = Keys(jetstream)
    await keys.create(1)
    return keys


async def test_a_key_stands_for_the_first_job_that_it_was_reserved_for(keys: Keys) -> None:
    assert await keys.find("ann", "k", REQUEST) is None
    assert await keys.reserve("ann", "k", REQUEST, ONE) == ONE
    assert await keys.reserve("ann", "k", REQUEST, OTHER) == ONE
    assert await keys.find("ann", "k", REQUEST) == ONE


async def test_another_caller_s_key_is_another_key(keys: Keys) -> None:
    assert await keys.reserve("ann", "k", REQUEST, ONE) == ONE
    assert await keys.reserve("ben", "k", REQUEST, OTHER) == OTHER


async def test_a_key_that_comes_with_another_request_is_a_conflict(keys: Keys) -> None:
    await keys.reserve("ann", "k", REQUEST, ONE)
    for asking in (keys.find("ann", "k", digest("x")), keys.reserve("ann", "k", digest("x"), "j")):
        with pytest.raises(Conflict, match=ONE):
            await asking


async def test_of_many_requests_with_one_key_all_get_one_job(keys: Keys) -> None:
    jobs = await asyncio.gather(
        *(keys.reserve("ann", "k", REQUEST, new_id()) for number in range(20))
    )
    assert len(set(jobs)) == 1


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"job": 7}'])
async def test_what_can_t_be_read_stands_for_no_job(
    keys: Keys, own_broker: Broker, data: bytes
) -> None:
    subject = f"$KV.{BUCKET}.{digest('ann', 'k')}"
    await asyncio.to_thread(own_broker.publish, subject, data)
    assert await keys.find("ann", "k", REQUEST) is None
    assert await keys.reserve("ann", "k", REQUEST, ONE) == ONE
    assert await keys.find("ann", "k", REQUEST) == ONE


def test_a_digest_differs_for_what_differs_and_nothing_else() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("a", "b") != digest("ab")
