"""JetStream's streams: how they are made, which there are, the newest message on a subject."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec
import structlog

from towline.broker.answers import (
    NO_MESSAGE,
    NO_PEERS,
    NO_STORAGE,
    NO_STREAM,
    STREAM_NAME_IN_USE,
    BrokerRefused,
    unreadable,
)
from towline.broker.connection import REQUEST_TIMEOUT
from towline.broker.jetstream import JetStream
from towline.units import show_size

log = structlog.get_logger()

T = TypeVar("T")


class StoredMessage(msgspec.Struct, frozen=True):
    """A message that a stream holds.

    Attributes:
        sequence: its place in the stream.
        stored: seconds since 1970, by the broker's clock.
    """

    data: bytes
    sequence: int
    stored: float


class _Message(msgspec.Struct):
    seq: int
    time: datetime
    data: bytes = b""


def lacks_room(error: BrokerRefused) -> bool:
    """Return whether a stream could not be made because it may take more than there is."""
    # A cluster answers the same where it has too few servers.
    return error.number == NO_STORAGE or (
        error.number == NO_PEERS and "insufficient storage" in error.details
    )


class StreamState(msgspec.Struct, frozen=True):
    """How much a stream holds; `num_subjects` is how many subjects it holds messages of."""

    messages: int = 0
    bytes: int = 0
    num_subjects: int = 0
    consumer_count: int = 0


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream."""

    name: str
    state: StreamState


class ConsumerInfo(msgspec.Struct, frozen=True):
    """Who follows a stream; see JetStream's ConsumerInfo."""

    name: str
    num_pending: int = 0
    num_ack_pending: int = 0
    num_redelivered: int = 0


class _Stream(msgspec.Struct):
    config: dict[str, Any]
    state: StreamState


async def list_streams(jetstream: JetStream) -> list[StreamInfo]:
    """Return all streams there are, by name; raises as `JetStream.call`."""
    found = await _list(jetstream, "STREAM.LIST", "streams", _Stream)
    streams = [StreamInfo(str(each.config.get("name", "")), each.state) for each in found]
    return sorted(streams, key=lambda stream: stream.name)


async def list_consumers(jetstream: JetStream, stream: str) -> list[ConsumerInfo]:
    """Return all who follow a stream; raises as `JetStream.call`."""
    return await _list(jetstream, f"CONSUMER.LIST.{stream}", "consumers", ConsumerInfo)


async def _list(jetstream: JetStream, subject: str, field: str, kind: type[T]) -> list[T]:
    """Return all pages of a list."""
    found: list[T] = []
    while True:
        answer = await jetstream.call(subject, {"offset": len(found)})
        try:
            page = msgspec.convert(answer.get(field) or [], list[kind])  # type: ignore[valid-type]
            total = msgspec.convert(answer.get("total", 0), int)
        except msgspec.MsgspecError as error:
            raise unreadable(subject, error) from error
        found += page
        if not page or len(found) >= total:
            return found


async def create_stream(jetstream: JetStream, config: dict[str, Any]) -> None:
    """Make a stream where there is none of that name; raises as `JetStream.call`."""
    try:
        await jetstream.call(f"STREAM.CREATE.{config['name']}", config)
    except BrokerRefused as error:
        # In use: it exists with other settings. Those are an operator's to change, not ours.
        if error.number != STREAM_NAME_IN_USE:
            raise


async def stream_exists(jetstream: JetStream, name: str) -> bool:
    """Return whether there is a stream of a name; raises as `JetStream.call`."""
    try:
        await jetstream.call(f"STREAM.INFO.{name}")
    except BrokerRefused as error:
        if error.number == NO_STREAM:
            return False
        raise
    return True


async def create_in_room(
    jetstream: JetStream, config: dict[str, Any], size: int, smallest: int
) -> int:
    """Make a stream as `create_stream`; where the broker has not as much room, a smaller one.

    Returns the bytes that a stream which was made may take.

    Args:
        size: bytes that it may take.
        smallest: bytes below which there is none; raises as `create_stream` then.
    """
    while True:
        try:
            await create_stream(jetstream, {**config, "max_bytes": size})
            return size
        except BrokerRefused as error:
            if size // 2 < smallest or not lacks_room(error):
                raise
        log.warning(
            "broker has no room for the journal's size",
            stream=config["name"],
            wanted=show_size(size),
            tried=show_size(size // 2),
            mend="more disk for the broker, or a smaller retention-size",
        )
        size //= 2


async def newest_message(
    jetstream: JetStream, stream: str, subject: str, *, timeout: float = REQUEST_TIMEOUT
) -> StoredMessage | None:
    """Return the newest message on a subject, None where there is none.

    The stream's leader answers: what anybody has stored a moment ago is there.

    Raises:
        BrokerError: it isn't known.
    """
    try:
        answer = await jetstream.call(
            f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, timeout=timeout
        )
    except BrokerRefused as error:
        if error.number == NO_MESSAGE:
            return None
        raise
    try:
        message = msgspec.convert(answer.get("message"), _Message)
    except msgspec.MsgspecError as error:
        raise unreadable(f"STREAM.MSG.GET.{stream}", error) from error
    return StoredMessage(message.data, message.seq, message.time.timestamp())
