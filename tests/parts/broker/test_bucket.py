"""Key-value buckets on a real broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.testing.broker import Broker
from tests.testing.relay import Relay
from tests.testing.stream import until
from towline.broker.answers import BrokerRefused, WrongLastSequence
from towline.broker.bucket import Bucket, Change
from towline.broker.jetstream import JetStream
from towline.errors import BrokerUnreachable

UNREADABLE = [b"\x00\x01", b"[]", b"{}", b'{"size": "large"}']


class Thing(msgspec.Struct, frozen=True):
    size: int


def things(jetstream: JetStream, **more: Any) -> Bucket[Thing]:
    return Bucket(jetstream, "things", Thing, **more)


@pytest.fixture
async def bucket(observer: JetStream) -> Bucket[Thing]:
    bucket = things(observer)
    await bucket.create(1)
    return bucket


class Watching:
    """What following a bucket has yielded, as it comes."""

    def __init__(self, bucket: Bucket[Thing]) -> None:
        self._bucket = bucket
        self.changes: list[Change[Thing]] = []

    async def watch(self) -> None:
        async for change in self._bucket.follow():
            self.changes.append(change)

    @property
    def sizes(self) -> list[tuple[str, int]]:
        return [(change.key, change.value.size) for change in self.changes]


@contextlib.asynccontextmanager
async def watching(bucket: Bucket[Thing]) -> AsyncIterator[Watching]:
    watching = Watching(bucket)
    task = asyncio.create_task(watching.watch())
    try:
        yield watching
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_value_is_read_back_with_its_sequence_and_the_broker_s_time(
    bucket: Bucket[Thing], observer: JetStream
) -> None:
    assert await bucket.get("a") is None
    assert await bucket.put("a", Thing(1)) == 1
    assert await bucket.put("a.b", Thing(2)) == 2
    assert await bucket.put("a", Thing(3)) == 3
    entry, other = await bucket.get("a"), await bucket.get("a.b")
    assert entry is not None
    assert other is not None
    assert (entry.key, entry.value, entry.sequence) == ("a", Thing(3), 3)
    assert (other.key, other.value, other.sequence) == ("a.b", Thing(2), 2)
    assert abs(entry.stored - observer.clock.now()) < 60


async def test_values_are_stored_as_other_clients_expect(
    bucket: Bucket[Thing], broker: Broker
) -> None:
    await bucket.put("a", Thing(1))
    await bucket.put("b.c", Thing(2))
    messages = await asyncio.to_thread(broker.messages, "KV_things")
    assert messages == [("$KV.things.a", b'{"size":1}'), ("$KV.things.b.c", b'{"size":2}')]


async def test_a_value_is_stored_only_behind_the_one_that_its_writer_knew(
    bucket: Bucket[Thing],
) -> None:
    first = await bucket.put("a", Thing(1), last=0)
    with pytest.raises(WrongLastSequence):
        await bucket.put("a", Thing(2), last=0)
    second = await bucket.put("a", Thing(3), last=first)
    with pytest.raises(WrongLastSequence):
        await bucket.put("a", Thing(4), last=first)
    entry = await bucket.get("a")
    assert entry is not None
    assert (entry.value, entry.sequence) == (Thing(3), second)


async def test_of_many_that_store_the_first_value_of_a_key_one_does(bucket: Bucket[Thing]) -> None:
    puts = (bucket.put("a", Thing(size), last=0) for size in range(20))
    answers = await asyncio.gather(*puts, return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, WrongLastSequence)] == [1]


@pytest.mark.parametrize("data", [b"", *UNREADABLE])
async def test_a_value_that_was_deleted_or_can_t_be_read_counts_as_none(
    bucket: Bucket[Thing], observer: JetStream, data: bytes
) -> None:
    sequence = await observer.append(bucket.subject("a"), data)
    entry = await bucket.get("a")
    assert entry is not None
    assert (entry.value, entry.sequence) == (None, sequence)
    await bucket.put("a", Thing(1), last=0)
    with pytest.raises(WrongLastSequence):
        await bucket.put("a", Thing(2), last=0)
    entry = await bucket.get("a")
    assert entry is not None
    assert entry.value == Thing(1)


async def test_a_value_that_can_t_be_read_is_logged_with_bucket_and_key(
    bucket: Bucket[Thing], observer: JetStream
) -> None:
    await observer.append(bucket.subject("a.b"), b"[]")
    with capture_logs() as logs:
        await bucket.get("a.b")
    (line,) = logs
    assert line["event"] == "value not readable"
    assert (line["bucket"], line["key"]) == ("things", "a.b")


async def test_the_keys_below_a_prefix_are_listed_and_no_others(bucket: Bucket[Thing]) -> None:
    for key in ("x.1", "x.2", "x.2.deeper", "xy.3", "z"):
        await bucket.put(key, Thing(1))
    assert sorted(await bucket.keys("x")) == ["x.1", "x.2"]
    assert await bucket.keys("absent") == []


async def test_a_purged_key_is_gone_and_may_be_stored_anew(bucket: Bucket[Thing]) -> None:
    await bucket.put("x.1", Thing(1))
    await bucket.put("x.2", Thing(2))
    assert await bucket.purge("x.1")
    assert not await bucket.purge("x.1")
    assert await bucket.get("x.1") is None
    assert await bucket.keys("x") == ["x.2"]
    await bucket.put("x.1", Thing(3), last=0)


async def test_a_newer_value_than_its_purger_knew_stays(bucket: Bucket[Thing]) -> None:
    first = await bucket.put("a", Thing(1))
    second = await bucket.put("a", Thing(2))
    assert not await bucket.purge("a", up_to=first)
    assert await bucket.get("a") is not None
    assert await bucket.purge("a", up_to=second)
    assert await bucket.get("a") is None


async def test_a_bucket_that_is_full_refuses_or_forgets_the_oldest(observer: JetStream) -> None:
    full = Bucket(observer, "full", bytes, max_bytes=4096)
    rolling = Bucket(observer, "rolling", bytes, max_bytes=4096, discard="old")
    for bucket in (full, rolling):
        await bucket.create(1)
        await bucket.put("first", bytes(1000))
    for number in range(10):
        await rolling.put(f"more-{number}", bytes(1000))
    puts = [full.put(f"more-{number}", bytes(1000)) for number in range(10)]
    *_, last = await asyncio.gather(*puts, return_exceptions=True)
    assert isinstance(last, BrokerRefused)
    assert "maximum bytes" in last.details
    assert await full.get("first") is not None
    assert await rolling.get("first") is None


async def test_a_value_is_forgotten_when_it_is_too_old(observer: JetStream) -> None:
    bucket = things(observer, max_age=0.5)
    await bucket.create(1)
    await bucket.put("a", Thing(1))
    async with asyncio.timeout(30):
        while await bucket.get("a") is not None:
            await asyncio.sleep(0.05)
    await bucket.put("a", Thing(2), last=0)


async def test_an_existing_bucket_is_left_as_it_is(bucket: Bucket[Thing]) -> None:
    await bucket.put("a", Thing(1))
    await bucket.create(1)
    await things(bucket._jetstream, storage="memory", max_age=1.0).create(1)
    answer = await bucket._jetstream.call("STREAM.INFO.KV_things")
    assert (answer["config"]["storage"], answer["config"]["max_age"]) == ("file", 0)
    assert await bucket.get("a") is not None


@pytest.mark.parametrize(("storage", "kept"), [("file", True), ("memory", False)])
async def test_a_restart_of_the_broker_empties_a_bucket_in_memory_alone(
    observer: JetStream, broker: Broker, storage: str, kept: bool
) -> None:
    bucket = things(observer, storage=storage)
    await bucket.create(1)
    await bucket.put("a", Thing(1))
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    await bucket.create(1)
    assert (await bucket.get("a") is not None) == kept


async def test_following_yields_the_newest_of_each_key_and_then_every_change(
    bucket: Bucket[Thing],
) -> None:
    for size, key in enumerate(["a", "b.c", "a"]):
        await bucket.put(key, Thing(size))
    async with watching(bucket) as seen:
        await until(lambda: len(seen.changes) == 2, "what is there")
        assert seen.sizes == [("b.c", 1), ("a", 2)]
        assert [change.live for change in seen.changes] == [False, False]
        await bucket.put("a", Thing(3))
        # The broker has only the newest: one that is replaced at once may be sent to nobody.
        await until(lambda: len(seen.changes) == 3, "what comes")
        await bucket.put("a", Thing(4))
        await until(lambda: len(seen.changes) == 4, "what comes")
    assert seen.sizes[2:] == [("a", 3), ("a", 4)]
    assert [change.live for change in seen.changes[2:]] == [True, True]


async def test_following_goes_on_past_what_was_deleted_or_can_t_be_read(
    bucket: Bucket[Thing], observer: JetStream
) -> None:
    await bucket.put("a", Thing(1))
    async with watching(bucket) as seen:
        await until(lambda: len(seen.changes) == 1, "what is there")
        for data in (b"", *UNREADABLE):
            await observer.append(bucket.subject("a"), data)
        await bucket.put("b", Thing(2))
        await until(lambda: len(seen.changes) == 2, "what comes")
    assert seen.sizes == [("a", 1), ("b", 2)]


async def test_following_begins_anew_after_an_interruption_with_what_is_there_then(
    jetstream: JetStream, observer: JetStream, relay: Relay
) -> None:
    bucket, elsewhere = things(jetstream), things(observer)
    await bucket.create(1)
    await bucket.put("a", Thing(1))
    async with watching(bucket) as seen:
        await until(lambda: len(seen.changes) == 1, "what is there")
        await elsewhere.put("a", Thing(2))
        await until(lambda: len(seen.changes) == 2, "what comes")
        relay.cut()
        await until(lambda: len(seen.changes) == 3, "the newest once more")
        await elsewhere.put("b", Thing(3))
        await until(lambda: len(seen.changes) == 4, "what comes")
    assert seen.sizes == [("a", 1), ("a", 2), ("a", 2), ("b", 3)]
    assert [change.live for change in seen.changes] == [False, True, False, True]


async def test_a_bucket_that_is_not_there_is_an_error_at_once(observer: JetStream) -> None:
    bucket = things(observer)
    with pytest.raises(BrokerRefused, match="stream not found"):
        await bucket.get("a")
    with pytest.raises(BrokerUnreachable, match="nothing there answers"):
        await bucket.put("a", Thing(1), timeout=0.1)
