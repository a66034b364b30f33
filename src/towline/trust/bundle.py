"""What a further controller or broker needs of a fleet, as one file under a passphrase.

The file is safe to carry: argon2id makes the key that it is encrypted with out of the passphrase
(XChaCha20-Poly1305), so it is as good as that is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from nacl import pwhash
from nacl.exceptions import CryptoError
from nacl.secret import Aead
from nacl.utils import random

from towline.errors import InvalidConfiguration
from towline.runtime.keys import CREDENTIALS_KEY
from towline.runtime.state_directory import TOKEN_KEY, keep_private, make_private, write_private
from towline.trust.keys import FILES, JOBS_KEY, Trust, needed_by, place

PARTS = ("controller", "broker")
"""What a bundle can be for."""
SHORTEST = 12
"""Characters of a passphrase at least: whoever has the file can try as many as it likes."""
LARGEST = 1024 * 1024
"""Bytes of a bundle at most."""
BESIDE = (TOKEN_KEY, CREDENTIALS_KEY)
"""What a controller needs beside the trust directory."""


class Hardness(msgspec.Struct, frozen=True):
    """What it costs to try a passphrase, as libsodium counts it.

    Attributes:
        operations: passes over the memory.
        memory: bytes.
    """

    operations: int = pwhash.argon2id.OPSLIMIT_MODERATE
    memory: int = pwhash.argon2id.MEMLIMIT_MODERATE


HARDNESS = Hardness()
"""A second or so, and 256 MiB."""


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The file.

    Attributes:
        towline_trust: its version.
        parts: what it is for.
        salt: of the passphrase.
        sealed: the text of each file by its name, encrypted.
    """

    towline_trust: int
    parts: list[str]
    salt: bytes
    sealed: bytes


def names(parts: Iterable[str]) -> list[str]:
    """Return which files of the trust directory some parts need."""
    return [name for name in FILES if any(f"{part}s" in needed_by(name) for part in parts)]


def seal(
    trust: Trust,
    beside: dict[str, Path],
    parts: list[str],
    passphrase: str,
    *,
    hardness: Hardness = HARDNESS,
) -> str:
    """Return the bundle for some parts.

    Args:
        beside: where the files of `BESIDE` are, and `JOBS_KEY` where it is another than that of the
            trust directory.

    Raises:
        InvalidConfiguration: a file is not here or can't be read, or the passphrase is too short.
    """
    if len(passphrase) < SHORTEST:
        raise InvalidConfiguration(
            "The passphrase is too short.",
            f"Whoever has the file can try as many as it likes: take {SHORTEST} characters at "
            "least, several words for example",
        )
    files = {name: trust.read(name) for name in names(parts)}
    if "controller" in parts:
        for name in (*BESIDE, JOBS_KEY):
            if name in beside:
                try:
                    files[name] = beside[name].read_text().strip()
                except (OSError, UnicodeDecodeError) as error:
                    raise InvalidConfiguration(
                        f"{str(beside[name])!r} can't be read.", str(error)
                    ) from error
    salt = random(pwhash.argon2id.SALTBYTES)
    box = Aead(_key(passphrase, salt, hardness))
    sealed = bytes(box.encrypt(msgspec.json.encode(files), _about(parts)))
    return msgspec.json.encode(_Sealed(1, parts, salt, sealed)).decode() + "\n"


def unseal(text: bytes, passphrase: str, *, hardness: Hardness = HARDNESS) -> dict[str, str]:
    """Return the files of a bundle, by name.

    Raises:
        InvalidConfiguration: it is none, has what it should not have, or the passphrase is another.
    """
    try:
        found = msgspec.json.decode(text, type=_Sealed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(
            "The file is none that towline trust export has made.", str(error)
        ) from error
    if found.towline_trust != 1 or not found.parts or not set(found.parts) <= set(PARTS):
        raise InvalidConfiguration(
            "The file is for another version of Towline.", "Export it with this version"
        )
    try:
        box = Aead(_key(passphrase, found.salt, hardness))
        files = msgspec.json.decode(
            box.decrypt(found.sealed, _about(found.parts)), type=dict[str, str]
        )
    except (CryptoError, msgspec.DecodeError, ValueError) as error:
        raise InvalidConfiguration(
            "The file can't be decrypted.", "The passphrase is another, or the file was changed"
        ) from error
    expected = {*names(found.parts), *(BESIDE if "controller" in found.parts else ())}
    if files.keys() != expected:
        raise InvalidConfiguration(
            "The file has not what this version needs.",
            f"Export it with this version: {', '.join(sorted(files.keys() ^ expected))}",
        )
    return files


def install(state: Path, files: dict[str, str]) -> Trust:
    """Write the files of a bundle to a state directory: all of them, or no trust directory.

    Raises:
        InvalidConfiguration: there is a trust directory, or another key where one is to be.
        StateInUse: another process is making one.
        OSError: they can't be written.
    """
    beside = {name: text for name, text in files.items() if name in BESIDE}
    for name, text in beside.items():
        path = state / name
        # A link that leads nowhere would stay in its place, too.
        if os.path.lexists(path) and not (
            path.exists() and path.read_bytes().split() == text.encode().split()
        ):
            raise InvalidConfiguration(
                f"There is another key already: {str(path)!r}.",
                "Name another state directory with --state, or move that file away if nothing "
                "needs it any more",
            )

    def fill(draft: Path) -> None:
        for name, text in files.items():
            if name not in beside:
                make_private((draft / name).parent)
                write_private(draft / name, text + "\n")
        for name, text in beside.items():
            keep_private(state / name, text + "\n")

    return place(state, fill)


def _key(passphrase: str, salt: bytes, hardness: Hardness) -> bytes:
    return pwhash.argon2id.kdf(
        *(Aead.KEY_SIZE, passphrase.encode(), salt),
        opslimit=hardness.operations,
        memlimit=hardness.memory,
    )


def _about(parts: list[str]) -> bytes:
    return f"towline trust 1 {' '.join(parts)}".encode()
