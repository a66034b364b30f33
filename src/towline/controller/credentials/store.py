"""The store of credentials: what controllers keep for registries and jobs, encrypted."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.errors import BrokerError, Conflict
from towline.runtime.keys import Vault, WrongKey
from towline.wire.credential import Credential
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.fields import Moment

BUCKET = "credentials"
OF_REGISTRY = "registry"
OF_JOB = "job"
LOOK_EVERY = 2.0
"""Seconds between looks for what is kept with an older key, while there is one."""

log = structlog.get_logger()

_credential = Decoder(Credential)


class StoredCredential(msgspec.Struct, frozen=True, omit_defaults=True):
    """A credential as it is stored: all in the clear but the secret.

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
    updated: Moment
    by: str
    key: str
    locked: str = ""


def _registry_key(registry: str) -> str:
    # A host has dots and an address brackets: none of that may become part of a key.
    return f"{OF_REGISTRY}.{registry.encode().hex()}"


def _job_key(job_id: str) -> str:
    return f"{OF_JOB}.{job_id}"


class CredentialStore:
    """The credentials that controllers keep, read from the broker whenever one is needed.

    Args:
        vault: what locks them.
        look_every: seconds; see the constant.
    """

    def __init__(
        self, jetstream: JetStream, vault: Vault, *, look_every: float = LOOK_EVERY
    ) -> None:
        self._look_every = look_every
        self._bucket = Bucket(
            jetstream, BUCKET, StoredCredential, max_bytes=256 * 1024**2, max_consumers=1000
        )
        self._vault = vault

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist; raises as `Bucket.create`."""
        await self._bucket.create(replicas)

    # Of registries

    async def put(
        self, registry: str, credential: Credential, by: str
    ) -> tuple[StoredCredential, bool]:
        """Store a credential for a registry; return it, and whether there was none before.

        Raises:
            Conflict: others are locked with another key, which this controller doesn't have.
            BrokerError: it may not have been stored.
        """
        found = {stored.registry: stored for stored in await self.all()}
        foreign = [stored for stored in found.values() if not self.readable(stored)]
        if any(stored.registry != registry for stored in foreign):
            raise Conflict(
                "This controller does not have the key that credentials are kept with.",
                f"{self._other_key(foreign[0])}; or remove those that can't be read",
            )
        key = _registry_key(registry)
        stored = self._lock(key, registry, credential, by)
        await self._bucket.put(key, stored)
        return stored, registry not in found

    async def get(self, registry: str) -> StoredCredential | None:
        """Return what is stored for a registry; raises as `Bucket.get`."""
        return await self._read(_registry_key(registry))

    async def all(self) -> list[StoredCredential]:
        """Return what is stored for registries, by their names; raises as `Bucket.get`."""
        keys = await self._bucket.keys(OF_REGISTRY)
        found = await asyncio.gather(*(self._read(key) for key in keys))
        present = [stored for stored in found if stored is not None]
        return sorted(present, key=lambda stored: stored.registry)

    async def remove(self, registry: str) -> bool:
        """Remove what is stored for a registry; return whether there was something.

        Raises:
            BrokerError: it may not have been removed.
        """
        return await self._bucket.purge(_registry_key(registry))

    # Of jobs

    async def put_for_job(
        self, job_id: str, registry: str, credential: Credential, by: str
    ) -> None:
        """Store what a request brought for its job; raises as `Bucket.put`."""
        key = _job_key(job_id)
        await self._bucket.put(key, self._lock(key, registry, credential, by))

    async def get_for_job(self, job_id: str) -> StoredCredential | None:
        """Return what a request brought for its job; raises as `Bucket.get`."""
        return await self._read(_job_key(job_id))

    async def jobs(self) -> list[str]:
        """Return the ids of the jobs for which something is stored; raises as `Bucket.get`."""
        return [key.rpartition(".")[2] for key in await self._bucket.keys(OF_JOB)]

    async def remove_for_job(self, job_id: str) -> None:
        """Remove what a request brought for its job; raises as `remove`."""
        await self._bucket.purge(_job_key(job_id))

    # Locking

    def readable(self, stored: StoredCredential) -> bool:
        """Return whether this controller has the key for it."""
        return self._vault.knows(stored.key)

    def open(self, stored: StoredCredential, *, job_id: str | None = None) -> Credential:
        """Return the credential that is stored.

        Args:
            job_id: the job that it is stored for, where it isn't for a registry.

        Raises:
            WrongKey: this controller has another key, or it was changed where it is stored.
        """
        if not self.readable(stored):
            raise WrongKey(
                f"The credential for {stored.registry} can't be decrypted.",
                self._other_key(stored),
            )
        key = _registry_key(stored.registry) if job_id is None else _job_key(job_id)
        opened = self._vault.unlock(stored.locked, self._place(key, stored), stored.key)
        try:
            return _credential.decode(opened)
        except Unreadable:
            # The reason stays out: it may repeat something of the secret.
            raise WrongKey(
                f"The credential for {stored.registry} can't be read.",
                "a newer version may have stored it: set it again",
            ) from None

    async def run(self) -> None:
        """Encrypt with the first key what is kept with one that goes, for ever."""
        while True:
            if self._vault.rotating:
                try:
                    changed = await self.lock_anew()
                except BrokerError as error:
                    log.warning("credentials not locked anew yet", reason=str(error))
                else:
                    if changed:
                        key = self._vault.fingerprint
                        log.info("credentials locked anew", credentials=changed, key=key)
            await asyncio.sleep(self._look_every)

    async def lock_anew(self) -> int:
        """Encrypt with the first key what is kept with one that goes; return how many there were.

        Raises:
            BrokerError: not all of them may have been stored.
        """
        changed = 0
        for kind in (OF_REGISTRY, OF_JOB):
            for key in await self._bucket.keys(kind):
                entry = await self._bucket.get(key)
                stored = None if entry is None else entry.value
                if entry is None or stored is None or not self._vault.going(stored.key):
                    continue
                job_id = key.rpartition(".")[2] if kind == OF_JOB else None
                try:
                    credential = self.open(stored, job_id=job_id)
                except WrongKey as error:
                    log.debug("credential not locked anew", reason=str(error))
                    continue
                anew = self._lock(
                    *(key, stored.registry, credential, stored.by), updated=stored.updated
                )
                # Whoever sets or removes it meanwhile has the last word.
                with contextlib.suppress(WrongLastSequence):
                    await self._bucket.put(key, anew, last=entry.sequence)
                    changed += 1
        return changed

    def _lock(
        self,
        key: str,
        registry: str,
        credential: Credential,
        by: str,
        *,
        updated: float | None = None,
    ) -> StoredCredential:
        stored = StoredCredential(
            registry=registry,
            username=credential.username,
            kind=credential.kind,
            updated=time.time() if updated is None else updated,
            by=by,
            key=self._vault.fingerprint,
        )
        locked = self._vault.lock(msgspec.json.encode(credential), self._place(key, stored))
        return msgspec.structs.replace(stored, locked=locked)

    def _other_key(self, stored: StoredCredential) -> str:
        return (
            f"That for {stored.registry} is kept with key {stored.key}, and "
            f"{str(self._vault.path)!r} holds key {self._vault.fingerprint}: put back the file "
            "that was there, or name another controller's with --credentials-key; nothing is lost"
        )

    def _place(self, key: str, stored: StoredCredential) -> str:
        """Return what a locked credential is bound to: moved elsewhere, it doesn't open."""
        shown = [stored.registry, stored.username, stored.kind, stored.by, stored.updated]
        return f"{self._bucket.subject(key)} {msgspec.json.encode(shown).decode()}"

    async def _read(self, key: str) -> StoredCredential | None:
        # Of the leader: what was set a moment ago, at whichever controller, is there.
        entry = await self._bucket.get(key)
        return None if entry is None else entry.value
