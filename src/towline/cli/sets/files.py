"""Files in which sets are written down: which they are, and what stands in them, checked."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from towline.cli.sets.yaml_places import LARGEST, Document, documents
from towline.endpoints import sets
from towline.errors import InvalidConfiguration, did_you_mean
from towline.signature import Place
from towline.wire.platform import InvalidPlatform, Platform
from towline.wire.reference import InvalidReference, Reference

STDIN = "-"
ENDINGS = (".yaml", ".yml", ".json")
"""How files are called that are read of a directory, in whichever case. JSON is YAML."""
MOST_NAMED = 20
"""Mistakes that are listed; of more it is said how many."""
NAME = "name"


class Declared(msgspec.Struct, frozen=True):
    """A set as a file has it.

    Attributes:
        name: what it is called.
        body: what is declared of it, as the API takes it.
        document: where that stands.
    """

    name: str
    body: dict[str, Any]
    document: Document

    @property
    def place(self) -> str:
        """File and line, for people."""
        return self.document.place((NAME,))


def fields() -> list[str]:
    """Return what may stand in a document of a set."""
    return [NAME, *sets.put.signature.names(Place.BODY)]


def read(paths: Sequence[str], source: str | None, *, whole: bool = False) -> list[Declared]:
    """Return the sets that files have, in their order.

    Args:
        paths: files, directories, and `-` for standard input. Of a directory all files are read
            that are called as `ENDINGS`, those of directories in it, too, but for hidden ones.
        source: what all of them are from; None for what each document says.
        whole: whether what isn't found is taken for removed, so that each path and each file must
            have a set.

    Raises:
        InvalidConfiguration: a file can't be read, or what stands in it is not valid; the text has
            file and line of each mistake.
    """
    found: list[Declared] = []
    wrong: list[str] = []
    for document in _documents(paths, whole=whole):
        try:
            each = _declared(document, source)
        except ValueError as error:
            wrong.append(f"{document.place_of(str(error))}: {error}")
            continue
        found.append(each)
        wrong += _images(each)
    places: dict[str, str] = {}
    for each in found:
        if each.name in places:
            wrong.append(f"{each.place}: the set {each.name} stands in {places[each.name]}, too")
        places.setdefault(each.name, each.place)
    refuse(wrong)
    if not found:
        raise InvalidConfiguration(
            f"There is no set in {', '.join(paths)}.",
            "A directory may hold the wrong files: towline set remove NAME removes a set",
        )
    return found


def refuse(wrong: Sequence[str]) -> None:
    """Refuse to apply anything where something is wrong.

    Args:
        wrong: each mistake, with where it stands.

    Raises:
        InvalidConfiguration: there is one.
    """
    if wrong:
        first, *others = wrong
        left = len(others) - MOST_NAMED
        raise InvalidConfiguration(
            f"Nothing was changed: {first}",
            "\n".join([*others[:MOST_NAMED], *([f"and {left} more"] if left > 0 else [])]),
        )


def _documents(paths: Iterable[str], *, whole: bool) -> list[Document]:
    found: list[Document] = []
    for path in paths:
        before = len(found)
        for text, name in _texts(path):
            of_file = documents(text, name)
            if whole and not of_file:
                raise _empty(name)
            found += of_file
        if whole and len(found) == before:
            raise _empty(path)
    return found


def _empty(name: str) -> InvalidConfiguration:
    """Return the refusal to remove sets because a template or a checkout has failed."""
    return InvalidConfiguration(
        f"There is no set in {name}.",
        "--prune would remove those that it had. If that is meant, leave it out",
    )


def _texts(path: str) -> Iterable[tuple[bytes, str]]:
    if path == STDIN:
        yield sys.stdin.buffer.read(LARGEST + 1), "standard input"
        return
    try:
        for each in _files(Path(path)):
            with each.open("rb") as file:
                yield file.read(LARGEST + 1), str(each)
    except OSError as error:
        raise InvalidConfiguration(
            f"{error.filename or path} can't be read: {error.strerror}.",
            "Name a file, a directory, or - for standard input",
        ) from error


def _files(path: Path) -> list[Path]:
    """Return the files that a path names; links are followed, and each directory is read once.

    Raises:
        OSError: a directory can't be read.
        InvalidConfiguration: what is no file is called as one, or a link leads nowhere.
    """
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for name, folders, files in os.walk(path, onerror=_fail, followlinks=True):
        folder = Path(name)
        place = folder.stat()
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders[:] = sorted(filter(_shown, folders))
        found += filter(_is_read, (folder / each for each in filter(_shown, files)))
    return sorted(found)


def _fail(error: OSError) -> None:
    # Without it `os.walk` leaves out what it can't read, and --prune would remove what is there.
    raise error


def _shown(name: str) -> bool:
    return not name.startswith(".")


def _is_read(path: Path) -> bool:
    """Whether sets are read of what stands in a directory, and is none itself."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if not path.is_symlink():
            raise
        # It may have been a directory's, whatever it is called.
        raise InvalidConfiguration(
            f"{path} is a link to {path.readlink()}, which can't be read: {error.strerror}.",
            "Mend the link, or remove it",
        ) from error
    if path.suffix.lower() not in ENDINGS:
        return False
    if not stat.S_ISREG(mode):
        raise InvalidConfiguration(f"{path} is no file.", "Give it another name, or remove it")
    return True


def _images(declared: Declared) -> Iterable[str]:
    """Yield what is wrong with the images of a set, each with its place."""
    for number, given in enumerate(declared.body["images"]):
        image, platform = (given, None) if isinstance(given, str) else _parts(given)
        try:
            Reference.parse(image)
            if platform is not None:
                Platform.parse(platform)
        except (InvalidReference, InvalidPlatform) as error:
            yield f"{declared.document.place(('images', number))}: {error}"


def _parts(given: dict[str, Any]) -> tuple[str, str | None]:
    return given["image"], given.get("platform")


def _declared(document: Document, source: str | None) -> Declared:
    """Return the set of a document; raises `ValueError` where it is none."""
    value = document.value
    if not isinstance(value, dict):
        raise ValueError("a set is a mapping: name, target, images")
    known = fields()
    for name in value:
        if name not in known:
            meant = did_you_mean(str(name), known)
            raise ValueError(f"a set has no field `{name}`. {meant}".rstrip(" "))
    if NAME not in value:
        raise ValueError("the set has no `name`")
    if source is not None:
        if value.get("source", source) != source:
            raise ValueError(f"`source` is {value['source']!r} here, and --source is {source!r}")
        value = {**value, "source": source}
    sets.put.signature.check(value)
    return Declared(value[NAME], {k: v for k, v in value.items() if k != NAME}, document)
