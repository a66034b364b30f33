"""Idempotency keys in a real broker."""

import asyncio

import pytest

from tests.testing.broker import Broker
from towline.broker.jetstream import JetStream
from towline.controller.jobs.idempotency import AHEAD, BEHIND, BUCKET, Keys, check_time, digest
from towline.errors import Conflict, InvalidRequest
from towline.wire.job import first_id, new_id

ONE, OTHER = new_id(), new_id()
REQUEST = digest("docker.pull.execute", {"image": "app:1"})


@pytest.fixture
async def keys(jetstream: JetStream) -> Keys:
    keys = Keys(jetstream)
    await keys.create(1)
    return keys


async def test_a_key_stands_for_the_first_job_that_it_was_reserved_for(keys: Keys) -> None:
    assert await keys.find("ann", "k", REQUEST) is None
    assert await keys.reserve("ann", "k", REQUEST, ONE) is None
    assert await keys.reserve("ann", "k", REQUEST, OTHER) == ONE
    assert await keys.find("ann", "k", REQUEST) == ONE


async def test_another_caller_s_key_is_another_key(keys: Keys) -> None:
    assert await keys.reserve("ann", "k", REQUEST, ONE) is None
    assert await keys.reserve("ben", "k", REQUEST, OTHER) is None


async def test_a_key_that_is_a_job_s_id_is_one_for_all_callers(keys: Keys) -> None:
    assert await keys.reserve("ann", ONE, REQUEST, ONE) is None
    assert await keys.reserve("ann", ONE.upper(), REQUEST, ONE) == ONE
    for asking in (keys.find("ben", ONE, REQUEST), keys.reserve("ben", ONE, REQUEST, ONE)):
        with pytest.raises(Conflict, match="came with another request before"):
            await asking


@pytest.mark.parametrize("seconds", [-BEHIND + 1, 0.0, AHEAD - 1])
def test_an_id_is_taken_whose_time_is_not_far_from_now(seconds: float) -> None:
    check_time(first_id(1.8e9 + seconds), 1.8e9, BEHIND)


@pytest.mark.parametrize(
    ("seconds", "words"), [(-BEHIND - 1, "82801 s ago"), (AHEAD + 1, "3601 s ahead")]
)
def test_an_id_is_refused_whose_time_is_far_from_now(seconds: float, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_time(first_id(1.8e9 + seconds), 1.8e9, BEHIND)


async def test_a_key_that_comes_with_another_request_is_a_conflict(keys: Keys) -> None:
    await keys.reserve("ann", "k", REQUEST, ONE)
    for asking in (keys.find("ann", "k", digest("x")), keys.reserve("ann", "k", digest("x"), "j")):
        with pytest.raises(Conflict, match=ONE):
            await asking


async def test_of_many_requests_with_one_key_all_get_one_job(keys: Keys) -> None:
    ids = [new_id() for number in range(20)]
    kept = await asyncio.gather(*(keys.reserve("ann", "k", REQUEST, job) for job in ids))
    first = ids[kept.index(None)]
    assert sorted(kept, key=str) == sorted([None, *[first] * 19], key=str)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"job": 7}'])
async def test_what_can_t_be_read_stands_for_no_job(
    keys: Keys, own_broker: Broker, data: bytes
) -> None:
    subject = f"$KV.{BUCKET}.{digest('ann', 'k')}"
    await asyncio.to_thread(own_broker.publish, subject, data)
    assert await keys.find("ann", "k", REQUEST) is None
    assert await keys.reserve("ann", "k", REQUEST, ONE) is None
    assert await keys.find("ann", "k", REQUEST) == ONE


def test_a_digest_differs_for_what_differs_and_nothing_else() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("a", "b") != digest("ab")
