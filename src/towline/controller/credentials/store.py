"""Registries: the credentials that controllers keep for them in the broker, encrypted."""

from __future__ import annotations

import asyncio
import time

import msgspec

from towline.broker.bucket import Bucket
from towline.broker.connection import Connection
from towline.errors import Conflict
from towline.runtime.keys import Vault, WrongKey
from towline.wire.credential import Credential

BUCKET = "credentials"
OF_REGISTRY = "registry"
OF_JOB = "job"


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A credential as it is kept: all in the clear but the secret.

    Attributes:
        registry: `host[:port]`.
        username: the user's name; "" where a token has none.
        kind: `password`, `identity_token` or `registry_token`.
        updated: when it was set, in seconds since 1970.
        by: who set it.
        key: the fingerprint of the key that it is locked with.
        locked: the credential, as `Vault.lock` gives it.
    """

    registry: str
    username: str
    kind: str
    updated: float
    by: str
    key: str
    locked: str = ""


def _registry_key(registry: str) -> str:
    # A host has dots and an address brackets: none of that may become part of a key.
    return f"{OF_REGISTRY}.{registry.encode().hex()}"


def _job_key(job_id: str) -> str:
    return f"{OF_JOB}.{job_id}"


class Registries:
    """What controllers keep, read from the broker whenever it is asked for.

    Args:
        vault: what locks it.
    """

    def __init__(self, broker: Connection, vault: Vault) -> None:
        self._bucket = Bucket(broker, BUCKET, Kept, max_bytes=256 * 1024**2, max_consumers=1000)
        self._vault = vault

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist."""
        await self._bucket.create(replicas)

    # Of registries

    async def put(self, registry: str, credential: Credential, by: str) -> tuple[Kept, bool]:
        """Keep a credential for a registry; return it, and whether there was none before.

        Raises:
            Conflict: others are kept with another key, which this controller doesn't have.
            BrokerUnreachable, BrokerRefused: it may not have been kept.
        """
        found = {kept.registry: kept for kept in await self.all()}
        foreign = [kept for kept in found.values() if kept.key != self._vault.fingerprint]
        if any(kept.registry != registry for kept in foreign):
            raise Conflict(
                "This controller does not have the key that credentials are kept with.",
                f"{self._other_key(foreign[0])}; or remove those that can't be read",
            )
        key = _registry_key(registry)
        kept = self._lock(key, registry, credential, by)
        await self._bucket.put(key, kept)
        return kept, registry not in found

    async def get(self, registry: str) -> Kept | None:
        """Return what is kept for a registry; raises as `Bucket.get`."""
        return await self._read(_registry_key(registry))

    async def all(self) -> list[Kept]:
        """Return what is kept for registries, by their names; raises as `Bucket.get`."""
        keys = await self._bucket.keys(OF_REGISTRY)
        found = await asyncio.gather(*(self._read(key) for key in keys))
        present = [kept for kept in found if kept is not None]
        return sorted(present, key=lambda kept: kept.registry)

    async def remove(self, registry: str) -> bool:
        """Forget what is kept for a registry; return whether there was something.

        Raises:
            BrokerUnreachable, BrokerRefused: it may not have been removed.
        """
        return await self._bucket.purge(_registry_key(registry))

    # Of jobs

    async def put_for_job(
        self, job_id: str, registry: str, credential: Credential, by: str
    ) -> None:
        """Keep what a request brought for its job; raises as `Bucket.put`."""
        key = _job_key(job_id)
        await self._bucket.put(key, self._lock(key, registry, credential, by))

    async def get_for_job(self, job_id: str) -> Kept | None:
        """Return what a request brought for its job; raises as `Bucket.get`."""
        return await self._read(_job_key(job_id))

    async def jobs(self) -> list[str]:
        """Return the ids of the jobs for which something is kept; raises as `Bucket.get`."""
        return [key.rpartition(".")[2] for key in await self._bucket.keys(OF_JOB)]

    async def remove_for_job(self, job_id: str) -> None:
        """Forget what a request brought for its job; raises as `remove`."""
        await self._bucket.purge(_job_key(job_id))

    # Locking

    def readable(self, kept: Kept) -> bool:
        """Whether this controller has the key for it."""
        return kept.key == self._vault.fingerprint

    def open(self, kept: Kept, *, job_id: str | None = None) -> Credential:
        """Return the credential that is kept.

        Args:
            job_id: the job that it is kept for, where it isn't for a registry.

        Raises:
            WrongKey: this controller has another key, or it was changed where it is kept.
        """
        if not self.readable(kept):
            raise WrongKey(
                f"The credential for {kept.registry} can't be decrypted.", self._other_key(kept)
            )
        key = _registry_key(kept.registry) if job_id is None else _job_key(job_id)
        opened = self._vault.unlock(kept.locked, self._place(key, kept))
        return msgspec.json.decode(opened, type=Credential)

    def _lock(self, key: str, registry: str, credential: Credential, by: str) -> Kept:
        kept = Kept(
            registry=registry,
            username=credential.username,
            kind=credential.kind,
            updated=time.time(),
            by=by,
            key=self._vault.fingerprint,
        )
        locked = self._vault.lock(msgspec.json.encode(credential), self._place(key, kept))
        return msgspec.structs.replace(kept, locked=locked)

    def _other_key(self, kept: Kept) -> str:
        return (
            f"That for {kept.registry} is kept with key {kept.key}, and {str(self._vault.path)!r} "
            f"holds key {self._vault.fingerprint}: put back the file that was there, or name "
            "another controller's with --credentials-key; nothing is lost"
        )

    def _place(self, key: str, kept: Kept) -> str:
        """Return what a locked credential is bound to: moved elsewhere, it doesn't open."""
        shown = [kept.registry, kept.username, kept.kind, kept.by, kept.updated]
        return f"{self._bucket.subject(key)} {msgspec.json.encode(shown).decode()}"

    async def _read(self, key: str) -> Kept | None:
        # Of the leader: what was set a moment ago, at whichever controller, is there.
        entry = await self._bucket.get(key)
        return None if entry is None else entry.value
