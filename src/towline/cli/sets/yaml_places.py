"""YAML documents, and where in its file each value of them stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml  # type: ignore[import-untyped]

from towline.errors import InvalidConfiguration

LARGEST = 4 << 20
"""Bytes of a file that are read: the sets of a large fleet are some ten thousand lines."""
MOST = 20_000
"""Values of a document that are looked at: by aliases a few lines can stand for any number."""
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")

Path = tuple[str | int, ...]


class Document:
    """A YAML document.

    Attributes:
        value: what stands in it.
        file: the name of its file, for people.
    """

    def __init__(self, value: Any, file: str, lines: dict[Path, int]) -> None:
        self.value = value
        self.file = file
        self._lines = lines

    def place(self, path: Path = ()) -> str:
        """Return file and line of a value, or of what it stands in where there is no such value.

        Args:
            path: the keys and indices that lead to it.
        """
        while path and path not in self._lines:
            path = path[:-1]
        return f"{self.file}, line {self._lines[path]}"

    def place_of(self, error: str) -> str:
        """Return file and line of what an error is about, by the path or the name in its words.

        msgspec ends with "at `$.images[0]`", and names a field that is not known or not valid.
        """
        steps = re.search(r"at `\$([^`]*)`", error)
        path: Path = tuple(
            name or int(index) for name, index in _STEP.findall(steps[1] if steps else "")
        )
        name = re.search(r"`([\w.-]+)`", error)
        if name is not None:
            # What it names stands there, or somewhere below.
            named = (each for each in self._lines if each[-1:] == (name[1],))
            path = next((each for each in named if each[: len(path)] == path), path)
        return self.place(path)


def documents(text: bytes, file: str) -> list[Document]:
    """Return the documents of a file; empty ones are none.

    Args:
        file: its name, for people.

    Raises:
        InvalidConfiguration: it is no YAML, or a key stands twice in one mapping; the text has the
            line.
    """
    if len(text) > LARGEST:
        raise InvalidConfiguration(
            f"{file} is larger than {LARGEST >> 20} MiB.", "Put the sets into several files"
        )
    try:
        return [
            Document(value, file, lines) for value, lines in _read(text, file) if value is not None
        ]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = file if mark is None else f"{file}, line {mark.line + 1}"
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise InvalidConfiguration(
            f"{where}: this is no YAML: {problem}.", "Documents are parted by a line of ---"
        ) from error
    except RecursionError:
        raise InvalidConfiguration(
            f"{file}: values are nested too deeply.", "A set has two levels"
        ) from None


def _read(text: bytes, file: str) -> Iterator[tuple[Any, dict[Path, int]]]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            lines: dict[Path, int] = {}
            _note(node, (), lines, file)
            yield loader.construct_document(node), lines
    finally:
        loader.dispose()


def _note(node: Any, path: Path, lines: dict[Path, int], file: str) -> None:
    """Note in which line each value begins."""
    lines[path] = node.start_mark.line + 1
    if len(lines) > MOST:
        raise InvalidConfiguration(
            f"{file} has more than {MOST:,} values.", "Leave out aliases that stand for many"
        )
    if isinstance(node, yaml.SequenceNode):
        for number, each in enumerate(node.value):
            _note(each, (*path, number), lines, file)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value)
            # YAML forbids it (1.2.2, section 3.2.1.1), and the library takes the last one.
            if (*path, name) in lines:
                raise InvalidConfiguration(
                    f"{file}, line {key.start_mark.line + 1}: {name!r} stands there twice.",
                    f"The first is in line {lines[(*path, name)]}: leave one of them out",
                )
            _note(value, (*path, name), lines, file)
            lines[(*path, name)] = key.start_mark.line + 1
