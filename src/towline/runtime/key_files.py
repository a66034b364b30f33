"""Files with keys, one a line, that are replaced while parts run.

The first key signs or encrypts; those behind it are only verified by, or decrypt. So a key is
replaced in three steps, between which all controllers get the same file: the new one is known, it
is the first, the old one is gone.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from towline.errors import InvalidConfiguration
from towline.runtime.secret_file import check_secret_file
from towline.runtime.state_directory import write_private

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds between looks whether a file has changed."""
KEY_BYTES = 32


class KeyFile(msgspec.Struct, frozen=True):
    """A file, and what uses the keys in it.

    Attributes:
        read_again: called when it has changed; raises `InvalidConfiguration` where it can't be
            used, and leaves the keys that there are.
    """

    path: Path
    read_again: Callable[[], None]


class KeyFiles:
    """Has files read again when they change.

    Args:
        changed: called after one was.
        look_every: seconds; see the constant.
    """

    def __init__(
        self,
        files: Sequence[KeyFile],
        changed: Callable[[], None] = lambda: None,
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._files = files
        self._changed = changed
        self._look_every = look_every
        self._seen = [_look(each.path) for each in files]

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(self._look_every)
            for number, each in enumerate(self._files):
                found = _look(each.path)
                # One that is not there is being replaced, or was lost: what is known of it counts.
                if found is None or found == self._seen[number]:
                    continue
                self._seen[number] = found
                try:
                    each.read_again()
                except InvalidConfiguration as error:
                    log.error("keys not read again", reason=f"{error.error} {error.details}")
                else:
                    log.info("keys read again", file=str(each.path))
                    self._changed()


def _look(path: Path) -> tuple[bytes, int, int] | None:
    """Return content, mode and owner of a file: one that was refused as open may be closed."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            return file.read(), status.st_mode, status.st_uid
    except OSError:
        return None


def rotate(path: Path, name: str) -> bool:
    """Take the next step: put a new key behind the others, or the newest before them.

    Args:
        name: what the file is, as an error begins.

    Returns:
        Whether the newest key is the first now.

    Raises:
        InvalidConfiguration: the file can't be read or written, or more than one key is older.
    """
    keys, others = _read(path, name)
    if len(keys) > 2:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, holds {len(keys)} keys.",
            "Retire those that are older than the first with --retire, or remove their lines",
        )
    first = len(keys) == 2
    kept = keys[::-1] if first else [*keys, secrets.token_hex(KEY_BYTES)]
    _write(path, name, [*kept, *others])
    return first


def retire(path: Path, name: str, left: Callable[[str], str] | None = None) -> int:
    """Remove all keys but the first; return how many there were; raises as `rotate`.

    Args:
        left: returns the line that stays of a key; None for none.
    """
    keys, others = _read(path, name)
    if left is not None:
        others = [*map(left, keys[1:]), *others]
    _write(path, name, [*keys[:1], *others])
    return len(keys) - 1


def read_keys(path: Path, name: str) -> list[str]:
    """Return the keys of a file; raises as `rotate`."""
    return _read(path, name)[0]


def _read(path: Path, name: str) -> tuple[list[str], list[str]]:
    """Return the keys, and the lines that are none: those have a word before what is in them."""
    try:
        check_secret_file(path, name, named=True)
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, can't be read.", str(error)) from error
    keys = [line for line in lines if " " not in line]
    if not keys:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, is empty.", "Put back what was in it")
    return keys, [line for line in lines if " " in line]


def _write(path: Path, name: str, lines: list[str]) -> None:
    try:
        write_private(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, can't be written.", str(error)
        ) from error
