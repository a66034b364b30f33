"""Key-value buckets: the newest value of each key, kept by the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from towline.broker.answers import NANOSECONDS, WrongLastSequence, unreadable
from towline.broker.connection import REQUEST_TIMEOUT
from towline.broker.consumer import Follower
from towline.broker.jetstream import JetStream
from towline.broker.repeated import Repeated
from towline.broker.streams import create_stream, newest_message
from towline.wire.decoding import Decoder, Unreadable

T = TypeVar("T")

MOST_KEYS = 100_000
"""Keys that `Bucket.keys` lists at most: the server names no more subjects in one answer."""


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """The newest value of a key.

    Attributes:
        value: None where the key was deleted, or where what is stored can't be read.
        sequence: its place in the bucket, for a later `Bucket.put`.
        stored: seconds since 1970, by the broker's clock.
        unreadable: whether something is stored that can't be read.
    """

    key: str
    value: T | None
    sequence: int
    stored: float
    unreadable: bool = False


class Change(msgspec.Struct, Generic[T], frozen=True):
    """A value of a key, as `Bucket.follow` comes upon it.

    Attributes:
        sequence: its place in the bucket.
        stored: seconds since 1970, by the broker's clock.
        live: whether it was stored while the bucket was followed, not before.
    """

    key: str
    value: T
    sequence: int
    stored: float
    live: bool


class _State(msgspec.Struct):
    bytes: int
    subjects: dict[str, int] | None = None


class Bucket(Generic[T]):
    """A NATS JetStream key-value bucket, with values of one type, as JSON behind the seal's mark.

    The stream `KV_<name>` stores it, with the message of each key on the subject
    `$KV.<name>.<key>`, as other NATS clients expect.

    A value that can't be read is logged and counts as none: what others write ends no loop.

    Attributes:
        unreadable: how often a value was found that could not be read.

    Args:
        kind: the type of the values.
        storage: `file`, or `memory` for what a restart of the broker may lose.
        max_age: seconds after which a value is forgotten; 0 for never.
        max_bytes: how much it may hold; None for any amount.
        discard: `new` refuses what would not fit, `old` forgets the oldest values for it.
        deny_delete: whether the broker refuses to delete single messages by their sequence.
        max_consumers: how many may follow it; None for as many as the server allows.
    """

    def __init__(
        self,
        jetstream: JetStream,
        name: str,
        kind: type[T],
        *,
        storage: Literal["file", "memory"] = "file",
        max_age: float = 0.0,
        max_bytes: int | None = None,
        discard: Literal["new", "old"] = "new",
        deny_delete: bool = False,
        max_consumers: int | None = None,
    ) -> None:
        self._jetstream = jetstream
        self._name = name
        self._stream = f"KV_{name}"
        self._decoder = Decoder(kind)
        self._misread = Repeated("value not readable")
        self.unreadable = 0
        self._config: dict[str, Any] = {
            "name": self._stream,
            "subjects": [self.subject(">")],
            "retention": "limits",
            "storage": storage,
            "max_age": int(max_age * NANOSECONDS),
            "max_msgs_per_subject": 1,
            "discard": discard,
            "allow_rollup_hdrs": True,
            "deny_delete": deny_delete,
            "allow_direct": True,
        }
        if max_bytes is not None:
            self._config["max_bytes"] = max_bytes
        if max_consumers is not None:
            self._config["max_consumers"] = max_consumers

    def subject(self, key: str) -> str:
        """Return the subject that carries the values of a key."""
        return f"$KV.{self._name}.{key}"

    def _key(self, subject: str) -> str:
        return subject.split(".", 2)[2]

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist; an existing one is left as it is.

        Args:
            replicas: copies of it in a cluster.

        Raises:
            BrokerError: it could not be made.
        """
        await create_stream(self._jetstream, {**self._config, "num_replicas": replicas})

    # Values

    async def get(self, key: str, *, timeout: float = REQUEST_TIMEOUT) -> Entry[T] | None:
        """Return the newest value of a key, or None where the bucket has never had one.

        The stream's leader answers: what anybody has stored a moment ago is there.

        Raises:
            BrokerError: it isn't known.
        """
        message = await newest_message(
            self._jetstream, self._stream, self.subject(key), timeout=timeout
        )
        if message is None:
            return None
        value = self._read(key, message.data)
        unreadable = value is None and bool(message.data)
        return Entry(key, value, message.sequence, message.stored, unreadable)

    async def put(
        self, key: str, value: T, *, last: int | None = None, timeout: float = REQUEST_TIMEOUT
    ) -> int:
        """Store a value; return its sequence.

        Args:
            last: store it only where this is the sequence of the key's newest value; 0 for only
                where the key has none: never had, or one that was deleted or can't be read.

        Raises:
            WrongLastSequence: the key has a newer value: perhaps this very one, stored by an
                attempt whose acknowledgement was lost.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        subject = self.subject(key)
        data = self._jetstream.seal.close(subject, msgspec.json.encode(value))
        try:
            return await self._jetstream.append(subject, data, last=last, timeout=timeout)
        except WrongLastSequence:
            newest = await self.get(key, timeout=timeout) if last == 0 else None
            if newest is None or newest.value is not None:
                raise
        return await self._jetstream.append(subject, data, last=newest.sequence, timeout=timeout)

    async def purge(
        self, key: str, *, up_to: int | None = None, timeout: float = REQUEST_TIMEOUT
    ) -> bool:
        """Remove a key; return whether there was one.

        Args:
            up_to: remove it only where its newest value has no higher sequence.

        Raises:
            BrokerRefused: it was not removed.
            BrokerUnreachable: it may or may not have been removed.
        """
        body: dict[str, Any] = {"filter": self.subject(key)}
        if up_to is not None:
            body["seq"] = up_to + 1
        answer = await self._jetstream.call(f"STREAM.PURGE.{self._stream}", body, timeout=timeout)
        return bool(answer.get("purged"))

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys of one more part below `prefix`, `MOST_KEYS` of them at most.

        Raises:
            BrokerError: they aren't known.
        """
        found = await self._state({"subjects_filter": self.subject(f"{prefix}.*")})
        return [self._key(subject) for subject in found.subjects or {}]

    async def size(self) -> int:
        """Return how many bytes it holds; raises as `keys`."""
        return (await self._state({})).bytes

    async def _state(self, asked: dict[str, str]) -> _State:
        subject = f"STREAM.INFO.{self._stream}"
        answer = await self._jetstream.call(subject, asked)
        try:
            return msgspec.convert(answer.get("state"), _State)
        except msgspec.ValidationError as error:
            raise unreadable(subject, error) from error

    async def follow(self, all_read: Callable[[], None] = lambda: None) -> AsyncIterator[Change[T]]:
        """Yield the newest value of each key, then every change, for ever.

        A value that is replaced at once may be left out. After an interruption it begins anew with
        the newest value of each key. What was deleted or can't be read is left out.

        Args:
            all_read: called when what the bucket held is yielded.
        """
        follower = Follower(self._jetstream, self._stream, newest=True)
        session, live = 0, False
        async for message in follower.with_ends():
            if session != follower.sessions:
                session, live = follower.sessions, False
            if message is not None:
                key = self._key(message.subject)
                value = self._read(key, message.data)
                if value is not None:
                    yield Change(key, value, message.sequence, message.time, live)
            if not live and (message is None or message.pending == 0):
                live = True
                all_read()

    def _read(self, key: str, data: bytes) -> T | None:
        if not data:
            return None
        try:
            return self._decoder.decode(self._jetstream.seal.open(self.subject(key), data))
        except Unreadable as error:
            self.count_unreadable(key, error)
            return None

    def count_unreadable(self, key: str, error: Exception) -> None:
        """Count a value that turned out to be unreadable, and log it without flooding."""
        self.unreadable += 1
        self._misread.error(bucket=self._name, key=key, reason=str(error))
