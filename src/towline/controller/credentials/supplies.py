"""Supplies: the credentials that nodes are given with their tasks, sealed to each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

import msgspec
import structlog

from towline.controller.credentials.store import CredentialStore
from towline.errors import BrokerError
from towline.operation import catalog
from towline.runtime.keys import WrongKey, seal
from towline.wire.credential import Issued, Supply
from towline.wire.job import Job

log = structlog.get_logger()

SLICE = 100
"""Nodes that are sealed to at a time, in a thread: 58 µs each, some 6 ms."""


class Supplies:
    """Looks up what is kept for a job's registry, and seals it to nodes.

    Nothing is looked up and nothing is sealed for a job that logs in nowhere. Whether a node has a
    part in the job is its caller's to know.

    Args:
        public_key: returns the key that a machine has registered; None where it has none.
    """

    def __init__(self, store: CredentialStore, public_key: Callable[[str], str | None]) -> None:
        self._store = store
        self._public_key = public_key
        self._ahead: dict[str, asyncio.Task[Issued | Supply | None]] = {}

    @contextlib.contextmanager
    def ahead(self, job: Job) -> Iterator[None]:
        """Look up what the first nodes of a job are given while the block, say, stores the job.

        A request that waits for both would otherwise wait for one behind the other.
        """
        self._ahead[job.id] = asyncio.create_task(self._issued(job))
        try:
            yield
        finally:
            unused = self._ahead.pop(job.id, None)
            if unused is not None:
                unused.add_done_callback(_retrieve)
                unused.cancel()

    async def of(self, job: Job, machines: Sequence[str]) -> dict[str, Supply]:
        """Return what nodes are given for a job, by machine id; nothing where nothing is kept."""
        if not machines:
            return {}
        try:
            issued = await (self._ahead.pop(job.id, None) or self._issued(job))
        except ValueError as error:
            return dict.fromkeys(machines, Supply(error=str(error)))
        except WrongKey as error:
            log.error("credential not readable", job=job.id, reason=error.details)
            return dict.fromkeys(machines, _later(error.error, error.details))
        except BrokerError as error:
            return dict.fromkeys(machines, _later(error.error))
        if isinstance(issued, Supply):
            return dict.fromkeys(machines, issued)
        if issued is None:
            return {}
        data = msgspec.json.encode(issued)
        found: dict[str, Supply] = {}
        for start in range(0, len(machines), SLICE):
            keys = {each: self._public_key(each) for each in machines[start : start + SLICE]}
            found |= await asyncio.to_thread(_seal, data, keys)
        log.info(
            "credential issued",
            job=job.id,
            registry=issued.registry,
            whose=issued.credential.who,
            nodes=len(machines),
        )
        return found

    async def _issued(self, job: Job) -> Issued | Supply | None:
        """Return what is to be sealed, or what all are given in its place; None for nothing."""
        registry = catalog.credential_for(job)
        if registry is None:
            return None
        if job.credential:
            stored = await self._store.get_for_job(job.id)
        else:
            stored = await self._store.get(registry)
        if stored is not None:
            credential = self._store.open(stored, job_id=job.id if job.credential else None)
            return Issued(job.id, registry, credential, job.credential)
        if job.credential:
            return Supply(error=f"the credential that came with job {job.id} is gone")
        return None


def _retrieve(task: asyncio.Task[Issued | Supply | None]) -> None:
    """Take the error of a look-up for which nobody waits."""
    if not task.cancelled():
        task.exception()


def _seal(data: bytes, keys: dict[str, str | None]) -> dict[str, Supply]:
    """Return `data` sealed to each of these public keys, by machine id."""
    found = {}
    for machine, key in keys.items():
        try:
            found[machine] = Supply(seal(data, key or ""))
        except ValueError:
            found[machine] = _later("this controller does not know the node's public key")
    return found


def _later(error: str, details: str = "") -> Supply:
    """Return what says that another controller, or the same a moment later, may have one."""
    return Supply(error=f"{error} {details}".strip(), again=True)
