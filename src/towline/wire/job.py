"""Jobs: one operation with its parameters, aimed at one target by one caller. Pure data."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import msgspec

from towline.wire.event import Lead
from towline.wire.fields import Count, JobId, MachineId, Moment, Name, Text
from towline.wire.rollout import Waves
from towline.wire.target import means_any

READ, CONVERGE, ONCE = "read", "converge", "once"
"""What running an operation does; see `Effect` in `towline.operation`."""

WAITS = "waits"
TURN = "turn"
CANARY = "canary"
LEADS = "leads"
"""What a node that is to run a job begins with: it waits for its turn, or has it: as one of all,
as a canary, or as the lead."""


class PlannedNode(msgspec.Struct, frozen=True, array_like=True):
    """A node that a job is for.

    Attributes:
        state: how it begins: one of the constants above, or the status that it has ended with
            from the beginning.
        reason: why that is so, where it has ended.
    """

    machine: MachineId
    hostname: Name
    state: Name = TURN
    reason: Text | None = None


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation with its parameters, aimed at one target by one caller.

    Attributes:
        id: a UUID (version 7, so ids sort by the time they were made).
        effect: `read`, `converge` or `once`.
        created, expires: by the controllers' clock. Past `expires` no node begins it.
        plan: the nodes that it is for, fixed when it is made; empty in what a node is sent. That of
            a job for any node names the one that was picked, or none.
        trace: the caller's W3C `traceparent`, or one that was made for it.
        retries: the id of the job whose failed nodes this is for.
        waves: how its nodes get their turns; None for all at once.
        nodes: how many nodes it is for, but those that were refused from the beginning; 1 for any
            one node.
        leads: whether one node goes first, and the others are given what it finds.
        lead: what all nodes are given, where the job that it retries had a lead.
        requires: the capability that a node must have.
        within: patterns of nodes: a job for any node is only for those that one of them covers;
            empty for all.
        credential: whether the request brought a credential. It is kept apart,
            see `towline.controller.credentials.store`, and forgotten when the job has ended.
    """

    id: JobId
    operation: Name
    parameters: dict[str, Any]
    target: Text
    caller: Text
    created: Moment
    expires: Moment
    effect: Name = ONCE
    plan: list[PlannedNode] = []
    trace: Text | None = None
    retries: JobId | None = None
    waves: Waves | None = None
    credential: bool = False
    nodes: Count = 1
    leads: bool = False
    lead: Lead | None = None
    requires: Name = ""
    within: list[Name] = []

    @property
    def for_any(self) -> bool:
        """Whether it is for exactly one of several nodes, whichever can do it."""
        return means_any(self.target)

    @property
    def needs_leave(self) -> bool:
        """Whether a turn of it can be taken back, so that a node must ask before it begins."""
        return self.waves is not None or (self.for_any and self.effect != READ)

    @property
    def answered(self) -> bool:
        """Whether nodes answer it at once, past their ledgers, and it is recorded with that."""
        return self.effect == READ and self.waves is None

    @property
    def order(self) -> Job:
        """What a node is sent of it: all but the plan."""
        return msgspec.structs.replace(self, plan=[])


SOON = 60.0
"""Seconds within which a read, or an operation that runs once, must be begun unless the request
says otherwise: nobody wants yesterday's reboot to happen today."""


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562, section 5.7)."""
    value = int.from_bytes(os.urandom(16), "big")
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | (value & ((1 << 80) - 1))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_OWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def own_id(key: str) -> str | None:
    """Return the id that a job gets from its request's `Idempotency-Key`.

    That is the key itself where it is what `new_id` makes: a UUID of version 7 in the form of
    RFC 9562, in whichever case. None for all other keys.
    """
    lowered = key.lower()
    return lowered if _OWN.fullmatch(lowered) else None


NO_OWN_ID = "can't become a job's id"
"""What a refusal of a key says whose time is too far from the controller's: whoever chose it only
to know the job's id sends the request with another key."""


def time_of(job_id: str) -> float:
    """Return the moment in a UUID of version 7, in seconds since 1970."""
    return int(job_id[:8] + job_id[9:13], 16) / 1000


def first_id(seconds: float) -> str:
    """Return what no id of a job made at `seconds` since 1970, or later, comes before."""
    text = f"{int(seconds * 1000):012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"
