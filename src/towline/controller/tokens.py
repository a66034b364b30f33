"""The tokens that were made here, and those that were revoked, as all controllers know them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Sequence

import msgspec
import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.controller.auth import CLOCKS_APART, JOB_ADMIN, Authenticator, Caller
from towline.controller.permissions import NARROWED, covers, parse_grant
from towline.controller.token_keys import LONGEST_LIFE, TokenKeys, new_token_id
from towline.errors import (
    BrokerError,
    BrokerUnreachable,
    Forbidden,
    InvalidRequest,
    TowlineError,
    did_you_mean,
)
from towline.wire.fields import Moment, Name, Text

log = structlog.get_logger()

BUCKET = "tokens"
ROOM = 64 * 1024**2
"""Bytes that the records of tokens may take: half of it is for those that are revoked."""
REVOKED_FOR = LONGEST_LIFE + 5 * CLOCKS_APART
"""Seconds for which a revocation is kept of a token that was not made here: longer than one lives,
by whichever clock."""
KNOWN_WITHIN = 5.0
"""Seconds that a request waits for a controller that was just started to know what was revoked."""
PRUNED_AT_ONCE = 100
"""Expired tokens that are forgotten whenever one is made or revoked, at most."""


class TokenRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token, but for the token itself.

    Attributes:
        id: its `jti`.
        permissions: None where its roles say what it may do.
        created, expires: seconds since 1970.
        by: who made it; "" for one that was not made here.
        revoked: when it was revoked, in seconds since 1970; None for one that wasn't.
    """

    id: Name
    created: Moment
    expires: Moment
    subject: Text = ""
    roles: list[Text] = []
    permissions: list[Text] | None = None
    by: Text = ""
    revoked: Moment | None = None
    revoked_by: Text = ""


def _key(token_id: str) -> str:
    # An id is anything that a client's own key has signed.
    return hashlib.sha256(token_id.encode()).hexdigest()


def _newest_first(record: TokenRecord) -> tuple[float, str]:
    return -record.created, record.id


class Tokens:
    """The records of tokens: stored once for all controllers, and followed by each.

    Args:
        known_within: seconds; see the constant.
        room: bytes; see the constant.
    """

    def __init__(
        self, jetstream: JetStream, *, known_within: float = KNOWN_WITHIN, room: int = ROOM
    ) -> None:
        self._bucket = Bucket(jetstream, BUCKET, TokenRecord, max_bytes=room, max_consumers=1000)
        self._room = room
        self._known_within = known_within
        self._records: dict[str, TokenRecord] = {}
        self._revoked: set[str] = set()
        self.known = asyncio.Event()
        """Set once this controller has read what was revoked before it was started."""

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist; raises as `Bucket.create`."""
        await self._bucket.create(replicas)

    async def run(self) -> None:
        """Learn of all tokens and of all that are revoked, at whichever controller, for ever."""
        async for change in self._bucket.follow(self.known.set):
            self._take(change.value)
            if change.live:
                await self._prune()

    def _take(self, record: TokenRecord) -> None:
        self._records[record.id] = record
        if record.revoked is not None:
            self._revoked.add(record.id)

    def is_revoked(self, token_id: str) -> bool:
        """Return whether a token was revoked."""
        return token_id in self._revoked

    async def until_known(self) -> None:
        """Wait until it is known what was revoked.

        Raises:
            BrokerUnreachable: that takes too long.
        """
        try:
            async with asyncio.timeout(self._known_within):
                await self.known.wait()
        except TimeoutError:
            raise BrokerUnreachable(
                "This controller does not know yet which tokens were revoked: "
                "try again in a few seconds.",
                "It was started a moment ago, or the broker is out of reach",
            ) from None

    def get(self, token_id: str) -> TokenRecord | None:
        """Return what is known of a token that has not expired, or None."""
        found = self._records.get(token_id)
        return found if found is not None and found.expires > time.time() else None

    def all(self) -> list[TokenRecord]:
        """Return the tokens that have not expired, the newest first."""
        now = time.time()
        found = [record for record in self._records.values() if record.expires > now]
        return sorted(found, key=_newest_first)

    def behind(self, token_id: str) -> list[TokenRecord]:
        """Return those of `all` that come behind a token, be that one expired.

        Raises:
            InvalidRequest: it is not known any more.
        """
        last = self._records.get(token_id)
        if last is None:
            raise InvalidRequest(
                f"The cursor {token_id[:80]!r} is of no token that is known.",
                "Leave it out to begin anew",
            )
        place = _newest_first(last)
        return [record for record in self.all() if _newest_first(record) > place]

    async def add(self, record: TokenRecord) -> None:
        """Record a token that was made; raises as `Bucket.put`.

        Raises:
            TowlineError: so many are recorded that there would be no room to revoke some.
        """
        if await self._bucket.size() > self._room // 2:
            raise TowlineError(
                "No more tokens are made: the records of those that have not expired take as much "
                "room as they may.",
                "Make tokens for shorter times; some room is kept to revoke them",
            )
        await self._bucket.put(_key(record.id), record)
        self._take(record)

    async def revoke(self, token_id: str, by: str) -> TokenRecord:
        """Revoke a token, be it one that was not made here; return its record.

        Raises:
            BrokerRefused: it was not revoked.
            BrokerUnreachable: it may or may not have been revoked.
        """
        now = time.time()
        while True:
            entry = await self._bucket.get(_key(token_id))
            found = None if entry is None else entry.value
            record = found or TokenRecord(token_id, now, now + REVOKED_FOR)
            if record.revoked is None:
                record = msgspec.structs.replace(record, revoked=now, revoked_by=by)
                last = 0 if entry is None else entry.sequence
                try:
                    await self._bucket.put(_key(token_id), record, last=last)
                except WrongLastSequence:
                    continue  # another controller's, or this one's
            self._take(record)
            log.info("token revoked", token=token_id, by=by)
            return record

    async def _prune(self) -> None:
        """Forget what has expired, here and at the broker; another controller may come first."""
        now = time.time() - CLOCKS_APART  # another controller's may be behind
        over = [record for record in self._records.values() if record.expires <= now]
        try:
            for record in over[:PRUNED_AT_ONCE]:
                await self._bucket.purge(_key(record.id))
                del self._records[record.id]
                self._revoked.discard(record.id)
        except BrokerError as error:
            log.warning("expired tokens not removed yet", reason=error.details)


class TokenMaker:
    """Makes tokens for those who may, and records them.

    Args:
        keys: what they are signed with.
        authenticator: which roles and permissions there are.
    """

    def __init__(self, keys: TokenKeys, tokens: Tokens, authenticator: Authenticator) -> None:
        self._keys = keys
        self._tokens = tokens
        self._authenticator = authenticator

    async def make(
        self,
        caller: Caller,
        *,
        subject: str,
        roles: Sequence[str],
        permissions: Sequence[str] | None,
        lifetime: float,
    ) -> tuple[TokenRecord, str]:
        """Make a token; return its record, and itself.

        Args:
            permissions: in place of those of the roles, where given.
            lifetime: seconds.

        Raises:
            InvalidRequest: a role or a permission is none, or the time is too long.
            Forbidden: the token could do more than the caller.
            BrokerRefused, BrokerUnreachable: it is not recorded, and nobody has it.
        """
        known = self._authenticator
        _check("role", roles, known.roles)
        if permissions is not None:
            plain = {each.partition(NARROWED)[0] for each in known.permissions}
            _check("permission", [each.partition(NARROWED)[0] for each in permissions], plain)
            _check_narrowed(permissions)
        wanted = known.permissions_of(roles) if permissions is None else permissions
        beyond = sorted(each for each in wanted if not covers(caller.permissions, each))
        if subject != caller.subject and JOB_ADMIN not in caller.permissions:
            beyond.append(f"{JOB_ADMIN}, which a token for somebody else takes")
        if beyond:
            raise Forbidden(
                f"The token could do more than that of {caller.subject!r}: {', '.join(beyond)}.",
                "Name fewer roles, or permissions in their place",
            )
        made = new_token_id()
        token = self._keys.create(
            subject=subject, roles=roles, permissions=permissions, lifetime=lifetime, id=made
        )
        now = time.time()
        record = TokenRecord(
            made,
            now,
            now + lifetime,
            subject,
            list(roles),
            None if permissions is None else list(permissions),
            caller.subject,
        )
        await self._tokens.add(record)
        return record, token


def _check(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidRequest(
                f"There is no {kind} {name[:80]!r}. {did_you_mean(name[:80], known)}".rstrip(),
                f"There are: {', '.join(sorted(known))}",
            )


def _check_narrowed(permissions: Iterable[str]) -> None:
    for each in permissions:
        if NARROWED in each:
            try:
                parse_grant(each)
            except ValueError as error:
                raise InvalidRequest.because("A permission is not valid", error) from error
