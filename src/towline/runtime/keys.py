"""Encryption: what controllers keep in the broker, and what only one node may read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.secret import Aead

from towline.errors import TowlineError
from towline.runtime import key_files

CREDENTIALS_KEY = "credentials.key"
NODE_KEY = "node.key"
KEY_BYTES = key_files.KEY_BYTES


class WrongKey(TowlineError):
    """What was encrypted can't be read with the key that is there."""


class Vault:
    """Encrypts what is kept in the broker with keys that are not there (XChaCha20-Poly1305).

    Args:
        keys: 32 bytes each. The first encrypts; with those behind it is only decrypted.
        path: where they come from, for errors.
        coming: those of `keys` that are to be the first later, as others' may be already.

    Attributes:
        fingerprint: of the first; it differs for keys that differ, and says nothing else of them.
    """

    def __init__(self, keys: Sequence[bytes], path: Path, *, coming: Sequence[bytes] = ()) -> None:
        self._boxes = {_fingerprint(key): Aead(key) for key in keys}
        self._coming = {_fingerprint(key) for key in coming}
        self.fingerprint = _fingerprint(keys[0])
        self.path = path

    def replace(self, other: Vault) -> None:
        """Use the keys of another one from now on."""
        self._boxes, self._coming = other._boxes, other._coming
        self.fingerprint = other.fingerprint

    @property
    def fingerprints(self) -> list[str]:
        """Those of all keys, the first first."""
        return [*self._boxes]

    @property
    def rotating(self) -> bool:
        """Whether there are keys that are about to go."""
        return any(map(self.going, self._boxes))

    def going(self, fingerprint: str) -> bool:
        """Return whether what is locked with a key is to be locked with the first one instead.

        Not so with a key that is yet to be the first: where another controller has read of that
        step already, it locks with that key, and nothing may be taken back to the one before.
        """
        return fingerprint != self.fingerprint and fingerprint not in self._coming

    def knows(self, fingerprint: str) -> bool:
        """Return whether a key is one of these."""
        return fingerprint in self._boxes

    def lock(self, data: bytes, place: str) -> str:
        """Return `data` encrypted, as base64.

        Args:
            place: where it is kept, and what stands beside it in the clear: it opens only there.
        """
        box = self._boxes[self.fingerprint]
        return base64.b64encode(box.encrypt(data, place.encode())).decode()

    def unlock(self, text: str, place: str, fingerprint: str) -> bytes:
        """Return what `lock` was given, with the key of this fingerprint; raises `WrongKey`."""
        try:
            return self._boxes[fingerprint].decrypt(base64.b64decode(text), place.encode())
        except (CryptoError, KeyError, ValueError) as error:
            raise WrongKey(
                "A credential can't be decrypted.",
                f"it was changed where it is kept, or not locked with the key {str(self.path)!r}",
            ) from error


def open_vault(path: Path, *, create: bool, named: bool = False) -> Vault:
    """Return the vault of the keys in a file, one a line.

    Args:
        create: whether the file is made (mode 0600) where it isn't there.
        named: whether somebody named the file, see `check_secret_file`.

    Raises:
        InvalidConfiguration: the file can't be read or made, holds no key, or is open to others.
    """
    name = "The key that credentials are kept with"
    found = key_files.load(path, name, create=create, named=named)
    return Vault(found.all, path, coming=found.coming)


def _fingerprint(key: bytes) -> str:
    return hashlib.sha256(b"towline credentials key " + key).hexdigest()[:16]


class NodeKey:
    """A node's X25519 key pair: what is sealed to its public half only this node can read."""

    def __init__(self, private: bytes) -> None:
        self._private = PrivateKey(private)

    @property
    def private(self) -> PrivateKey:
        """The private half."""
        return self._private

    @property
    def public(self) -> str:
        """The public half, as base64."""
        return base64.b64encode(bytes(self._private.public_key)).decode()

    def unseal(self, text: str) -> bytes:
        """Return what `seal` was given; raises `WrongKey`."""
        try:
            return SealedBox(self._private).decrypt(base64.b64decode(text))
        except (CryptoError, ValueError) as error:
            raise WrongKey("What was sealed is for another key than this node's.") from error


def node_key(directory: Path, *, create: bool = True) -> NodeKey:
    """Return the node's key pair, made on its first start; the private half stays in `directory`.

    Args:
        create: whether it is made where it isn't there.

    Raises:
        InvalidConfiguration: the file can't be read or made, holds no key, or is open to others.
    """
    path, name = directory / NODE_KEY, "The key of this node"
    (key,) = key_files.load(path, name, create=create, named=False, most=1).all
    return NodeKey(key)


def seal(data: bytes, public: str) -> str:
    """Return `data` encrypted so that only the node with this public key can read it, as base64.

    Raises:
        ValueError: it is no public key.
    """
    try:
        key = PublicKey(base64.b64decode(public, validate=True))
    except (CryptoError, TypeError, ValueError) as error:
        raise ValueError("not an X25519 public key") from error
    return base64.b64encode(SealedBox(key).encrypt(data)).decode()
