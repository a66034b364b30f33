"""The nodes' account as brokers have it: which logins of nodes it has taken back."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from towline.errors import InvalidConfiguration
from towline.trust import claims
from towline.trust.claims import NotTrusted
from towline.trust.keys import (
    NODES_LOGIN,
    NODES_NAME,
    NODES_SIGNING,
    OPERATOR_SIGNING,
    SYSTEM_LOGIN,
    Trust,
    node_seed,
    nodes_account,
)
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
    """Makes the nodes' account anew, with whatever logins are taken back.

    Attributes:
        changed_with: the file with the login by which brokers take it.

    Args:
        trust: has the keys.

    Raises:
        InvalidConfiguration: a key is not here, or can't be used.
    """

    def __init__(self, trust: Trust) -> None:
        try:
            self._operator = trust.read(OPERATOR_SIGNING)
            self._signing = trust.read(NODES_SIGNING)
            self._issuer = claims.public_key(self._operator)
            login, _ = claims.read(claims.token_in(trust.read(NODES_LOGIN)), claims.User)
            self._first = nodes_account(self._signing)
        except (NotTrusted, ValueError) as error:
            raise InvalidConfiguration(
                f"The keys in {str(trust.directory)!r} can't be used.", str(error)
            ) from error
        self.changed_with = trust.path(SYSTEM_LOGIN)
        # The account itself has signed the controllers' login to it.
        self._key = login.iss

    def login_key(self, machine: str) -> str:
        """Return the public key of the logins that `Trust.node_login` makes for a machine id."""
        return claims.public_key(node_seed(self._signing, machine))

    def made(self, record: AccountRecord) -> int:
        """Return when a record's account was made, in seconds since 1970.

        Raises:
            NotTrusted: it is not the nodes' account, or signed by another key.
        """
        return self._read(record)[0].iat

    def _read(self, record: AccountRecord) -> tuple[claims.Claims, claims.Account]:
        # Whoever can write the journal must not have another account signed as that of the nodes.
        found, account = claims.read(record.jwt, claims.Account, {self._issuer})
        if found.sub != self._key:
            raise NotTrusted(f"The account {found.sub} is not that of the nodes.")
        return found, account

    def revoke(
        self, record: AccountRecord | None, revoked: Mapping[str, int], ends: Mapping[str, int]
    ) -> AccountRecord:
        """Return the record with logins taken back.

        What was taken back of logins that have ended is left out.

        Args:
            record: the one that is in force; None for the account as it was made.
            revoked: by public key, the moment up to which logins of it must have been made; see
                `FOR_GOOD`. One that is known already is replaced.
            ends: see `AccountRecord`.

        Raises:
            NotTrusted: see `made`.
        """
        made = now = int(time.time())
        account, known = self._first, dict(ends)
        if record is not None:
            found, account = self._read(record)
            # Of two accounts brokers keep the newer one.
            made, known = max(now, found.iat + 1), {**record.ends, **ends}
        kept = {
            key: moment
            for key, moment in {**account.revocations, **revoked}.items()
            if not 0 < known.get(key, 0) < now - PRUNED_AFTER
        }
        jwt = claims.sign(
            msgspec.structs.replace(account, revocations=kept),
            by=self._operator,
            about=self._key,
            name=NODES_NAME,
            iat=made,
        )
        return AccountRecord(jwt, {key: known[key] for key in kept if key in known})
