"""Entries of the audit, the groups that they are stored in, and the checkpoints. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, TypeAlias

import msgspec

from towline.wire.decoding import Decoder
from towline.wire.fields import Count, JobId, Moment, Name, Text

AUDIT, CHECKPOINTS = "AUDIT", "CHECKPOINTS"
"""The streams of the entries and of the checkpoints."""
AUDITED, CHECKPOINT = "audit", "checkpoint"
"""Their subjects."""

Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]
"""A hash in hex; "" for that of nothing."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request as the audit has it: its names, and none of its values.

    Attributes:
        time: when it was answered.
        caller: the subject of its token; "" where none was valid.
        token: the token's `jti`.
        address: where it came from.
        path: as it was sent, without the query.
        operation: the name of the endpoint.
        target: what stands in the path's placeholders.
        job: the job that it was about.
        made: where to find what else it has made.
        status: of the answer.
        milliseconds: until the answer.
        trace: its trace, 32 hex digits.
        count: how many requests it stands for, of which it is the last.
        lost: how many requests before it have no entry, since none could be stored.
    """

    time: Moment
    method: Name
    path: Text
    status: Count
    caller: Text = ""
    roles: list[Text] = []
    token: Name = ""
    address: Name = ""
    operation: Name = ""
    target: Text = ""
    job: Name = ""
    made: Text = ""
    milliseconds: Count = 0
    trace: Name = ""
    count: Count = 1
    lost: Count = 0


class Entry(Request, frozen=True, omit_defaults=True, kw_only=True):
    """A request in its place in the chain of the controller that has answered it.

    Attributes:
        id: a UUID of version 7.
        chain: drawn by each controller whenever it starts.
        controller: the name of the controller's machine.
        number: the place in the chain, from 1 on.
        previous: the hash of the entry before; "" for the first.
        after: the time of the entry before; None for the first.
    """

    id: JobId
    chain: Name
    controller: Name
    number: Count
    previous: Digest = ""
    after: Moment | None = None


class Group(msgspec.Struct, frozen=True):
    """What is stored as one message: entries of one chain, each as the bytes that are hashed."""

    entries: list[msgspec.Raw]


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How far a chain was at some moment. All checkpoints are one chain, whoever has made them.

    Attributes:
        number, hash: of the chain's newest entry; 0 and "" before there is one.
        time: when it was made.
        entered: the time of that entry.
        previous: the hash of the checkpoint before, as it is stored; "" for the first.
    """

    chain: Name
    controller: Name
    number: Count
    time: Moment
    hash: Digest = ""
    entered: Moment | None = None
    previous: Digest = ""


_entry = Decoder(Entry)
_group = Decoder(Group)
_checkpoint = Decoder(Checkpoint)


def digest(data: bytes | msgspec.Raw) -> str:
    """Return the hash of an entry or of a checkpoint, as it is stored."""
    return blake2b(bytes(data), digest_size=32).hexdigest()


def entries_of(body: bytes | msgspec.Raw) -> list[tuple[Entry, str]]:
    """Return the entries of a group, each with its hash.

    Raises:
        Unreadable: one of them can't be read.
    """
    return [(_entry.decode(raw), digest(raw)) for raw in _group.decode(body).entries]


def group_of(made: Sequence[bytes]) -> Group:
    """Return the group of some entries."""
    return Group([msgspec.Raw(each) for each in made])


def checkpoint_of(body: bytes | msgspec.Raw) -> Checkpoint:
    """Return a checkpoint; raises as `entries_of`."""
    return _checkpoint.decode(body)
