"""Jobs: one operation with its parameters, aimed at one target by one caller. Pure data."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from towline.wire.event import Lead
from towline.wire.rollout import Waves


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation with its parameters, aimed at one target by one caller.

    Attributes:
        id: a UUID (version 7, so ids sort by the time they were made).
        created, expires: seconds since 1970, UTC, by the controller's clock. Past `expires`
            no node begins it.
        trace: the caller's W3C `traceparent`, where it sent one.
        excluded: machine ids that must not run it: they were away when it was made.
        only: machine ids that may run it, where not all are meant that the subject reaches.
        retries: the id of the job whose failed nodes this is for.
        waves: how its nodes get their turns; None for all at once. What a node is given when it
            has its turn is the same job, on that node's subject.
        nodes: how many nodes it is for, but those that were refused from the beginning; 1 for any
            one node.
        lead: what its nodes are given, where the job that it retries has a lead.
        credential: whether the request brought a credential. It is kept apart,
            see `towline.controller.credentials.store`, and forgotten when the job has ended.
    """

    id: str
    operation: str
    parameters: dict[str, Any]
    target: str
    caller: str
    created: float
    expires: float
    trace: str | None = None
    excluded: list[str] = []
    only: list[str] | None = None
    retries: str | None = None
    waves: Waves | None = None
    credential: bool = False
    nodes: int = 1
    lead: Lead | None = None

    def is_for(self, machine: str) -> bool:
        """Return whether a machine that this reaches is to run it."""
        return machine not in self.excluded and (self.only is None or machine in self.only)


SOON = 60.0
"""Seconds within which a read, or an operation that runs once, must be begun unless the request
says otherwise: nobody wants yesterday's reboot to happen today."""

CANCEL = "job.cancel"
"""The operation of a message by which nodes stop job `parameters["job"]`."""


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562, section 5.7)."""
    value = int.from_bytes(os.urandom(16), "big")
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | (value & ((1 << 80) - 1))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_id(seconds: float) -> str:
    """Return what no id of a job made at `seconds` since 1970, or later, comes before."""
    text = f"{int(seconds * 1000):012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"
