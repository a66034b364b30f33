"""What is asked of a node's engine."""

from __future__ import annotations

from typing import Self

import msgspec

from towline.agent.provider import Task
from towline.operations.docker import RETRIES, STALL_TIMEOUT, Policy, Resolve
from towline.units import parse_duration
from towline.wire.event import Lead
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
        leads: the job whose other nodes are to pull what this one finds; None where there is none.
        lead: whose value is the digest to pull, where another node has found that.
        platform: what the image is to be for; None for the engine's own.
    """

    reference: Reference
    retries: int = RETRIES
    stall_timeout: float = parse_duration(STALL_TIMEOUT)
    policy: Policy = "always"
    login: str | None = None
    leads: str | None = None
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
        task: Task,
        reference: Reference,
        retries: int,
        stall_timeout: float,
        policy: Policy,
        resolve: Resolve,
        platform: Platform | None,
    ) -> Self:
        """Return what a task asks for; see `towline.operations.docker.Docker.pull`."""
        job = task.job
        login = job.id if job.credential else None
        leads = lead = None
        if resolve == "once" and reference.digest is None:
            lead = task.release.lead or job.lead
            leads = job.id if lead is None and task.found is not None else None
        return cls(reference, retries, stall_timeout, policy, login, leads, lead, platform)
