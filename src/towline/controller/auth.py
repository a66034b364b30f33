"""Tokens: who calls, and what they may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import jwt
import msgspec

from towline.controller.oidc import Issuer
from towline.controller.permissions import NARROWED, Bounds, Grant, common, parse_grant
from towline.controller.token_keys import (
    ALGORITHM,
    CLIENTS_ALGORITHM,
    LONGEST_LIFE,
    LONGEST_TOKEN,
    ClientKey,
    TokenKeys,
)
from towline.errors import Forbidden, InvalidConfiguration, Unauthorized
from towline.wire.fields import Text
from towline.wire.names import OF_SETS

REMEMBERED = 4096
"""Verified tokens kept in memory: checking a signature costs more than a look-up."""

CLOCKS_APART = 60.0
"""Seconds that the clock of whoever signed a token may be ahead of ours."""

MAKE = "towline token create makes a new one"

OIDC = "oidc"
"""What stands before the subjects of an issuer's tokens; no key of a client has this name."""

JOB_READ = "job:read"
"""What it takes to see a job."""
JOB_ADMIN = "job:admin"
"""What it takes to do something about a job that somebody else has made."""
SET_READ, SET_WRITE = "set:read", "set:write"
"""What it takes to see sets; to change them, and to do something about the jobs that they make."""

WRITABLE = (
    *("certificate", "cron", "docker", "file", "job", "network", "node", "ntp", "package"),
    *("service", "set", "sysctl", "timezone", "user"),
)
READABLE = (*WRITABLE, "agent", "health", "log", "process", "registry")
READ = {f"{domain}:read" for domain in READABLE}
WRITE = {f"{domain}:write" for domain in WRITABLE}
ADMINS_DOMAINS = ("audit", "token", "trust")
"""The domains of which only admins have any permission."""
ADMIN_ONLY = {
    *("agent:write", "audit:read", "registry:write", JOB_ADMIN),
    *("docker:execute", "command:execute", "power:execute", "process:execute"),
}
ROLES: dict[str, frozenset[str]] = {
    "admin": frozenset(READ | WRITE | ADMIN_ONLY),
    "write": frozenset(READ | WRITE),
    "read": frozenset(READ),
}


READS_NODES = "agent:read"
"""The permission to read which nodes there are."""


class Caller(msgspec.Struct, frozen=True):
    """Who calls.

    Attributes:
        subject: the token's `sub`.
        permissions: what the caller may do, as it is written; some of it is narrowed.
        expires: seconds since 1970; the token's `exp`.
        narrowed: what is narrowed, by the permission that it is without that.
        token_id: the token's `jti`; "" for one without.
        key: the id of the fleet's key that has signed it; "" for another's.
        version: of the issuer's keys by which it was verified; None for one that is no issuer's.
    """

    subject: str
    roles: list[str]
    permissions: frozenset[str]
    expires: float
    narrowed: Mapping[str, Sequence[Grant]] = {}
    token_id: str = ""
    key: str = ""
    version: int | None = None

    def require(self, permission: str) -> None:
        """Raise `Forbidden` unless the caller has `permission`, be it narrowed."""
        if permission not in self.permissions and permission not in self.narrowed:
            raise Forbidden(
                f"The token of {self.subject!r} lacks the permission {permission!r}.",
                f"The token of {self.subject!r} has: {', '.join(sorted(self.permissions)) or '-'}",
            )

    def require_whole(self, permission: str) -> None:
        """Raise `Forbidden` unless the caller has `permission`, and nothing narrows it."""
        if permission not in self.permissions:
            bounds = self.bounds(permission)
            raise bounds.refusal("what is asked is about more than nodes inside")

    def steering(self, maker: str) -> str | None:
        """Return the permission that it takes to do something about a job, beside what that is.

        Args:
            maker: the job's caller.

        Returns:
            None for a job of one's own.
        """
        if maker == self.subject:
            return None
        if not maker.startswith(OF_SETS) or JOB_ADMIN in self.permissions:
            return JOB_ADMIN
        sets = SET_WRITE in self.permissions or SET_WRITE in self.narrowed
        return JOB_ADMIN if JOB_ADMIN in self.narrowed and not sets else SET_WRITE

    @property
    def seen(self) -> Bounds | None:
        """Which nodes the caller may read; None for none."""
        may = READS_NODES in self.permissions or READS_NODES in self.narrowed
        return self.bounds(READS_NODES) if may else None

    def bounds(self, permission: str) -> Bounds:
        """Return how far a permission of the caller goes.

        Raises:
            Forbidden: the caller doesn't have it at all.
        """
        if permission in self.permissions:
            return Bounds(self.subject, permission, None)
        self.require(permission)
        return Bounds(self.subject, permission, self.narrowed[permission])


def narrowed(permissions: Iterable[str]) -> dict[str, list[Grant]]:
    """Return those of some permissions that are narrowed; raises `ValueError` for what is none."""
    found: dict[str, list[Grant]] = {}
    for text in permissions:
        if NARROWED in text:
            grant = parse_grant(text)
            found.setdefault(grant.permission, []).append(grant)
    return found


def roles_with(permissions: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the built-in roles where operations ask for further `permissions`.

    `admin` holds them all, `write` those to read and write, `read` those to read, but for what is
    an admin's alone.
    """
    further = frozenset(permissions) - ROLES["admin"]
    others = {each for each in further if each.partition(":")[0] not in ADMINS_DOMAINS}
    reads = {permission for permission in others if permission.endswith(":read")}
    writes = {permission for permission in others if permission.endswith(":write")}
    return {
        "admin": ROLES["admin"] | further,
        "write": ROLES["write"] | reads | writes,
        "read": ROLES["read"] | reads,
    }


class Authenticator:
    """Checks tokens.

    Args:
        keys: what the fleet's own tokens are signed with.
        roles: custom roles by name, beside `admin`, `write` and `read`.
        permissions: what the operations ask for.
        audiences: those whose tokens are taken. One that names no audience is always taken.
        clients: the keys with which clients sign tokens of their own.
        issuer: whose tokens are taken, too; None for nobody's.
        revoked: whether the token of an id was revoked.
        remembered: verified tokens that are kept in memory; see the constant.

    Attributes:
        roles: the permissions of each role, by name.
        permissions: all that any role holds or anything asks for.
    """

    def __init__(
        self,
        keys: TokenKeys,
        roles: Mapping[str, Iterable[str]] | None = None,
        permissions: Iterable[str] = (),
        audiences: Iterable[str] = (),
        *,
        clients: Sequence[ClientKey] = (),
        issuer: Issuer | None = None,
        revoked: Callable[[str], bool] = lambda token_id: False,
        remembered: int = REMEMBERED,
    ) -> None:
        self._keys = keys
        custom = {name: frozenset(granted) for name, granted in (roles or {}).items()}
        for name, granted in custom.items():
            try:
                narrowed(granted)
            except ValueError as error:
                raise InvalidConfiguration.because(
                    f"The role {name!r} is not valid", error
                ) from error
        self.roles = roles_with(permissions) | custom
        self.permissions = frozenset[str]().union(*self.roles.values())
        for client in clients:
            for role in client.roles:
                if role not in self.roles:
                    raise InvalidConfiguration(
                        f"There is no role {role!r}, which token-keys gives {client.name!r}.",
                        f"There are: {', '.join(sorted(self.roles))}",
                    )
        if issuer is not None:
            self._check_issuer(issuer, clients)
        self._issuer = issuer
        self._audiences = frozenset(audiences)
        self._clients = {client.name: client for client in clients}
        self._revoked = revoked
        self._remembered = remembered
        self._known: dict[str, Caller] = {}

    def _check_issuer(self, issuer: Issuer, clients: Iterable[ClientKey]) -> None:
        for group, roles in issuer.provider.groups.items():
            for role in roles:
                if role not in self.roles:
                    raise InvalidConfiguration(
                        f"There is no role {role!r}, which oidc-groups gives {group!r}.",
                        f"There are: {', '.join(sorted(self.roles))}",
                    )
        if any(client.name == OIDC for client in clients):
            raise InvalidConfiguration(
                f"A key in token-keys is called {OIDC!r}, and so are the issuer's callers.",
                "Give the key another name",
            )

    async def prepare(self, token: str | None) -> None:
        """Fetch what it takes to verify a token, where that is not here; raises as `Issuer`."""
        if self._issuer is not None and token and token not in self._known:
            await self._issuer.prepare(token)

    def authenticate(self, token: str | None) -> Caller:
        """Return who `token` stands for.

        Raises:
            Unauthorized: there is none, or it is malformed, expired, revoked, valid for too long,
                not signed by us, or for others. The token itself is never repeated.
        """
        if not token:
            raise Unauthorized(
                "No token was sent: send Authorization: Bearer <token>.",
                "Send Authorization: Bearer <token> or X-API-Key: <token>; "
                "towline token create makes one",
            )
        caller = self._known.get(token)
        if caller is None or not self._signed(caller):
            caller = self._verify(token)
            if caller.subject.startswith(OF_SETS):
                raise Unauthorized(
                    f"The token's subject begins with {OF_SETS!r}: so are called the sets that "
                    "make jobs, and no token stands for one.",
                    f"{MAKE}, with another subject",
                )
            if len(self._known) >= self._remembered:
                self._known.clear()
            self._known[token] = caller
        if caller.expires <= time.time():
            self._known.pop(token, None)
            raise Unauthorized("The token has expired.", MAKE)
        if caller.token_id and self._revoked(caller.token_id):
            raise Unauthorized("The token was revoked.", MAKE)
        return caller

    def holds(self, caller: Caller) -> bool:
        """Return whether a caller's token still counts: it may have ended since it came.

        It may have expired, been revoked, or been signed with a key that is retired. Where an
        issuer's keys are others now, its token is to be verified anew.
        """
        revoked = bool(caller.token_id) and self._revoked(caller.token_id)
        return caller.expires > time.time() and not revoked and self._signed(caller)

    def _signed(self, caller: Caller) -> bool:
        """Return whether the key that has signed a caller's token counts, as far as is known.

        An issuer's may be withdrawn when it has others.
        """
        if caller.version is not None:
            return self._issuer is not None and caller.version == self._issuer.version
        return not caller.key or caller.key in self._keys.public

    def permissions_of(self, roles: Iterable[str]) -> frozenset[str]:
        """Return what roles hold together; one that is not known holds nothing."""
        return frozenset[str]().union(*(self.roles.get(role, frozenset()) for role in roles))

    def _verify(self, token: str) -> Caller:
        if len(token) > LONGEST_TOKEN:
            raise Unauthorized.because(
                "The token is not valid", f"it is longer than {LONGEST_TOKEN} characters", MAKE
            )
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") == CLIENTS_ALGORITHM:
                return self._of_client(token, header)
            kid = header.get("kid", "")
            key = self._keys.public.get(kid)
            if key is None and self._issuer is not None:
                return self._of_issuer(self._issuer, token, header)
            if key is None:
                raise jwt.InvalidSignatureError("no key of this controller has signed it")
            claims = _claims(token, key, ALGORITHM, "jti")
            caller = self._caller(claims, claims.sub, LONGEST_LIFE)
            return msgspec.structs.replace(caller, key=kid)
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("The token has expired.", MAKE) from error
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError, TypeError) as error:
            raise Unauthorized.because("The token is not valid", error, MAKE) from error

    def _of_client(self, token: str, header: Mapping[str, object]) -> Caller:
        """Return who a token stands for that a client has signed with a key of its own."""
        named = self._clients.get(str(header.get("kid", "")))
        for client in self._clients.values() if named is None else [named]:
            try:
                # Without `iat` one for ten years would be taken in the last of them.
                claims = _claims(token, client.key, CLIENTS_ALGORITHM, "iat")
            except jwt.InvalidSignatureError:
                continue
            caller = self._caller(claims, f"{client.name}/{claims.sub}", client.longest)
            most = self.permissions_of(client.roles)
            permissions = common(caller.permissions, most)
            return msgspec.structs.replace(
                caller, permissions=permissions, narrowed=narrowed(permissions)
            )
        raise jwt.InvalidSignatureError("no key of token-keys has signed it")

    def _of_issuer(self, issuer: Issuer, token: str, header: Mapping[str, object]) -> Caller:
        """Return who a token of the issuer stands for: what its groups may do, and no more."""
        claims, roles = issuer.verify(token, header, leeway=CLOCKS_APART)
        # That one is revoked is known for as long, too.
        _check_life(claims.iat, claims.exp, LONGEST_LIFE)
        subject = f"{OIDC}/{claims.sub}"
        subject.encode()
        permissions = self.permissions_of(roles)
        return Caller(
            *(subject, roles, permissions, claims.exp, narrowed(permissions)),
            token_id=claims.jti,
            version=issuer.version,
        )

    def _caller(self, read: _Claims, subject: str, longest: float) -> Caller:
        subject.encode()  # JSON can name half a character, which nothing could be made of
        named = [read.aud] if isinstance(read.aud, str) else read.aud
        if named is not None and self._audiences.isdisjoint(named):
            raise jwt.InvalidAudienceError(
                "it is for other audiences than those that token-audiences lists"
            )
        _check_life(read.iat, read.exp, longest)
        permissions = (
            self.permissions_of(read.roles)
            if read.permissions is None
            else frozenset(read.permissions)
        )
        return Caller(
            *(subject, read.roles, permissions, read.exp, narrowed(permissions)),
            token_id=read.jti,
        )


def _check_life(issued: float | None, expires: float, longest: float) -> None:
    """Refuse a token that is valid for too long."""
    began = time.time() if issued is None else min(issued, time.time())
    if expires - began > longest + CLOCKS_APART:
        raise jwt.InvalidTokenError(
            f"it is valid for longer than {longest / 86400:g} days, which is too long"
        )


def _claims(token: str, key: Any, algorithm: str, *required: str) -> _Claims:
    claims = jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        # PyJWT refuses a token without `aud` where it is given audiences.
        options={"require": ["sub", "exp", *required], "verify_aud": False},
        leeway=CLOCKS_APART,  # for `iat` and `nbf`: `authenticate` reads `exp` by itself
    )
    return msgspec.convert(claims, _Claims)


class _Claims(msgspec.Struct):
    sub: Text
    exp: float
    iat: float | None = None
    jti: Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[!-~]*\Z")] = ""
    aud: str | list[str] | None = None
    roles: list[str] = []
    permissions: list[str] | None = None
