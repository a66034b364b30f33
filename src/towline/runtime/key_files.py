"""Files with keys, one a line, that are replaced while parts run.

The first key signs or encrypts; those behind it are only verified by, or decrypt. So a key is
replaced in three steps, between which all controllers get the same file: the new one is known, it
is the first, the old one is gone. The file says which step is next: a key that is to become the
first has a word before it, which is copied with it to the other controllers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from towline.errors import InvalidConfiguration
from towline.runtime.secret_file import check_secret_file
from towline.runtime.state_directory import keep_private, write_private

KEY_BYTES = 32
MOST_KEYS = 16
NEXT, RETIRED = "next", "retired"
"""What a line begins with that has the key that is to be the first, and one that has what is left
of a key that counts no longer."""


class KeyLines(msgspec.Struct, frozen=True):
    """What is in a file.

    Attributes:
        keys: those that count; the first one signs, or encrypts.
        retired: what is left of those that don't count any more.
        coming: those that are known only, until the next step makes them the first.
    """

    keys: tuple[str, ...]
    retired: tuple[str, ...] = ()
    coming: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All keys that count, or will; the first one signs."""
        return (*self.keys, *self.coming)

    @property
    def text(self) -> str:
        """What stands in the file."""
        marked = {NEXT: self.coming, RETIRED: self.retired}
        lines = [f"{word} {key}" for word, keys in marked.items() for key in keys]
        return "".join(f"{line}\n" for line in (*self.keys, *lines))

    def rotated(self, make: Callable[[], str]) -> Self:
        """Return the keys after the next step: with a new one, or with that as the first.

        Raises:
            ValueError: the new one is the first already.
        """
        if self.coming:
            return msgspec.structs.replace(self, keys=(*self.coming, *self.keys), coming=())
        if len(self.keys) > 1:
            raise ValueError(FIRST_ALREADY)
        return msgspec.structs.replace(self, coming=(make(),))

    def with_first(self, left: Callable[[str], str] | None) -> Self:
        """Return the keys without any but the first.

        Args:
            left: returns what stays of a key; None for nothing.

        Raises:
            ValueError: the new one is not the first yet.
        """
        if self.coming:
            raise ValueError(NOT_FIRST_YET)
        gone = [] if left is None else map(left, self.keys[1:])
        retired = tuple(dict.fromkeys((*self.retired, *gone)))
        return msgspec.structs.replace(self, keys=self.keys[:1], retired=retired)


class Keys(NamedTuple):
    """The keys of a file, 32 bytes each.

    Attributes:
        all: those that count, or will; the first one signs, or encrypts.
        retired: what is left of those that don't count any more.
        coming: those of `all` that are known only, until the next step makes them the first.
    """

    all: list[bytes]
    retired: list[bytes]
    coming: list[bytes]


FIRST_ALREADY = "the newest key is the first already: remove the others with --retire"
NOT_FIRST_YET = "the newest key is not the first yet: take the step before, without --retire"


def parse(text: str) -> KeyLines:
    """Return what is in the text of a file.

    Raises:
        ValueError: it has no key, or something else in it.
    """
    found: dict[str, list[str]] = {"": [], NEXT: [], RETIRED: []}
    for line in filter(None, map(str.strip, text.splitlines())):
        *words, key = line.split()
        word = " ".join(words)
        if word not in found:
            raise ValueError("a line of it is neither a key nor what is left of a retired one")
        found[word].append(key)
    keys, coming, retired = (tuple(dict.fromkeys(found[word])) for word in ("", NEXT, RETIRED))
    if not keys:
        raise ValueError("there is no key in it")
    return KeyLines(keys, retired, tuple(key for key in coming if key not in keys))


def load(
    path: Path, name: str, *, create: bool, named: bool, most: int = MOST_KEYS, mend: str = ""
) -> Keys:
    """Return the keys in a file.

    Args:
        name: what the file is, as an error begins.
        create: whether the file is made (mode 0600, synced) with a new key where it isn't there.
        named: whether somebody named the file, see `check_secret_file`.
        most: how many keys it may have.
        mend: what else an error says.

    Raises:
        InvalidConfiguration: it can't be read or made, is open to others, or holds something else.
    """
    try:
        if create and not path.exists():
            keep_private(path, make_key() + "\n")
        check_secret_file(path, name, named=named)
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, can't be read.", str(error)) from error
    try:
        lines = parse(text)
        if len(lines.all) > most:
            raise ValueError(f"it has {len(lines.all)} keys")
        return Keys(*([*map(key_of, each)] for each in (lines.all, lines.retired, lines.coming)))
    except ValueError as error:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, is none.",
            f"The file holds {2 * KEY_BYTES} hex digits a line, of up to {most} keys; put back "
            f"what was in it{mend}",
        ) from error


def make_key() -> str:
    """Return a new key as it stands in a file."""
    return secrets.token_hex(KEY_BYTES)


def key_of(text: str) -> bytes:
    """Return the key that stands in a file so; raises ValueError where it is none."""
    key = bytes.fromhex(text)
    if len(key) != KEY_BYTES:
        raise ValueError("it is too short or too long")
    return key


def rotate(path: Path, name: str) -> bool:
    """Take the next step: put a new key behind the others, or the newest before them.

    Args:
        name: what the file is, as an error begins.

    Returns:
        Whether the newest key is the first now.

    Raises:
        InvalidConfiguration: the file can't be read or written, or the newest is the first already.
    """
    return bool(_change(path, name, lambda before: before.rotated(make_key)).coming)


def retire(path: Path, name: str, left: Callable[[str], str] | None = None) -> int:
    """Remove all keys but the first; return how many there were.

    Args:
        left: returns what stays of a key; None for nothing.

    Raises:
        InvalidConfiguration: the file can't be read or written, or the newest is not the first yet.
    """
    return len(_change(path, name, lambda before: before.with_first(left)).keys) - 1


def _change(path: Path, name: str, alter: Callable[[KeyLines], KeyLines]) -> KeyLines:
    """Write what `alter` returns for what is in a file, and return what was in it."""
    try:
        check_secret_file(path, name, named=True)
        before = parse(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, can't be read.", str(error)) from error
    try:
        write_private(path, alter(before).text, as_before=True)
    except ValueError as error:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, is left as it is: {error}.") from error
    except OSError as error:
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, can't be written.", str(error)
        ) from error
    return before
