"""NATS's own JWTs, version 2: whom a server trusts, which accounts it has, who may log in.

The format is described by https://github.com/nats-io/jwt. The one library for it on PyPI, nats-jwt,
had its only release in 2024 and calls itself not well tested; what is needed here of the format are
some structs, and a signature, which is the library nkeys' part.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import nkeys  # type: ignore[import-untyped]
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from towline.errors import TowlineError

OPERATOR = nkeys.PREFIX_BYTE_OPERATOR
ACCOUNT = nkeys.PREFIX_BYTE_ACCOUNT
USER = nkeys.PREFIX_BYTE_USER

UNLIMITED = -1
_PUBLIC_LENGTH = 56
VERSION = 2
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_BEGIN_JWT, _END_JWT = "-----BEGIN NATS USER JWT-----", "------END NATS USER JWT------"
_BEGIN_SEED, _END_SEED = "-----BEGIN USER NKEY SEED-----", "------END USER NKEY SEED------"


class NotTrusted(TowlineError):
    """A JWT that can't be read, has ended, or that nobody who is trusted has signed."""


class Permission(msgspec.Struct, frozen=True, omit_defaults=True):
    """The subjects that are allowed. Nothing is ever denied by name: such rules were by-passed."""

    allow: tuple[str, ...] = ()


class Permissions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What users who log in with a key's signature may do; without any they may do all.

    Attributes:
        pub, sub: where they may publish and subscribe. `{{name()}}` stands for the user's name.
        subs, data, payload: subscriptions, bytes in all, bytes of a message, at most.
    """

    pub: Permission = Permission()
    sub: Permission = Permission()
    subs: int = 0
    data: int = 0
    payload: int = 0


class Scope(msgspec.Struct, frozen=True):
    """A key that signs users of an account, all of whom have the permissions of the template.

    Attributes:
        key: the public key.
        role: what these users are.
    """

    key: str
    role: str
    template: Permissions
    kind: str = "user_scope"


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an account may use. What is left at 0 it may not use at all."""

    subs: int = 0
    data: int = 0
    payload: int = 0
    conn: int = 0
    disallow_bearer: bool = False
    mem_storage: int = 0
    disk_storage: int = 0
    streams: int = 0
    consumer: int = 0


class Operator(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom a server trusts to say which accounts there are."""

    system_account: str
    signing_keys: tuple[str, ...] = ()
    type: str = ""
    version: int = 0


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account: users of different ones don't see each other.

    Attributes:
        revocations: by a user's public key, the moment before which a login of its must have been
            signed to count no longer, in seconds since 1970.
    """

    limits: Limits
    signing_keys: tuple[Scope, ...] = ()
    revocations: dict[str, int] = {}
    type: str = ""
    version: int = 0


class User(msgspec.Struct, frozen=True, omit_defaults=True):
    """A login.

    Attributes:
        issuer_account: the account, where a signing key of its has signed and not itself.
    """

    pub: Permission = Permission()
    sub: Permission = Permission()
    subs: int = 0
    data: int = 0
    payload: int = 0
    issuer_account: str = ""
    type: str = ""
    version: int = 0


Body = TypeVar("Body", Operator, Account, User)
_TYPES: dict[type[Any], str] = {Operator: "operator", Account: "account", User: "user"}


class Claims(msgspec.Struct, frozen=True):
    """What a JWT says.

    Attributes:
        sub: the public key that it is about.
        iss: the public key that signed it.
        iat, exp: when it was signed and when it ends, in seconds since 1970; 0 for never.
    """

    sub: str
    iss: str
    name: str
    iat: int
    jti: str
    nats: msgspec.Raw
    exp: int = 0


def make_seed(kind: int) -> str:
    """Return a new key's seed: OPERATOR, ACCOUNT or USER."""
    return str(nkeys.encode_seed(secrets.token_bytes(32), kind).decode())


def derive_seed(seed: str, name: str, kind: int) -> str:
    """Return the seed of a further key, which whoever has `seed` can find again by its name.

    Args:
        kind: as for `make_seed`.

    Raises:
        ValueError: `seed` is none.
    """
    _pair(seed)
    derived = hashlib.blake2b(name.encode(), key=seed.encode(), digest_size=32, person=b"towline")
    return str(nkeys.encode_seed(derived.digest(), kind).decode())


def public_key(seed: str) -> str:
    """Return the public key of a seed.

    Raises:
        ValueError: it is none.
    """
    return str(_pair(seed).public_key.decode())


def is_public(text: str) -> bool:
    """Return whether a text is the public half of a key."""
    try:
        raw = base64.b32decode(text, casefold=False) if len(text) == _PUBLIC_LENGTH else b""
    except ValueError:
        return False
    return bool(raw) and nkeys.crc16(raw[:-2]).to_bytes(2, "little") == raw[-2:]


def sign(
    body: Operator | Account | User,
    *,
    by: str,
    about: str,
    name: str,
    iat: int | None = None,
    exp: int = 0,
) -> str:
    """Return a JWT.

    Args:
        by: the seed of whoever signs.
        about: the public key that it is about.
        name: for people, and for the `{{name()}}` of templates.
        iat: when it was signed, in seconds since 1970; None for now.
        exp: when it ends, likewise; 0 for never.
    """
    pair = _pair(by)
    claims: dict[str, Any] = {
        "jti": secrets.token_hex(16),
        "iat": int(time.time()) if iat is None else iat,
        "iss": pair.public_key.decode(),
        "sub": about,
        "name": name,
        "nats": msgspec.structs.replace(body, type=_TYPES[type(body)], version=VERSION),
    }
    if exp:
        claims["exp"] = exp
    signed = f"{_encode(_HEADER)}.{_encode(claims)}"
    return f"{signed}.{_text(pair.sign(signed.encode()))}"


def sign_bytes(seed: str, data: bytes) -> bytes:
    """Return a signature with the key of a seed; raises as `public_key`."""
    return bytes(_pair(seed).sign(data))


def has_signed(public: str, data: bytes, signature: bytes) -> bool:
    """Return whether the owner of a public key has signed this."""
    try:
        _verifier(public).verify(data, signature)
    except (CryptoError, TypeError, ValueError):
        return False
    return True


def read(
    token: str, kind: type[Body], issuers: set[str] | None = None, *, ended: bool = False
) -> tuple[Claims, Body]:
    """Return what a JWT says, whoever it is about.

    Args:
        kind: what it has to be about.
        issuers: the public keys of those who are trusted to sign it; None for anybody, since
            whoever reads it trusts the place where it was.
        ended: whether one that has ended is read as well.

    Raises:
        NotTrusted: it can't be read, is of another kind, has ended, or none of those signed it.
    """
    signed, _, signature = token.strip().rpartition(".")
    try:
        header, _, payload = signed.partition(".")
        if msgspec.json.decode(_bytes(header)) != _HEADER:
            raise NotTrusted("The JWT is not signed with an nkey.")
        claims = msgspec.json.decode(_bytes(payload), type=Claims)
        if issuers is not None and claims.iss not in issuers:
            raise NotTrusted(f"The JWT is signed by {claims.iss}, who is not trusted.")
        _verifier(claims.iss).verify(signed.encode(), _bytes(signature))
        if msgspec.json.decode(claims.nats)["type"] != _TYPES[kind]:
            raise NotTrusted(f"The JWT is about no {_TYPES[kind]}.")
        body = msgspec.json.decode(claims.nats, type=kind)
    except (CryptoError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise NotTrusted("The JWT can't be read, or was changed.", str(error)) from error
    if claims.exp and claims.exp <= time.time() and not ended:
        raise NotTrusted("The JWT has ended.")
    return claims, body


def credentials(token: str, seed: str) -> str:
    """Return the text of a `.creds` file: a user's JWT, and the seed that proves it is theirs."""
    return "\n".join((_BEGIN_JWT, token, _END_JWT, "", _BEGIN_SEED, seed, _END_SEED, ""))


def token_in(text: str) -> str:
    """Return the JWT in the text of a `.creds` file.

    Raises:
        NotTrusted: there is none.
    """
    return _between(text, _BEGIN_JWT, _END_JWT, "JWT")


def seed_in(text: str) -> str:
    """Return the seed in the text of a `.creds` file.

    Raises:
        NotTrusted: there is none.
    """
    return _between(text, _BEGIN_SEED, _END_SEED, "seed")


def _between(text: str, begin: str, end: str, what: str) -> str:
    _, begun, rest = text.partition(begin)
    found, ended, _ = rest.partition(end)
    if not begun or not ended:
        raise NotTrusted(f"There is no {what} of a user.")
    return found.strip()


def name_in(path: Path) -> str | None:
    """Return whose login a `.creds` file holds; None for a login of another kind, and for none.

    One that has ended has the name, too: the file may be about to get another.
    """
    try:
        return read(token_in(path.read_text()), User, ended=True)[0].name
    except (NotTrusted, OSError, UnicodeDecodeError):
        return None


def _pair(seed: str) -> Any:
    try:
        kind, raw = nkeys.decode_seed(bytearray(seed.encode()))
        # The library doesn't look at the checksum.
        if nkeys.encode_seed(bytes(raw), kind) != seed.encode():
            raise ValueError("its checksum is of something else")
        return nkeys.from_seed(bytearray(seed.encode()))
    except (nkeys.NkeysError, CryptoError, LookupError, ValueError) as error:
        raise ValueError(f"not the seed of an nkey: {error}") from error


def _verifier(public: str) -> VerifyKey:
    raw = base64.b32decode(public + "=" * (-len(public) % 8))
    return VerifyKey(raw[1:-2])


def _encode(value: object) -> str:
    return _text(msgspec.json.encode(value))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
