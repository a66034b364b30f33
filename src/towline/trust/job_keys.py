"""The files with the keys that controllers sign with, and with those that agents believe.

A controller's file has the secret half of each key in a line, 64 hex digits; the first one signs.
Behind these it has the public halves of keys that were retired: they verify what stands in the
audit, and being in the same file they are copied with it.
An agent's file has public halves, each with another word before it: so the one is not taken for the
other.
"""

from __future__ import annotations

import stat
from pathlib import Path

from towline.errors import InvalidConfiguration
from towline.runtime import key_files
from towline.runtime.state_directory import write_private
from towline.trust.signing import Signer, Verifier

JOBS_KEY, JOBS_PUBLIC = "jobs.key", "jobs.pub"
"""Of a state directory: what a controller signs with, and what agents need of that."""
WORD = "towline-jobs"
"""What each line of an agent's file begins with."""


def load_signer(path: Path, *, create: bool, named: bool = False) -> Signer:
    """Return what signs with the keys in a file.

    Args:
        create: whether the file is made (mode 0600) with a new key where it isn't there.
        named: whether somebody named the file, see `check_secret_file`.

    Raises:
        InvalidConfiguration: the file can't be read or made, holds something else, or is open to
            others.
    """
    name = "The key that jobs are signed with"
    found = key_files.load(path, name, create=create, named=named)
    return Signer(found.all, found.retired)


def retired(text: str) -> str:
    """Return what stays in a controller's file of a key that is retired.

    Raises:
        ValueError: it is no key.
    """
    return Signer([key_files.key_of(text)]).public[0].hex()


def publish(signer: Signer, directory: Path) -> None:
    """Write what agents need to a state directory, unless it stands there.

    Raises:
        InvalidConfiguration: it can't be written.
    """
    path = directory / JOBS_PUBLIC
    text = "".join(f"{WORD} {key.hex()}\n" for key in signer.public)
    try:
        if not path.exists() or path.read_bytes() != text.encode():
            write_private(path, text, as_before=True)
    except OSError as error:
        raise InvalidConfiguration(
            f"The keys for agents, {str(path)!r}, can't be written.", str(error)
        ) from error


def load_verifier(path: Path, *, named: bool) -> Verifier:
    """Return what verifies by the public keys in a file.

    Args:
        named: whether somebody named the file.

    Raises:
        InvalidConfiguration: it is not there, can't be read, holds something else, or any user may
            write it.
    """
    name = "The file with the keys that jobs are verified by"
    try:
        lines = _lines(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError as error:
        where = "there" if named else f"here as {str(path)!r}, or name it with --job-keys FILE"
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, is not there: this agent could believe no controller.",
            f"Copy {JOBS_PUBLIC} of a controller's state directory {where}",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, can't be read.", str(error)) from error
    if mode & stat.S_IWOTH:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, may be written by any user of this machine.",
            f"See that no key of somebody else's is in it, and close it: its mode is {mode:04o}",
        )
    if any(_key(line) for line in lines):
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, has a secret in it: it is a controller's {JOBS_KEY}.",
            f"Remove it from this machine, and copy {JOBS_PUBLIC}, which stands beside it, here",
        )
    keys = [_key(key) if word == WORD else None for word, _, key in map(_parted, lines)]
    if not keys or None in keys:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, has something else in it.",
            f"Each of its lines is {WORD} and a key: copy {JOBS_PUBLIC} of a controller's state "
            "directory here",
        )
    return Verifier([key for key in keys if key])


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(" ")


def _key(text: str) -> bytes | None:
    try:
        return key_files.key_of(text)
    except ValueError:
        return None
