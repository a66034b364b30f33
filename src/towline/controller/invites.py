"""Invites: what a machine needs to come in, stored once for all controllers."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

import msgspec

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.errors import Forbidden, NotFound, TowlineError
from towline.wire.fields import Count, Moment, Name, Seconds, Text
from towline.wire.member import Nkey

BUCKET = "invites"
ROOM = 8 * 1024**2
"""Bytes that invites may take."""
PREFIX = "twl1"
"""What an invite begins with: its form's version."""
MOST_KEPT = 1000
"""Invites that there may be at a time."""
KEPT_FOR = 86400.0
"""Seconds for which an invite that has expired is still shown."""

USED = "has been used"


class Invite(msgspec.Struct, frozen=True, omit_defaults=True):
    """An invite, but for its secret.

    Attributes:
        digest: the hash of the secret.
        created, expires: seconds since 1970.
        by: who made it.
        uses: how many machines it lets in; None for any number.
        takers: the keys of those that it has let in, where it counts them.
        hostname: what its machine is called; "" for what that calls itself.
        labels: what the machines carry.
        allowed: patterns of labels that the machines themselves may choose.
        approve: whether somebody has to let each in.
        ephemeral: seconds for which a machine may be away before it is removed; None for any time.
        replace: whether a machine takes the name of one that is away and came by this invite.
        withdrawn: since when it lets nobody in; None for one that does.
    """

    id: Name
    digest: Name
    created: Moment
    expires: Moment
    by: Text
    uses: Count | None = 1
    takers: list[Nkey] = []
    hostname: Name = ""
    labels: dict[Name, Name] = {}
    allowed: list[Name] = []
    approve: bool = False
    ephemeral: Seconds | None = None
    replace: bool = False
    withdrawn: Moment | None = None

    @property
    def ended(self) -> str:
        """Why it lets nobody in any more; "" for one that does."""
        if self.withdrawn is not None:
            return "was withdrawn"
        if self.expires <= time.time():
            return "has expired"
        if self.uses is not None and len(self.takers) >= self.uses:
            return USED
        return ""


def new_secret() -> tuple[str, str]:
    """Return a new invite's id, and its secret."""
    return secrets.token_hex(8), secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return the hash of a secret, which has as much chance in it as the hash."""
    return hashlib.sha256(b"towline-invite-1\0" + secret.encode()).hexdigest()


def token_of(id: str, secret: str, pin: str) -> str:
    """Return an invite as it is given to a machine."""
    return f"{PREFIX}.{id}.{secret}.{pin}"


class Invites:
    """The invites that there are."""

    def __init__(self, jetstream: JetStream) -> None:
        self._bucket = Bucket(jetstream, BUCKET, Invite, max_bytes=ROOM)

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist; raises as `Bucket.create`."""
        await self._bucket.create(replicas)

    async def add(self, invite: Invite) -> None:
        """Store an invite; raises as `Bucket.put`.

        Raises:
            TowlineError: there are too many.
        """
        kept = 0
        now = time.time()
        for each in await self.all():
            if each.expires + KEPT_FOR < now:
                await self._bucket.purge(_key(each.id))
            else:
                kept += 1
        if kept >= MOST_KEPT:
            raise TowlineError(
                f"There are {kept} invites, as many as there may be.",
                "One invite may let in any number of machines; those that have expired are "
                "forgotten after a day",
            )
        await self._bucket.put(_key(invite.id), invite, last=0)

    async def all(self) -> list[Invite]:
        """Return all invites that are kept, the newest first; raises as `Bucket.get`."""
        entries = [await self._bucket.get(key) for key in await self._bucket.keys("invite")]
        found = [entry.value for entry in entries if entry is not None and entry.value is not None]
        return sorted(found, key=lambda invite: invite.created, reverse=True)

    async def check(self, id: str, secret: str, nkey: str) -> Invite:
        """Return the invite that a machine has, if it lets that one in.

        Raises:
            Forbidden: there is none of that id and secret, or it lets nobody in any more.
            BrokerError: it isn't known.
        """
        entry = await self._bucket.get(_key(id)) if id.isalnum() else None
        invite = None if entry is None else entry.value
        right = hmac.compare_digest(invite.digest if invite else "", digest_of(secret))
        if invite is None or not right:
            raise Forbidden(
                "There is no such invite.", "Copy the whole line that towline node invite printed"
            )
        _check_open(invite, nkey)
        return invite

    async def take(self, id: str, nkey: str) -> Invite:
        """Count a machine that comes in by an invite; the same one again is not counted.

        Raises:
            Forbidden: it lets nobody in any more.
            BrokerError: it may or may not have been counted.
        """

        def taken(invite: Invite) -> Invite:
            _check_open(invite, nkey)
            if invite.uses is None or nkey in invite.takers:
                return invite
            return msgspec.structs.replace(invite, takers=[*invite.takers, nkey])

        return await self._change(id, taken)

    async def withdraw(self, id: str) -> Invite:
        """Let nobody in any more by an invite; return it.

        Raises:
            NotFound: there is none of this id.
            BrokerError: it may or may not be withdrawn.
        """
        return await self._change(
            id, lambda invite: msgspec.structs.replace(invite, withdrawn=time.time())
        )

    async def _change(self, id: str, alter: Callable[[Invite], Invite]) -> Invite:
        while True:
            entry = await self._bucket.get(_key(id))
            if entry is None or entry.value is None:
                raise NotFound(
                    f"There is no invite {id!r}.",
                    "GET /invite shows them",
                )
            altered = alter(entry.value)
            if altered == entry.value:
                return altered
            try:
                await self._bucket.put(_key(id), altered, last=entry.sequence)
            except WrongLastSequence:
                continue
            return altered


def _key(id: str) -> str:
    return f"invite.{id}"


def _check_open(invite: Invite, nkey: str) -> None:
    # A machine that has used it may not have received the answer.
    if invite.ended and not (invite.ended == USED and nkey in invite.takers):
        raise Forbidden(
            f"The invite {invite.id} {invite.ended}.", "Ask for a new one: towline node invite"
        )
