"""The journal: two streams of jobs and events."""

from __future__ import annotations

import contextlib

import msgspec
import structlog

from towline.broker.answers import (
    NANOSECONDS,
    BrokerRefused,
    WrongLastSequence,
    unreadable,
)
from towline.broker.connection import unreachable
from towline.broker.jetstream import JetStream
from towline.broker.streams import (
    MAX_CONSUMERS,
    StoredMessage,
    create_stream,
    lacks_room,
    newest_message,
)
from towline.units import show_size
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.event import (
    CLAIMED,
    LEADING,
    LED,
    NOBODY,
    Event,
    Lead,
)
from towline.wire.job import Job
from towline.wire.subjects import claim_subject, event_id, event_subject, node_subject

log = structlog.get_logger()

_event = Decoder(Event)

JOBS = "JOBS"
EVENTS = "EVENTS"
SMALLEST = 16 * 1024**2
"""Bytes that each stream must be allowed: with less, jobs would be lost that still run."""
LONGEST_AGE = 30 * 86400.0
"""Seconds that a journal may keep jobs: a ledger that forgot one sooner would run it again."""


class Retention(msgspec.Struct, frozen=True):
    """How long and how much the journal keeps.

    Attributes:
        age: seconds.
        size: bytes, half of them for each stream.
        replicas: copies of each stream in a cluster.
    """

    age: float = 7 * 86400.0
    size: int = 8 * 1024**3
    replicas: int = 1


class Turn(msgspec.Struct, frozen=True):
    """A node's turn to lead a job.

    Attributes:
        event: who had it, and the failure that ended it.
        sequence: its place in the journal.
        age: seconds since it was stored.
    """

    event: Event
    sequence: int
    age: float


class Journal:
    """The two streams, on one connection."""

    def __init__(self, jetstream: JetStream) -> None:
        self.jetstream = jetstream

    async def create(self, retention: Retention) -> None:
        """Make the streams where they don't exist; existing ones are left as they are.

        A broker that has not as much room gets smaller ones, which is logged.

        Raises:
            BrokerRefused, BrokerUnreachable: they could not be made.
        """
        for name, subjects in ((EVENTS, ["event.>"]), (JOBS, ["job.>"])):
            size = retention.size // 2
            config = {
                "name": name,
                "subjects": subjects,
                "retention": "limits",
                "storage": "file",
                "discard": "old",
                "max_age": int(retention.age * NANOSECONDS),
                "max_msgs": -1,
                "max_msg_size": -1,
                "max_consumers": MAX_CONSUMERS,
                "num_replicas": retention.replicas,
                "duplicate_window": int(min(120.0, retention.age) * NANOSECONDS),
                "allow_direct": True,
            }
            while True:
                try:
                    await create_stream(self.jetstream, {**config, "max_bytes": size})
                    break
                except BrokerRefused as error:
                    if size // 2 < SMALLEST or not lacks_room(error):
                        raise
                log.warning(
                    "broker has no room for the journal's size",
                    stream=name,
                    wanted=show_size(size),
                    tried=show_size(size // 2),
                    mend="more disk for the broker, or a smaller retention-size",
                )
                size //= 2

    async def add_job(self, job: Job, subject: str, *, timeout: float = 5.0) -> int:
        """Append a job; raises as `JetStream.append`."""
        return await self.jetstream.append(
            subject, msgspec.json.encode(job), message_id=job.id, timeout=timeout
        )

    async def add_event(self, event: Event, *, timeout: float = 5.0) -> None:
        """Append an event, unless the journal has it; raises as `JetStream.append`.

        Each has a subject of its own, which takes one message only: that holds beyond the time
        for which the broker remembers message ids.
        """
        with contextlib.suppress(WrongLastSequence):
            await self.jetstream.append(
                event_subject(event),
                msgspec.json.encode(event),
                message_id=event_id(event),
                first=True,
                timeout=timeout,
            )

    async def release(self, job: Job, machine: str) -> int:
        """Send a job with waves to a node whose turn it is; raises as `JetStream.append`."""
        return await self.jetstream.append(
            node_subject(machine), msgspec.json.encode(job), message_id=f"{job.id}.{machine}"
        )

    async def purge_events(self, job_id: str, *, before: int) -> None:
        """Delete the events of a job whose sequence is below `before`; raises as `call`."""
        await self.jetstream.call(
            f"STREAM.PURGE.{EVENTS}", {"filter": f"event.*.{job_id}.*", "seq": before}
        )

    async def delete_job(self, sequence: int) -> None:
        """Delete the message of a job; raises as `JetStream.call`, also where it is gone."""
        await self.jetstream.call(f"STREAM.MSG.DELETE.{JOBS}", {"seq": sequence})

    async def decide(self, event: Event, last: int) -> int:
        """Append a decision about the turns of a job's nodes; return its sequence.

        Args:
            last: the sequence of the job's last decision that this one knows of, 0 for none.

        Raises:
            WrongLastSequence: there is a later one by now: perhaps this very one, stored by an
                attempt whose acknowledgement was lost.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        return await self.jetstream.append(
            event_subject(event), msgspec.json.encode(event), last=last
        )

    async def claim(self, event: Event) -> str:
        """Claim a job for any node, unless it is claimed; return the machine that has it then.

        Args:
            event: the claim; or an end of the job for nobody, which keeps it from being claimed.

        Raises:
            BrokerUnreachable, BrokerRefused: it isn't known who has it.
        """
        subject = claim_subject(event.job)
        try:
            await self.jetstream.append(
                subject,
                msgspec.json.encode(event),
                message_id=f"{event.job}.{event.machine}.{CLAIMED}",
                first=True,
            )
        except WrongLastSequence:
            stored = await self.last_event(subject)
        else:
            return event.machine
        if stored is None:
            raise unreachable(f"no claim on {subject!r}")
        return stored.machine

    async def record_lead(self, event: Event) -> Lead:
        """Store what a job's lead found, unless there is one; return the one that is stored then.

        Raises:
            BrokerUnreachable, BrokerRefused: it isn't known.
        """
        await self.add_event(event)
        found = await self.lead(event.job)
        if found is None:
            subject = event_subject(event)
            raise unreachable(f"no lead on {subject!r}")
        return found

    async def lead(self, job_id: str) -> Lead | None:
        """Return a job's lead, None while there is none; raises as `record_lead`."""
        event = await self.last_event(f"event.{NOBODY}.{job_id}.{LED}")
        return None if event is None else Lead.of(event)

    async def last_turn(self, job_id: str) -> Turn | None:
        """Return whose turn it was last to lead a job; raises as `record_lead`."""
        subject = f"event.{NOBODY}.{job_id}.{LEADING}"
        message = await newest_message(self.jetstream, EVENTS, subject)
        if message is None:
            return None
        age = self.jetstream.clock.now() - message.stored
        return Turn(_read(subject, message), message.sequence, age)

    async def last_event(self, subject: str) -> Event | None:
        """Return the event on `subject`, or None.

        Raises:
            BrokerUnreachable, BrokerRefused: it isn't known, or can't be read.
        """
        message = await newest_message(self.jetstream, EVENTS, subject)
        return None if message is None else _read(subject, message)

    async def last_of(self, subject: str) -> int:
        """Return the sequence of the event on `subject`, or 0; raises as `JetStream.call`."""
        message = await newest_message(self.jetstream, EVENTS, subject)
        return 0 if message is None else message.sequence

    async def delivered(self, durable: str) -> tuple[str, int]:
        """Return up to where a follower has its jobs for good; raises as `JetStream.call`.

        Returns:
            when the stream was made, as the broker says it, and the sequence.
        """
        stream = await self.jetstream.call(f"STREAM.INFO.{JOBS}")
        consumer = await self.jetstream.call(f"CONSUMER.INFO.{JOBS}.{durable}")
        return str(stream["created"]), int(consumer["ack_floor"]["stream_seq"])

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the newest message of `stream`."""
        answer = await self.jetstream.call(f"STREAM.INFO.{stream}")
        return int(answer["state"]["last_seq"])


def _read(subject: str, message: StoredMessage) -> Event:
    try:
        return _event.decode(message.data)
    except Unreadable as error:
        raise unreadable(subject, error) from error
