"""The fleet, as the rule that gives turns sees it."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Iterator, Mapping

from towline.controller.fleet import Fleet
from towline.controller.member import Member
from towline.controller.resolution import candidates
from towline.units import timestamp
from towline.wire.job import CONVERGE, READ, Job
from towline.wire.pattern import parse_nodes
from towline.wire.target import InvalidTarget, parse_target

REMEMBERED = 64
"""Targets of which it is remembered whom they mean: of 10,000 nodes that takes half a megabyte."""


class FleetView:
    """Answers what the rule asks of nodes; see `towline.controller.rollout.rule.View`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        # Each second anew for each job that waits, it took a third of a second with 10,000 nodes.
        self._wanted = functools.lru_cache(REMEMBERED)(self._find)

    @property
    def shut_out(self) -> Mapping[str, str]:
        """Why nodes never come back, by machine id."""
        return self._fleet.shut_out

    def here(self, machine: str) -> bool:
        """Whether a node is here."""
        return self._fleet.is_here(machine)

    def holds(self, machine: str, job_id: str) -> bool:
        """Whether a node's last heartbeat names the task of a job."""
        member = self._fleet.get(machine)
        return member is not None and member.holds(job_id)

    def received(self, machine: str) -> float:
        """Return when a node's last heartbeat came, in seconds since 1970; 0 for never."""
        member = self._fleet.get(machine)
        return 0.0 if member is None or member.received is None else member.received.time

    def refused(self, job: Job, machine: str) -> tuple[str, str] | None:
        """Return status and reason of a node that can't have the turn it would have now."""
        member = self._fleet.get(machine)
        if member is None:
            return None
        if member.drained is not None and job.effect != READ:
            return "skipped", f"drained since {timestamp(member.drained)}"
        if not member.here and job.effect != CONVERGE:
            return "failed", f"{member.absence}; not kept for nodes that are away"
        return None

    def pick(self, job: Job) -> str | None:
        """Return a node that can do a job: of two at random the one that has less to do."""
        wanted = self._wanted(job.target, self._fleet.version)
        able = [
            member
            for member in (self._fleet.here() if wanted is None else self._known(wanted))
            if member.here and _able(member, job)
        ]
        if not able:
            return None
        some = random.sample(able, min(2, len(able)))
        return min(some, key=_busy).machine

    def _known(self, machines: Iterable[str]) -> Iterator[Member]:
        return (member for each in machines if (member := self._fleet.get(each)) is not None)

    def _find(self, target: str, version: int) -> frozenset[str] | None:
        """Return the machine ids of the nodes that a job for any may be done by; None for all.

        Args:
            version: the fleet's; whom the target meant at another one is forgotten.
        """
        try:
            return candidates(self._fleet, parse_target(target))
        except InvalidTarget:
            return frozenset()  # of a version that knows more of them


def _able(member: Member, job: Job) -> bool:
    if member.drained is not None and job.effect != READ:
        return False
    if job.within and not any(_covers(pattern, member) for pattern in job.within):
        return False
    return member.can(job.requires) and not member.trouble(job.requires)


def _covers(pattern: str, member: Member) -> bool:
    try:
        return parse_nodes(pattern).covers(member.machine, member.hostname, member.labels)
    except InvalidTarget:
        return False  # of a version that knows more of them


def _busy(member: Member) -> int:
    return member.heartbeat.running if member.heartbeat is not None else 0
