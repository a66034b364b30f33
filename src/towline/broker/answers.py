"""JetStream's answers: what they say, and the errors that they become."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from towline.broker.connection import unreachable
from towline.errors import BrokerError, BrokerUnreachable, sentence
from towline.wire.decoding import Decoder, Unreadable

NANOSECONDS = 1_000_000_000
"""In a second: JetStream counts durations in nanoseconds."""

# JetStream's error numbers.
NO_PEERS = 10005
"""What a cluster answers where a stream may take more than there is, or servers are missing."""
UNAVAILABLE = 10008
"""What a server answers that is cut off from the others of its cluster, or while they elect."""
NO_MESSAGE = 10037
NO_STORAGE = 10047
"""What a server of its own answers where a stream may take more than there is."""
STREAM_NAME_IN_USE = 10058
NO_STREAM = 10059
WRONG_LAST_SEQUENCE = (10071, 10164)
"""What is answered where another message than the sender knew of is the newest on a subject."""


class BrokerRefused(BrokerError):
    """JetStream answered with an error.

    Attributes:
        number: JetStream's own error number, for example 10059 for a stream that isn't there.
    """

    def __init__(self, number: int, description: str) -> None:
        reason = f"{description} (JetStream error {number})"
        super().__init__(sentence("The broker refused", reason), reason)
        self.number = number


class WrongLastSequence(BrokerRefused):
    """The newest message on a subject is another one than the sender knew of."""


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""

    def exception(self) -> BrokerRefused:
        kind = WrongLastSequence if self.err_code in WRONG_LAST_SEQUENCE else BrokerRefused
        return kind(self.err_code, self.description)


class _Answer(msgspec.Struct):
    error: _Error | None = None
    ts: datetime | None = None


class _Acknowledgement(msgspec.Struct):
    seq: int | None = None
    error: _Error | None = None


_json = Decoder(dict[str, Any])
_acknowledgement = Decoder(_Acknowledgement)


def read_answer(subject: str, data: bytes) -> tuple[dict[str, Any], float | None]:
    """Return an answer of JetStream's API, and when it was given by the broker's clock.

    Args:
        subject: where it was asked, for errors.

    Returns:
        the answer as JSON has it, and seconds since 1970, or None where it names no time.

    Raises:
        BrokerRefused: the answer is an error.
        BrokerUnreachable: it can't be read.
    """
    try:
        answer = _json.decode(data)
        known = msgspec.convert(answer, _Answer)
    except (Unreadable, msgspec.ValidationError) as error:
        raise unreadable(subject, error) from error
    if known.error is not None:
        raise known.error.exception()
    return answer, None if known.ts is None else known.ts.timestamp()


def read_acknowledgement(subject: str, data: bytes) -> int:
    """Return the sequence at which a message was stored; raises as `read_answer`."""
    try:
        acknowledgement = _acknowledgement.decode(data)
    except Unreadable as error:
        raise unreadable(subject, error) from error
    if acknowledgement.error is not None:
        raise acknowledgement.error.exception()
    if acknowledgement.seq is None:
        raise unreadable(subject, "it names no sequence")
    return acknowledgement.seq


def unreadable(subject: str, reason: object) -> BrokerUnreachable:
    """Return the error for an answer that can't be read: it is as good as none."""
    return unreachable(f"the answer on {subject!r} can't be read: {reason}")
