"""A stream for tests of the broker's client: made, filled, and followed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from tests.testing.process import wait_until
from towline.broker.answers import BrokerRefused
from towline.broker.connection import Connection
from towline.broker.consumer import Follower, Message
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.broker.streams import create_stream
from towline.errors import BrokerUnreachable

STREAM = "TESTS"
HEARTBEAT = 0.5


def connect(
    settings: Settings,
    name: str = "tests",
    on_change: Callable[[bool], None] | None = None,
    **more: Any,
) -> Connection:
    """Return a connection that notices silence sooner than is good elsewhere."""
    return Connection(
        settings, name, on_change, **{"ping_interval": 0.3, "longest_pause": 0.5, **more}
    )


async def make_stream(jetstream: JetStream, **more: Any) -> None:
    """Make the stream, which holds all subjects below `t`."""
    config = {"name": STREAM, "subjects": ["t.>"], "max_consumers": 100, **more}
    await create_stream(jetstream, config)


async def until(predicate: Callable[[], bool], what: str) -> None:
    """Wait until the predicate holds, and let the event loop go on meanwhile."""
    await asyncio.to_thread(wait_until, predicate, what=what)


async def until_answered(ask: Callable[[], Awaitable[bool]]) -> None:
    """Ask the broker until it says yes, and bear with it while it can't answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(BrokerUnreachable, BrokerRefused):
                if await ask():
                    return


async def last_sequence(jetstream: JetStream) -> int:
    """Return how many messages the stream has ever been given."""
    answer = await jetstream.call(f"STREAM.INFO.{STREAM}")
    return int(answer["state"]["last_seq"])


async def fill(jetstream: JetStream, first: int, last: int) -> None:
    """Append messages that are numbers, with ids made of them."""
    for number in range(first, last + 1):
        await jetstream.append("t.a", b"%d" % number, message_id=f"id-{number}", timeout=30)


async def consumers(jetstream: JetStream) -> list[str]:
    """Return the names of the stream's consumers."""
    answer = await jetstream.call(f"CONSUMER.NAMES.{STREAM}")
    return list(answer["consumers"] or [])


async def delete_consumers(jetstream: JetStream) -> None:
    """Take away all consumers of the stream."""
    for name in await consumers(jetstream):
        await jetstream.call(f"CONSUMER.DELETE.{STREAM}.{name}")


class Following:
    """A follower at work: what it has yielded, as it comes."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.messages: list[Message] = []
        self.task: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> "Following":
        self.task = asyncio.create_task(self._follow())
        await until(self.follower.ready.is_set, "the follower's consumer")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await until(self.task.done, "the end of the follower")

    async def _follow(self) -> None:
        async for message in self.follower:
            self.messages.append(message)

    @property
    def numbers(self) -> list[int]:
        """The messages as numbers."""
        return [int(message.data) for message in self.messages]

    async def until(self, *numbers: int) -> None:
        """Wait until all of these have come."""
        await until(lambda: {*numbers} <= {*self.numbers}, f"messages up to {numbers[-1]}")


def ephemeral(jetstream: JetStream, **more: Any) -> Follower:
    """Return a follower of the stream that notices silence soon."""
    return Follower(jetstream, STREAM, **{"heartbeat": HEARTBEAT, **more})
