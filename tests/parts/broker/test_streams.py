"""Lists of streams and of who follows them, from a real broker."""

import asyncio
import contextlib

from tests.testing.stream import until
from towline.broker.consumer import Follower
from towline.broker.jetstream import JetStream
from towline.broker.streams import create_stream, list_consumers, list_streams

PAGES = 300
"""Streams: more than the server names in one answer."""


def config(name: str) -> dict[str, object]:
    return {"name": name, "subjects": [f"{name}.*"], "storage": "memory", "retention": "limits"}


async def test_all_streams_are_listed_however_many_answers_that_takes(observer: JetStream) -> None:
    names = [f"stream-{number:03}" for number in range(PAGES)]
    for name in names:
        await create_stream(observer, config(name))
    for subject in ("a", "a", "b"):
        await observer.append(f"{names[-1]}.{subject}", b"some")
    found = await list_streams(observer)
    assert [each.name for each in found] == names
    assert (found[-1].state.messages, found[-1].state.num_subjects) == (3, 2)
    assert found[-1].state.bytes > 12
    assert (found[0].state.messages, found[0].state.consumer_count) == (0, 0)


async def test_who_follows_a_stream_is_listed_with_what_is_still_to_come(
    observer: JetStream,
) -> None:
    await create_stream(observer, config("followed"))
    assert await list_consumers(observer, "followed") == []
    await observer.append("followed.a", b"some")
    received: list[bytes] = []

    async def follow() -> None:
        async for message in Follower(observer, "followed"):
            received.append(message.data)

    following = asyncio.create_task(follow())
    try:
        await until(lambda: len(received) == 1, "the message")
        (consumer,) = await list_consumers(observer, "followed")
        assert consumer.name
        assert (consumer.num_pending, consumer.num_redelivered) == (0, 0)
        (stream,) = await list_streams(observer)
        assert stream.state.consumer_count == 1
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
