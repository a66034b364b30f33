"""The keys of tokens: those of the fleet, which sign, and those that clients have of their own."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from towline.errors import InvalidConfiguration, InvalidRequest
from towline.runtime import key_files
from towline.runtime.key_files import KEY_BYTES
from towline.runtime.secret_file import check_secret_file
from towline.wire.names import OF_SETS

ALGORITHM = "EdDSA"
CLIENTS_ALGORITHM = "HS256"
LONGEST_LIFE = 365 * 86400.0
"""Seconds that a token is valid at most, whoever has signed it."""
LONGEST_TOKEN = 8192
"""Characters of a token at most."""


class TokenKeys:
    """The keys with which the fleet signs its own tokens: ed25519, each known by its id.

    Args:
        seeds: 32 bytes each. The first signs; those behind it are only verified by, so that tokens
            outlive a change of the key.

    Attributes:
        public: the public halves by their ids.
    """

    def __init__(self, seeds: Sequence[bytes]) -> None:
        private = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
        self._signs = private[0]
        self._kid = _thumbprint(private[0].public_key())
        self.public = {_thumbprint(key.public_key()): key.public_key() for key in private}

    def replace(self, other: TokenKeys) -> None:
        """Use the keys of another one from now on."""
        self._signs, self._kid, self.public = other._signs, other._kid, other.public

    def create(
        self,
        *,
        subject: str,
        roles: Sequence[str],
        permissions: Sequence[str] | None = None,
        lifetime: float,
        id: str | None = None,
    ) -> str:
        """Return a signed token (JWT, RFC 8037).

        Args:
            permissions: replaces what the roles give, where given.
            lifetime: seconds.
            id: its `jti`; None for a new one.

        Raises:
            InvalidRequest: no controller would take it: it would be valid for too long or for no
                time, be too long itself, or have the subject of a set.
        """
        if subject.startswith(OF_SETS):
            raise InvalidRequest(
                f"A token's subject doesn't begin with {OF_SETS!r}, and {subject[:80]!r} does: so "
                "are called the sets that make jobs.",
                "Name whoever uses the token",
            )
        if lifetime > LONGEST_LIFE:
            raise InvalidRequest(
                f"A token is valid for {LONGEST_LIFE / 86400:.0f} days at most.",
                "Ask for a shorter time",
            )
        if lifetime < 1:
            raise InvalidRequest("A token is valid for a second at least.", "Ask for more time")
        now = int(time.time())
        claims: dict[str, object] = {
            "jti": id or new_token_id(),
            "sub": subject,
            "roles": list(roles),
            "iat": now,
            "exp": now + int(lifetime),
        }
        if permissions is not None:
            claims["permissions"] = list(permissions)
        token = self.sign(claims)
        if len(token) > LONGEST_TOKEN:
            raise InvalidRequest(
                f"The token would have {len(token)} characters, and {LONGEST_TOKEN} is the most "
                "that controllers take.",
                "Name fewer permissions, or a role that holds them: roles are configured",
            )
        return token

    def sign(self, claims: dict[str, object]) -> str:
        """Return a token that says just this (JWS compact serialization, RFC 7515, section 7.1)."""
        # By a library it would take a command five times as long: each makes its own on the
        # machine of towline up.
        head = {"alg": ALGORITHM, "kid": self._kid, "typ": "JWT"}
        parts = (_base64url(json.dumps(each).encode()) for each in (head, claims))
        signed = ".".join(parts)
        return f"{signed}.{_base64url(self._signs.sign(signed.encode()))}"


class ClientKey(msgspec.Struct, frozen=True):
    """A key with which a client signs tokens of its own (HS256).

    Attributes:
        name: what stands before the subjects of its tokens.
        roles: what its tokens may do at most.
        longest: seconds that they are valid at most.
    """

    name: str
    key: bytes
    roles: list[str]
    longest: float


def new_token_id() -> str:
    """Return a new token's id."""
    return secrets.token_hex(16)


def load_keys(path: Path, *, create: bool, named: bool = False) -> TokenKeys:
    """Return the keys that sign the fleet's tokens, one a line of a file.

    Args:
        create: whether the file is made (mode 0600, synced) where it isn't there.
        named: whether somebody named the file, see `check_secret_file`.

    Raises:
        InvalidConfiguration: the file can't be read or made, is open to others, or holds no keys.
    """
    name = "The key that signs tokens"
    mend = "; a key with which others sign tokens is listed in token-keys"
    return TokenKeys(key_files.load(path, name, create=create, named=named, mend=mend).all)


def load_client_key(path: Path) -> bytes:
    """Return the key with which a client signs its tokens.

    Raises:
        InvalidConfiguration: the file can't be read, or the key is too short, or one of a pair.
    """
    import jwt  # slow to import, and only controllers need it here

    name = "The key of a client's tokens"
    try:
        check_secret_file(path, name, named=True)
        key = path.read_bytes().strip()
    except OSError as error:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, can't be read.", str(error)) from error
    if len(key) < KEY_BYTES:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, is too short.",
            f"HS256 takes {KEY_BYTES} bytes at least (RFC 7518, section 3.2)",
        )
    try:
        jwt.get_algorithm_by_name(CLIENTS_ALGORITHM).prepare_key(key)
    except jwt.InvalidKeyError as error:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, is no secret.",
            f"{error} A client that signs with a key pair can't be listed in token-keys",
        ) from error
    return key


def _thumbprint(key: Ed25519PublicKey) -> str:
    """Return the id of a key: its JWK's thumbprint (RFC 8037, appendix A.3)."""
    x = _base64url(key.public_bytes_raw())
    return _base64url(
        hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    )


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
