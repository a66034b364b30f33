"""The nodes' account as brokers have it: whose logins it lets in, and which it has taken back."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from towline.errors import InvalidConfiguration
from towline.trust import claims
from towline.trust.claims import NotTrusted
from towline.trust.keys import (
    NODES_JWT,
    NODES_LOGIN,
    NODES_SIGNING,
    OPERATOR_SIGNING,
    SYSTEM_LOGIN,
    Trust,
)
from towline.trust.login_keys import LoginKeys, node_seed
from towline.trust.nodes_account import NAME, account_of, scope_of, widened
from towline.wire.fields import Name

FOR_GOOD = 2**53 - 1
"""The moment before which a login must have been made to be taken back, where none of the key is
ever to count: seconds since 1970, as large as any reader of JSON takes."""
PRUNED_AFTER = 3600
"""Seconds after the end of a login for which it is still known to be taken back: brokers' clocks
may be behind."""


class AccountRecord(msgspec.Struct, frozen=True):
    """The account, as it is to be at all brokers.

    Attributes:
        jwt: the account itself, signed.
        ends: by the public key of a login that is taken back, when the last such login ends anyhow,
            in seconds since 1970; 0 for never.
    """

    jwt: str
    ends: dict[Name, int] = {}


class NodesAccount:
    """Makes the nodes' account anew: with other keys that sign logins, or with some taken back.

    Attributes:
        file: that of the keys that sign nodes' logins.
        keys: what is in it.
        changed_with: the file with the login by which brokers take the account.

    Args:
        trust: has the keys.

    Raises:
        InvalidConfiguration: a key is not here, or can't be used.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.file = trust.path(NODES_SIGNING)
        self.keys: LoginKeys = trust.login_keys()
        try:
            self._operator = trust.read(OPERATOR_SIGNING)
            self._issuer = claims.public_key(self._operator)
            login, _ = claims.read(claims.token_in(trust.read(NODES_LOGIN)), claims.User)
            _, first = claims.read(trust.read(NODES_JWT), claims.Account)
        except (NotTrusted, ValueError) as error:
            raise InvalidConfiguration(
                f"The keys in {str(trust.directory)!r} can't be used.", str(error)
            ) from error
        self.changed_with = trust.path(SYSTEM_LOGIN)
        # The account itself has signed the controllers' login to it.
        self._key = login.iss
        self._first = account_of(scope.key for scope in first.signing_keys)
        self._started_with = first.signing_keys
        """What brokers are started with: an older version may have made it."""

    def read_again(self) -> None:
        """Take the keys that sign nodes' logins from their file; raises `InvalidConfiguration`."""
        self.keys = self._trust.login_keys()

    def of_machine(self, machine: str) -> list[str]:
        """Return the public keys of the logins that `Trust.node_login` makes for a machine id.

        They are as many as there are keys by which it may have been signed.
        """
        return [claims.public_key(node_seed(seed, machine)) for seed in self.keys.all]

    def made(self, record: AccountRecord) -> int:
        """Return when a record's account was made, in seconds since 1970.

        Raises:
            NotTrusted: it is not the nodes' account, or signed by another key.
        """
        return self._read(record)[0].iat

    def lets_in(self, record: AccountRecord) -> tuple[str, ...]:
        """Return the public keys by which logins are signed that count; raises as `made`."""
        return tuple(scope.key for scope in self._read(record)[1].signing_keys)

    def _read(self, record: AccountRecord) -> tuple[claims.Claims, claims.Account]:
        # Whoever can write the journal must not have another account signed as that of the nodes.
        found, account = claims.read(record.jwt, claims.Account, {self._issuer})
        if found.sub != self._key:
            raise NotTrusted(f"The account {found.sub} is not that of the nodes.")
        return found, account

    def with_keys(self, record: AccountRecord | None) -> AccountRecord | None:
        """Return the record by which logins are let in that the file's keys have signed.

        Whoever has such a login may do what a node of this version does. What another controller
        knows of stays, but for the keys that the file says are retired.

        Args:
            record: see `revoke`.

        Returns:
            None where it is so already.

        Raises:
            NotTrusted: see `made`.
        """
        made, account = self._parts(record)
        scopes_before = self._started_with if record is None else account.signing_keys
        there = {scope.key: scope for scope in scopes_before}
        keys = self.keys.known(there)
        scopes = tuple(widened(there.get(key) or scope_of(key)) for key in keys)
        # Brokers may have been started with an account of before this machine's was changed.
        stored = record is not None or len((*self.keys.all, *self.keys.retired)) == 1
        if stored and scopes == scopes_before:
            return None
        changed = msgspec.structs.replace(account, signing_keys=scopes)
        return self._signed(record, made, changed, {})

    def revoke(
        self, record: AccountRecord | None, revoked: Mapping[str, int], ends: Mapping[str, int]
    ) -> AccountRecord:
        """Return the record with logins taken back.

        What was taken back of logins that have ended is left out.

        Args:
            record: the one that is in force; None for the account that brokers are started with.
            revoked: by public key, the moment up to which logins of it must have been made; see
                `FOR_GOOD`. One that is known already is replaced.
            ends: see `AccountRecord`.

        Raises:
            NotTrusted: see `made`.
        """
        made, account = self._parts(record)
        revocations = {**account.revocations, **revoked}
        changed = msgspec.structs.replace(account, revocations=revocations)
        return self._signed(record, made, changed, ends)

    def _parts(self, record: AccountRecord | None) -> tuple[int, claims.Account]:
        """Return when the account was made, and what it is."""
        if record is None:
            return 0, self._first
        found, account = self._read(record)
        return found.iat, account

    def _signed(
        self,
        record: AccountRecord | None,
        before: int,
        account: claims.Account,
        ends: Mapping[str, int],
    ) -> AccountRecord:
        now = int(time.time())
        known = {**(record.ends if record is not None else {}), **ends}
        kept = {
            key: moment
            for key, moment in account.revocations.items()
            if not 0 < known.get(key, 0) < now - PRUNED_AFTER
        }
        jwt = claims.sign(
            msgspec.structs.replace(account, revocations=kept),
            by=self._operator,
            about=self._key,
            name=NAME,
            # Of two accounts brokers keep the newer one.
            iat=max(now, before + 1),
        )
        return AccountRecord(jwt, {key: known[key] for key in kept if key in known})
