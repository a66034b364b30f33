"""The credentials that requests bring for their jobs: kept until a job has ended, no longer."""

from __future__ import annotations

import asyncio
import sqlite3

import structlog

from towline.broker.clock import running
from towline.controller.credentials.store import CredentialStore
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.errors import BrokerError
from towline.operation import catalog
from towline.runtime.pauses import within
from towline.wire.credential import Credential
from towline.wire.event import RESULT_STATUS, Event
from towline.wire.job import Job

log = structlog.get_logger()

TIDY_EVERY = 5.0
"""Seconds between looks for credentials of jobs whose end another controller has folded."""
NEVER_MADE = 600.0
"""Seconds for which this controller must have found a credential whose job nobody knows, until it
takes the job for one that was never made."""


class JobCredentials:
    """Keeps what requests bring for their jobs, and removes it when a job has ended.

    Args:
        tidy_every, never_made: seconds; see the constants.
    """

    def __init__(
        self,
        store: CredentialStore,
        index: Index,
        indexer: Indexer,
        *,
        tidy_every: float = TIDY_EVERY,
        never_made: float = NEVER_MADE,
    ) -> None:
        self._store = store
        self._index = index
        self._indexer = indexer
        self._tidy_every = tidy_every
        self._never_made = never_made
        self._kept: set[str] = set()
        self._unknown: dict[str, float] = {}
        """Since when a credential is here whose job nobody knows, as `running` gives it."""
        self._ended = asyncio.Event()
        indexer.subscribe(self._event_folded)

    async def keep(self, job: Job, credential: Credential) -> None:
        """Store what a request brought for its job, until the job has ended.

        Raises:
            BrokerError: it may not have been stored.
        """
        operation = catalog.get(job.operation)
        registry = None if operation is None else operation.credential_for(job.parameters)
        if registry is not None:
            await self._store.put_for_job(job.id, registry, credential, job.caller)
            self._kept.add(job.id)

    def _event_folded(self, event: Event) -> None:
        if event.job in self._kept and event.kind in RESULT_STATUS:
            self._ended.set()

    async def run(self) -> None:
        """Remove the credentials of jobs that have ended, for ever."""
        while True:
            self._ended.clear()
            try:
                await self.tidy()
            except (BrokerError, sqlite3.Error) as error:
                log.warning("credentials of ended jobs not removed yet", reason=str(error))
            await within(self._tidy_every, self._ended.wait())

    async def tidy(self) -> None:
        """Remove the credentials of jobs that have ended, or were never made.

        Raises:
            BrokerError, sqlite3.Error: some may still be there.
        """
        before = set(self._kept)
        stored = set(await self._store.jobs())
        # What was stored since that was asked stays; what another controller removed goes.
        self._kept = stored | (self._kept - before)
        self._unknown = {job: since for job, since in self._unknown.items() if job in stored}
        for job_id in stored:
            if self._over(job_id):
                await self._store.remove_for_job(job_id)
                self._kept.discard(job_id)

    def _over(self, job_id: str) -> bool:
        status = self._index.status(job_id)
        if status is not None:
            return status.done
        if self._index.deleted(job_id):
            return True
        # A credential is stored a moment before its job, and an index that is behind knows no job.
        if not self._indexer.caught_up:
            return False
        return running() - self._unknown.setdefault(job_id, running()) > self._never_made
