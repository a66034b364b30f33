"""What is asked of a node's engine."""

from __future__ import annotations

from typing import Self

import msgspec

from towline.operations.docker import RETRIES, STALL_TIMEOUT, Policy, Resolve
from towline.units import parse_duration
from towline.wire.event import Lead
from towline.wire.job import Job
from towline.wire.platform import Platform
from towline.wire.reference import Reference


class Order(msgspec.Struct, frozen=True):
    """What is asked of a node's engine.

    Attributes:
        reference: the image.
        retries: how often it is tried again after a first attempt that failed.
        stall_timeout: seconds without a byte after which an attempt counts as failed.
        policy: `missing` leaves a present image alone and doesn't ask the registry.
        login: the job whose request brought a credential of its own for the registry; None for
            what all jobs may use.
        once: the job all of whose nodes are to pull one digest; None where this engine is to
            resolve the tag by itself.
        lead: whose value is that digest, where it is known from the beginning.
        platform: what the image is to be for; None for the engine's own.
    """

    reference: Reference
    retries: int = RETRIES
    stall_timeout: float = parse_duration(STALL_TIMEOUT)
    policy: Policy = "always"
    login: str | None = None
    once: str | None = None
    lead: Lead | None = None
    platform: Platform | None = None

    @property
    def name(self) -> str:
        """What the engine knows the image by when it is there."""
        # A digest alone decides what is pulled; a tag beside it is not set by the engine.
        reference = self.reference
        if reference.digest:
            return f"{reference.repository}@{reference.digest}"
        return f"{reference.repository}:{reference.tag}"

    @classmethod
    def of(
        cls,
        job: Job,
        reference: Reference,
        retries: int,
        stall_timeout: float,
        policy: Policy,
        resolve: Resolve,
        platform: Platform | None,
    ) -> Self:
        """Return what a job asks for; see `towline.operations.docker.Docker.pull`."""
        login = job.id if job.credential else None
        once = lead = None
        if resolve == "once" and reference.digest is None:
            lead = job.lead
            once = job.id if job.nodes > 1 and lead is None else None
        return cls(reference, retries, stall_timeout, policy, login, once, lead, platform)
