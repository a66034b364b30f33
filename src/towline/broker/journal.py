"""The journal: a stream of changes, and one of reads; only controllers see it.

A job that changes something is one message, with its plan; so is each decision about it. Reports of
nodes stand in groups: what arrived while the last one was being stored. A read that was answered is
recorded with its ends, in a group with others of that moment.

A **place** is that of a job or an event in its stream: the sequence of the message, and behind it
the place in the message. It is the same at every controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from towline.broker.answers import NANOSECONDS
from towline.broker.jetstream import JetStream
from towline.broker.streams import create_in_room
from towline.wire.event import Event
from towline.wire.job import Job
from towline.wire.messages import MOST_IN_GROUP, Answered
from towline.wire.subjects import READ, REPORTED, decision_subject, job_subject

CHANGES = "CHANGES"
READS = "READS"
STREAMS = (CHANGES, READS)
SMALLEST = 16 * 1024**2
"""Bytes that each stream must be allowed: with less, jobs would be lost that still run."""
LONGEST_AGE = 30 * 86400.0
"""Seconds that a journal may keep jobs."""
READS_KEPT = 86400.0
"""Seconds that reads are kept at most."""
READS_SHARE = 8
"""One part in so many of the journal's size is for reads."""
PLACES = MOST_IN_GROUP.bit_length()
"""Bits of a place that are within a message."""
FULL = 10077
"""What JetStream answers where a stream has no room for a message."""


class Retention(msgspec.Struct, frozen=True):
    """How long and how much the journal keeps.

    Attributes:
        age: seconds.
        size: bytes.
        replicas: copies of each stream in a cluster.
    """

    age: float = 7 * 86400.0
    size: int = 8 * 1024**3
    replicas: int = 1


def place(sequence: int, within: int = 0) -> int:
    """Return the place of what stands in a message."""
    return sequence << PLACES | within


def sequence(place: int) -> int:
    """Return the sequence of the message that a place is in."""
    return place >> PLACES


class Journal:
    """The two streams, on one connection."""

    def __init__(self, stream: JetStream) -> None:
        self._stream = stream

    async def create(self, retention: Retention) -> None:
        """Make the streams where they don't exist; existing ones are left as they are.

        A broker that has not as much room gets smaller ones, which is logged. The changes are never
        forgotten for others: where there is no room, new ones are refused.

        Raises:
            BrokerError: they could not be made.
        """
        reads = max(SMALLEST, retention.size // READS_SHARE)
        changes = {"discard": "new", "max_age": int(retention.age * NANOSECONDS)}
        await self._create(
            READS,
            [READ],
            reads,
            retention,
            discard="old",
            max_age=int(min(retention.age, READS_KEPT) * NANOSECONDS),
        )
        subjects = [job_subject("*"), decision_subject("*"), REPORTED]
        await self._create(CHANGES, subjects, retention.size - reads, retention, **changes)

    async def _create(
        self, name: str, subjects: list[str], size: int, retention: Retention, **settings: Any
    ) -> None:
        config = {
            "name": name,
            "subjects": subjects,
            "retention": "limits",
            "storage": "file",
            "max_msgs": -1,
            "max_msg_size": -1,
            "num_replicas": retention.replicas,
            "duplicate_window": int(min(120.0, retention.age) * NANOSECONDS),
            "allow_direct": True,
            **settings,
        }
        await create_in_room(self._stream, config, size, SMALLEST)

    async def add_job(self, job: Job, *, timeout: float = 5.0) -> int:
        """Append a job; return its sequence; raises as `JetStream.append`."""
        return await self._append(job_subject(job.id), job, message_id=job.id, timeout=timeout)

    async def decide(self, event: Event, last: int) -> int:
        """Append a decision about a job; return its sequence.

        Args:
            last: the sequence of the job's last decision that this one knows of, 0 for none.

        Raises:
            WrongLastSequence: there is a later one by now: perhaps this very one, stored by an
                attempt whose acknowledgement was lost.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        return await self._append(decision_subject(event.job), event, last=last)

    async def add_reports(self, events: Sequence[Event], message_id: str) -> int:
        """Append reports together, `MOST_IN_GROUP` at most; raises as `JetStream.append`."""
        return await self._append(REPORTED, events, message_id=message_id)

    async def add_reads(self, reads: Sequence[Answered], message_id: str) -> int:
        """Record reads together; raises as `JetStream.append`."""
        return await self._append(READ, reads, message_id=message_id)

    async def _append(self, subject: str, content: object, **how: Any) -> int:
        data = self._stream.seal.close(subject, msgspec.json.encode(content))
        return await self._stream.append(subject, data, **how)

    async def purge(self, job_id: str, *, before: int | None = None) -> None:
        """Delete what is only of one job, and its decisions, or those below a sequence.

        Raises:
            BrokerError: some may still be there.
        """
        call = self._stream.call
        await call(f"STREAM.PURGE.{CHANGES}", {"filter": job_subject(job_id)})
        below = {} if before is None else {"seq": before}
        await call(f"STREAM.PURGE.{CHANGES}", {"filter": decision_subject(job_id), **below})

    async def state(self, stream: str) -> tuple[str, int, int]:
        """Return when a stream was made, its first and its last sequence; raises as `call`.

        Of a stream that has lost everything to its age the first is behind the last.
        """
        answer = await self._stream.call(f"STREAM.INFO.{stream}")
        state = answer["state"]
        return str(answer["created"]), int(state["first_seq"]), int(state["last_seq"])
