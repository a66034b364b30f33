"""Tokens: who calls, and what they may do."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jwt
import msgspec

from towline.controller.permissions import NARROWED, Bounds, Grant, parse_grant
from towline.errors import Forbidden, InvalidConfiguration, Unauthorized
from towline.runtime.secret_file import check_secret_file
from towline.runtime.state_directory import keep_private
from towline.wire.fields import Text

ALGORITHM = "HS256"
KEY_BYTES = 32
LONGEST_TOKEN = 8192
REMEMBERED = 4096
"""Verified tokens kept in memory: checking a signature costs more than a look-up."""

CLOCKS_APART = 60.0
"""Seconds that the clock of whoever signed a token may be ahead of ours."""

MAKE = "towline token create makes a new one"

JOB_ADMIN = "job:admin"
"""What it takes to do something about a job that somebody else has made."""

WRITABLE = (
    *("certificate", "cron", "docker", "file", "job", "network", "node", "ntp", "package"),
    *("service", "sysctl", "timezone", "user"),
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


class Caller(msgspec.Struct, frozen=True):
    """Who calls.

    Attributes:
        subject: the token's `sub`.
        permissions: what the caller may do, as it is written; some of it is narrowed.
        expires: seconds since 1970; the token's `exp`.
        narrowed: what is narrowed, by the permission that it is without that.
    """

    subject: str
    roles: list[str]
    permissions: frozenset[str]
    expires: float
    narrowed: Mapping[str, Sequence[Grant]] = {}

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


def load_key(path: Path, *, create: bool, named: bool = False) -> bytes:
    """Return the key that signs tokens.

    Args:
        create: whether the file is made (mode 0600) where it isn't there.
        named: whether somebody named the file, see `check_secret_file`.

    Raises:
        InvalidConfiguration: the file can't be read or made, is open to others, or is too short
            for HS256.
    """
    name = "The key that signs tokens"
    try:
        if create and not path.exists():
            keep_private(path, secrets.token_hex(KEY_BYTES) + "\n")
        check_secret_file(path, name, named=named)
        key = path.read_bytes().strip()
    except OSError as error:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, can't be read.", str(error)) from error
    if len(key) < KEY_BYTES:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, is too short.",
            f"HS256 takes {KEY_BYTES} bytes at least (RFC 7518, section 3.2)",
        )
    return key


def create_token(
    key: bytes,
    *,
    subject: str,
    roles: list[str],
    permissions: list[str] | None = None,
    lifetime: float,
) -> str:
    """Return a signed token (JWT, HS256).

    Args:
        permissions: replaces what the roles give, where given.
        lifetime: seconds.
    """
    now = int(time.time())
    claims: dict[str, object] = {
        "sub": subject,
        "roles": roles,
        "iat": now,
        "exp": now + int(lifetime),
    }
    if permissions is not None:
        claims["permissions"] = permissions
    return jwt.encode(claims, key, algorithm=ALGORITHM)


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
        key: what they are signed with.
        roles: custom roles by name, beside `admin`, `write` and `read`.
        permissions: what the operations ask for.
        audiences: those whose tokens are taken. One that names no audience is always taken.
        remembered: verified tokens that are kept in memory; see the constant.
    """

    def __init__(
        self,
        key: bytes,
        roles: dict[str, list[str]] | None = None,
        permissions: Iterable[str] = (),
        audiences: Iterable[str] = (),
        *,
        remembered: int = REMEMBERED,
    ) -> None:
        self._key = key
        custom = {name: frozenset(granted) for name, granted in (roles or {}).items()}
        for name, granted in custom.items():
            try:
                narrowed(granted)
            except ValueError as error:
                raise InvalidConfiguration.because(
                    f"The role {name!r} is not valid", error
                ) from error
        self._roles = roles_with(permissions) | custom
        self._audiences = frozenset(audiences)
        self._remembered = remembered
        self._known: dict[str, Caller] = {}

    def authenticate(self, token: str | None) -> Caller:
        """Return who `token` stands for.

        Raises:
            Unauthorized: there is none, or it is malformed, expired, not signed by us, or for
                others. The token itself is never repeated.
        """
        if not token:
            raise Unauthorized(
                "No token was sent: send Authorization: Bearer <token>.",
                "Send Authorization: Bearer <token> or X-API-Key: <token>; "
                "towline token create makes one",
            )
        caller = self._known.get(token)
        if caller is None:
            caller = self._verify(token)
            if len(self._known) >= self._remembered:
                self._known.clear()
            self._known[token] = caller
        if caller.expires <= time.time():
            self._known.pop(token, None)
            raise Unauthorized("The token has expired.", MAKE)
        return caller

    def _verify(self, token: str) -> Caller:
        if len(token) > LONGEST_TOKEN:
            raise Unauthorized.because(
                "The token is not valid", f"it is longer than {LONGEST_TOKEN} characters", MAKE
            )
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                # PyJWT refuses a token without `aud` where it is given audiences.
                options={"require": ["sub", "exp"], "verify_aud": False},
                leeway=CLOCKS_APART,  # for `iat` and `nbf`: `authenticate` reads `exp` by itself
            )
            return self._caller(claims)
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("The token has expired.", MAKE) from error
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError) as error:
            raise Unauthorized.because("The token is not valid", error, MAKE) from error

    def _caller(self, claims: dict[str, object]) -> Caller:
        read = msgspec.convert(claims, _Claims)
        named = [read.aud] if isinstance(read.aud, str) else read.aud
        if named is not None and self._audiences.isdisjoint(named):
            raise jwt.InvalidAudienceError(
                "it is for other audiences than those that token-audiences lists"
            )
        if read.permissions is not None:
            permissions = frozenset(read.permissions)
        else:
            permissions = frozenset[str]().union(
                *(self._roles.get(role, frozenset()) for role in read.roles)
            )
        return Caller(read.sub, read.roles, permissions, read.exp, narrowed(permissions))


class _Claims(msgspec.Struct):
    sub: Text
    exp: float
    aud: str | list[str] | None = None
    roles: list[str] = []
    permissions: list[str] | None = None
