"""Registries: the credentials that controllers keep for them in the broker, encrypted."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import msgspec

from towline.broker.connection import BrokerRefused, Connection
from towline.broker.streams import NO_MESSAGE, create_stream
from towline.errors import Conflict
from towline.runtime.keys import Vault, WrongKey
from towline.wire.credential import Credential

BUCKET = "credentials"
OF_REGISTRY = f"$KV.{BUCKET}.registry"
OF_JOB = f"$KV.{BUCKET}.job"


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


def _registry_subject(registry: str) -> str:
    # A host has dots and an address brackets: none of that may become part of a subject.
    return f"{OF_REGISTRY}.{registry.encode().hex()}"


def _job_subject(job_id: str) -> str:
    return f"{OF_JOB}.{job_id}"


class Registries:
    """What controllers keep, read from the broker whenever it is asked for.

    Args:
        vault: what locks it.
    """

    def __init__(self, broker: Connection, vault: Vault) -> None:
        self._broker = broker
        self._vault = vault

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist."""
        await create_stream(
            self._broker,
            {
                "name": f"KV_{BUCKET}",
                "subjects": [f"$KV.{BUCKET}.>"],
                "retention": "limits",
                "storage": "file",
                "max_msgs_per_subject": 1,
                "max_bytes": 256 * 1024**2,
                "max_consumers": 1000,
                "discard": "new",
                "allow_rollup_hdrs": True,
                "allow_direct": True,
                "num_replicas": replicas,
            },
        )

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
        kept = self._lock(_registry_subject(registry), registry, credential, by)
        await self._broker.append(_registry_subject(registry), msgspec.json.encode(kept))
        return kept, registry not in found

    async def get(self, registry: str) -> Kept | None:
        """Return what is kept for a registry; raises as `Connection.call`."""
        return await self._read(_registry_subject(registry))

    async def all(self) -> list[Kept]:
        """Return what is kept for registries, by their names; raises as `Connection.call`."""
        subjects = await self._subjects(OF_REGISTRY)
        found = await asyncio.gather(*(self._read(subject) for subject in subjects))
        present = [kept for kept in found if kept is not None]
        return sorted(present, key=lambda kept: kept.registry)

    async def remove(self, registry: str) -> bool:
        """Forget what is kept for a registry; return whether there was something.

        Raises:
            BrokerUnreachable, BrokerRefused: it may not have been removed.
        """
        return await self._purge(_registry_subject(registry))

    # Of jobs

    async def hold(self, job_id: str, registry: str, credential: Credential, by: str) -> None:
        """Keep what a request brought for its job; raises as `Connection.append`."""
        subject = _job_subject(job_id)
        kept = self._lock(subject, registry, credential, by)
        await self._broker.append(subject, msgspec.json.encode(kept))

    async def held(self, job_id: str) -> Kept | None:
        """Return what a request brought for its job; raises as `Connection.call`."""
        return await self._read(_job_subject(job_id))

    async def jobs(self) -> list[str]:
        """Return the ids of the jobs for which something is kept; raises as `Connection.call`."""
        return [subject.rpartition(".")[2] for subject in await self._subjects(OF_JOB)]

    async def drop(self, job_id: str) -> None:
        """Forget what a request brought for its job; raises as `remove`."""
        await self._purge(_job_subject(job_id))

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
        subject = _registry_subject(kept.registry) if job_id is None else _job_subject(job_id)
        opened = self._vault.unlock(kept.locked, _place(subject, kept))
        return msgspec.json.decode(opened, type=Credential)

    def _lock(self, subject: str, registry: str, credential: Credential, by: str) -> Kept:
        kept = Kept(
            registry=registry,
            username=credential.username,
            kind=credential.kind,
            updated=time.time(),
            by=by,
            key=self._vault.fingerprint,
        )
        locked = self._vault.lock(msgspec.json.encode(credential), _place(subject, kept))
        return msgspec.structs.replace(kept, locked=locked)

    def _other_key(self, kept: Kept) -> str:
        return (
            f"That for {kept.registry} is kept with key {kept.key}, and {str(self._vault.path)!r} "
            f"holds key {self._vault.fingerprint}: put back the file that was there, or name "
            "another controller's with --credentials-key; nothing is lost"
        )

    # In the broker

    async def _read(self, subject: str) -> Kept | None:
        try:
            # Of the leader: what was set a moment ago, at whichever controller, is there.
            answer = await self._broker.call(
                f"STREAM.MSG.GET.KV_{BUCKET}", {"last_by_subj": subject}
            )
        except BrokerRefused as error:
            if error.number == NO_MESSAGE:
                return None
            raise
        return msgspec.json.decode(base64.b64decode(answer["message"]["data"]), type=Kept)

    async def _subjects(self, below: str) -> list[str]:
        answer = await self._broker.call(
            f"STREAM.INFO.KV_{BUCKET}", {"subjects_filter": f"{below}.*"}
        )
        found: dict[str, Any] = answer["state"].get("subjects") or {}
        return list(found)

    async def _purge(self, subject: str) -> bool:
        answer = await self._broker.call(f"STREAM.PURGE.KV_{BUCKET}", {"filter": subject})
        return bool(answer["purged"])


def _place(subject: str, kept: Kept) -> str:
    """Return what a locked credential is bound to: moved elsewhere, it doesn't open."""
    shown = [kept.registry, kept.username, kept.kind, kept.by, kept.updated]
    return f"{subject} {msgspec.json.encode(shown).decode()}"
