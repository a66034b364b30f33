"""Completion: what a shell asks while somebody types, and what it is answered.

The scripts of `towline completion` start `towline` with the shell's name in `VARIABLE`. It answers
with lines: the kind of what is completed (`plain`, `file`, `dir`), then each word, and behind a
blank what is said of it. Whatever goes wrong is answered with nothing at all: a message would be
written into the line that is being typed. No command is imported for it: see `shape`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from towline.cli import shape
from towline.cli.terminal import say

VARIABLE = "_TOWLINE_COMPLETE"
"""The environment variable that names the shell."""
LINE, BREAKS = "_TOWLINE_LINE", "_TOWLINE_BREAKS"
"""Those with what bash has of the line up to the cursor, and with what parts words for it."""
FILES = {"FILE": "file", "DIR": "dir"}
"""What shells complete by themselves, by what stands for it in the help."""
_SAFE = re.compile(r"[\w.:@%+=,/\-\[\]]+", re.ASCII)
"""Words that mean nothing else to any shell, wherever they are put."""
_LAST = re.compile(r"[^,;!]*\Z")
"""The last part of an expression of targets."""
_ID = re.compile("[0-9A-Fa-f-]{8,}")

Words = Iterable[tuple[str, str]]
"""Words, each with what is said of it."""


def answer(shell: str, arguments: list[str]) -> None:
    """Write what the word that is being typed may become.

    Args:
        shell: bash, zsh or fish.
        arguments: for zsh and fish the words behind the program's name, the one that is being
            typed, be it empty, as the last.
    """
    try:
        lines = _bash() if shell == "bash" else _others(shell, arguments)
        say(*lines)
    except (Exception, SystemExit):  # noqa: BLE001
        # Whatever is said now would stand in the line that is being typed.
        sys.exit(0)


def _others(shell: str, arguments: list[str]) -> list[str]:
    *words, typed = arguments or [""]
    if shell == "fish":
        # It gives the word as it stands there.
        typed = Typed(typed).word
    kind, found = completions(words, typed)
    return [kind, *(f"{word} {about}" if about else word for word, about in found)]


def _bash() -> list[str]:
    line = Typed(os.environ[LINE], os.environ.get(BREAKS, " \t\n\"'><=;|&(:"))
    kind, found = completions(line.words[1:], line.word)
    # What is typed stays as it is, quotes and all: only what is missing is put behind it.
    return [kind, *(line.kept + word[len(line.word) :] for word, _ in found)]


def completions(words: list[str], typed: str) -> tuple[str, Words]:
    """Return what a word may become.

    Args:
        words: those before it, behind the program's name.
        typed: its beginning.

    Returns:
        Its kind, `plain`, `file` or `dir`; and each whole word, with what is said of it.
    """
    place = Place(shape.shape())
    for word in words:
        place.go(word)
    # An option may have its value behind a "=", as one word.
    before, last = "", typed
    if typed.startswith("--") and "=" in typed and place.options:
        before, last = typed[: typed.index("=") + 1], typed[typed.index("=") + 1 :]
        place.go(typed[: typed.index("=")])
    if isinstance(place.kind, str) and place.kind in FILES:
        return FILES[place.kind], []
    return "plain", [
        (before + word, about)
        for word, about in place.become(last)
        if word.startswith(last) and _SAFE.fullmatch(word[len(last) :] or "-")
    ]


class Place:
    """A place in a command line: what stands before it says what may stand there.

    Args:
        whole: the shape of the command line.

    Attributes:
        command: that of the command that has been typed.
        options: whether options may stand here.
        given: the names of the options so far.
        where: what options say of where the API is, by the setting.
    """

    def __init__(self, whole: shape.Shape) -> None:
        self._whole = self.command = whole
        self.options = True
        self.given: set[str] = set()
        self.where: dict[str, str] = {}
        self._awaited: dict[str, Any] | None = None
        self._arguments = 0
        self._plural = False

    def go(self, word: str) -> None:
        """Go on behind a word; raises `LookupError` where there is nothing of that name."""
        if self._awaited is not None:
            self._take(self._awaited, word)
            self._awaited = None
        elif self.options and word == "--":
            self.options = False
        elif self.options and word.startswith("-") and len(word) > 1:
            self._list_where_plural()
            name, given, value = word.partition("=")
            option = self.command["options"][name]
            self.given.add(option["name"])
            if given:
                self._take(option, value)
            elif option["kind"] is not None:
                self._awaited = option
        elif not self._into(word):
            self._arguments += 1

    def _list_where_plural(self) -> None:
        """Go on to the list of a noun's plural, behind which no verb stands."""
        if self._plural:
            self.command = self.command["commands"]["list"]
            self._plural = False

    def _take(self, option: dict[str, Any], value: str) -> None:
        if option["where"]:
            self.where[option["where"]] = value

    def _into(self, word: str) -> bool:
        commands = self.command.get("commands")
        if not commands:
            return False
        if word not in commands and "show" in commands and _ID.fullmatch(word):
            # A job's id stands for what shows it.
            self.command = commands["show"]
            return False
        if word not in commands and self.command is self._whole:
            raise LookupError(word)
        found = commands[word]
        self._plural = isinstance(found, list) and len(found) == 1
        if isinstance(found, list):
            names, found = found, self._whole
            for name in names:
                found = found["commands"][name]
        self.command = found
        return True

    @property
    def kind(self) -> list[str] | str | None:
        """Choices for the value that stands here, or what stands for it in the help; None where
        there is no value."""
        if self._awaited is not None:
            return self._awaited["kind"]  # type: ignore[no-any-return]
        arguments = self.command["arguments"]
        if self._arguments < len(arguments):
            return arguments[self._arguments]["kind"]  # type: ignore[no-any-return]
        many = bool(arguments) and arguments[-1]["many"]
        return arguments[-1]["kind"] if many else None

    def become(self, typed: str) -> Words:
        """Return what a word that begins so may become here; others may be among them."""
        if self._awaited is None and typed.startswith("-") and self.options:
            self._list_where_plural()
            return [
                (flag, option["about"])
                for flag, option in self.command["options"].items()
                if option["many"] or option["name"] not in self.given
            ]
        if self._awaited is None and self.command.get("commands"):
            return [
                (word, "" if isinstance(found, list) else found["about"])
                for word, found in self.command["commands"].items()
            ]
        kind = self.kind
        if isinstance(kind, list):
            return [(each, "") for each in kind]
        return KNOWN[kind](self, typed) if kind in KNOWN else []


def _nodes(place: Place, typed: str) -> Words:
    return [(word, about) for word, about in _named(place, "target", typed) if ":" not in word]


def _labels(place: Place, typed: str) -> Words:
    return [(word, about) for word, about in _named(place, "target", typed) if ":" in word]


def _targets(place: Place, typed: str) -> Words:
    last = _LAST.search(typed)[0]  # type: ignore[index]
    before = typed[: len(typed) - len(last)]
    found = [("_all", "every node"), ("_any", "one node"), *_named(place, "target", last)]
    return [(before + word, about) for word, about in found]


def _jobs(place: Place, typed: str) -> Words:
    whole = _named(place, "job", typed)
    short = [(word.rpartition("-")[2], about) for word, about in whole]
    return short if any(word.startswith(typed) for word, _ in short) else whole


def _images(place: Place, typed: str) -> Words:
    from towline.wire.reference import Reference

    whole = _named(place, "image", typed)
    known = [(Reference.parse(word).familiar, about) for word, about in whole]
    return known if any(word.startswith(typed) for word, _ in known) else whole


def _sets(place: Place, typed: str) -> Words:
    return _named(place, "set", typed)


def _named(place: Place, kind: str, typed: str) -> list[tuple[str, str]]:
    from towline.cli import names

    return names.known(place.where, kind, typed)


def _operations(place: Place, typed: str) -> Words:
    from towline.operation import catalog
    from towline.operations import docker, load_extra, node  # noqa: F401
    from towline.runtime import config

    load_extra(config.load(None).operations)
    return [(each.label, each.summary) for each in catalog]


def _contexts(place: Place, typed: str) -> Words:
    from towline.runtime import contexts

    return [(name, "") for name in (contexts.LOCAL, *contexts.names())]


KNOWN: dict[str | None, Callable[[Place, str], Words]] = {
    "TARGET": _targets,
    "NODE": _nodes,
    "KEY:VALUE": _labels,
    "JOB_ID": _jobs,
    "IMAGE": _images,
    "SET": _sets,
    "OPERATION": _operations,
    "CONTEXT": _contexts,
}
"""Words that there are, by what stands for them in the help."""


class Typed:
    """A line that is being typed, parted into words as a shell does it.

    Args:
        line: up to the cursor.
        breaks: characters at which readline begins another word, where they are not quoted.

    Attributes:
        words: those that are complete, without their quotes.
        word: the last, without its quotes; "" behind a blank.
        kept: what readline replaces of the last one: what stands behind the last break.
    """

    def __init__(self, line: str, breaks: str = "") -> None:
        self.words: list[str] = []
        self.word = self.kept = quote = ""
        escaped = inside = False
        for letter in line:
            if escaped:
                escaped, self.word, self.kept = False, self.word + letter, self.kept + letter
            elif letter == "\\" and quote != "'":
                escaped, self.kept = True, self.kept + letter
            elif quote:
                if letter == quote:
                    quote, self.kept = "", self.kept + letter
                else:
                    self.word, self.kept = self.word + letter, self.kept + letter
            elif letter in " \t\n":
                if inside:
                    self.words.append(self.word)
                self.word = self.kept = ""
            elif letter in "\"'":
                # Readline's word begins behind the quote that is open.
                quote, self.kept = letter, ""
            else:
                self.word += letter
                self.kept = "" if letter in breaks else self.kept + letter
            inside = letter not in " \t\n" or bool(quote) or escaped
