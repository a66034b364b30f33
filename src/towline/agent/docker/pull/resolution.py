"""One digest for all nodes of a job: the one that leads resolves the tag, all pull what it found.

What it found is recorded before it pulls, and it too pulls only what is recorded then: another node
may have led before it. A node that can't resolve the tag pulls it as any engine does, and what that
has brought is recorded.
"""

from __future__ import annotations

import asyncio

import structlog

from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import Hopeless
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.faults import classify
from towline.agent.docker.pull.releases import Releases
from towline.agent.provider import Task
from towline.errors import BrokerUnreachable, TaskFailed
from towline.units import timestamp
from towline.wire.event import Lead

log = structlog.get_logger()

RETRY_EVERY = 2.0
"""Seconds between questions for what another node has found, while no controller answers."""


class Resolution(Hook):
    """Has each attempt of a pull that is one of many pull what all pull.

    Args:
        engine: the engine that asks the registry (`GET /distribution/{name}/json`).
        retry_every: seconds; see the constant.
    """

    def __init__(
        self, engine: Engine, releases: Releases, *, retry_every: float = RETRY_EVERY
    ) -> None:
        self._engine = engine
        self._releases = releases
        self._retry_every = retry_every

    async def prepare(self, attempt: Attempt) -> None:
        """Have a node that leads find what to pull: the tag where it can't resolve that."""
        if attempt.lead is None and _leader(attempt) is not None:
            # Where the release was asked for anew, another may have led, or this one before.
            attempt.lead = _known(attempt)
            if attempt.lead is None and (digest := await resolve(self._engine, attempt)):
                attempt.lead = await _record(attempt, digest)

    async def fetched(self, attempt: Attempt, digest: str | None) -> None:
        """Have all nodes pull what this one has got, unless another was first."""
        if attempt.lead is not None or _leader(attempt) is None:
            return
        if digest is not None:
            attempt.lead = await _record(attempt, digest)
            return
        while True:
            try:
                await self._releases.ask(attempt)
            except BrokerUnreachable as error:
                log.warning("lead not known yet", reason=error.details)
                await asyncio.sleep(self._retry_every)
                continue
            except TaskFailed as error:
                log.warning("lead not known", reason=error.error)
            attempt.lead = _known(attempt)
            return

    def explain(self, attempt: Attempt, error: TaskFailed) -> TaskFailed:
        """Say of a digest that is gone which node resolved the tag to it."""
        lead = attempt.lead
        row = classify(error, attempt.order.reference).row
        if lead is None or row is None or not row.gone:
            return error
        return Hopeless(
            f"{attempt.order.name} was {lead.value} when {lead.hostname} resolved it for this "
            f"job at {timestamp(lead.time)}, and the registry does not have that any more; "
            f"another pull resolves the tag anew: {error.error}",
            Kind.MISSING,
        )


async def resolve(engine: Engine, attempt: Attempt) -> str | None:
    """Return what the tag is at its registry; None where that can't be found out."""
    name = attempt.order.name
    try:
        return await engine.digest(name, attempt.auth)
    except TaskFailed as error:
        log.info("tag not resolved", image=name, reason=error.error)
        return None


def _leader(attempt: Attempt) -> Task | None:
    """Return the task that leads, of those that share the pull; None where none does."""
    leads = attempt.order.leads
    tasks = (task for task in attempt.tasks() if task.job.id == leads and task.found is not None)
    return next(tasks, None)


def _known(attempt: Attempt) -> Lead | None:
    """Return the lead of the job, as far as controllers have named it."""
    release = None if attempt.reply is None else attempt.reply.release
    if release is None or release.id != attempt.order.leads:
        return None
    return release.lead


async def _record(attempt: Attempt, digest: str) -> Lead | None:
    """Record what this node has found; return what is recorded then.

    Raises:
        TaskFailed: it is refused for good.
    """
    leader = _leader(attempt)
    if leader is None or leader.found is None:
        return None
    log.info("tag resolved", job=leader.job.id, digest=digest)
    return await leader.found(digest)
