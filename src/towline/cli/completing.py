"""Completion: what a shell asks while somebody types, and what it is answered.

The scripts of `towline completion` start `towline` with the shell's name in `VARIABLE`. It answers
with lines: the kind of what is completed (`plain`, `file`, `dir`), then each word, and behind a
blank what is said of it. Whatever goes wrong is answered with nothing at all: a message would be
written into the line that is being typed.
"""

from __future__ import annotations

import copy
import os
import re
import sys
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, ShellComplete

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


def completions(words: list[str], typed: str) -> tuple[str, list[tuple[str, str]]]:
    """Return what a word may become.

    Args:
        words: those before it, behind the program's name.
        typed: its beginning.

    Returns:
        Its kind, `plain`, `file` or `dir`; and each whole word, with what is said of it.
    """
    from towline.cli.commands import cli

    # An option may have its value behind a "=", as one word.
    before = typed.partition("=")[0] + "=" if typed.startswith("--") and "=" in typed else ""
    shell = ShellComplete(cli, {}, "towline", VARIABLE)
    found = shell.get_completions(list(words), typed)
    kind = next((each.type for each in found if each.type != "plain"), "plain")
    whole = [
        (before + each.value, (each.help or "").partition(". ")[0].partition("  [")[0])
        for each in found
        if each.type == "plain"
    ]
    return kind, [
        (word, about)
        for word, about in whole
        if word.startswith(typed) and _SAFE.fullmatch(word[len(typed) :] or "-")
    ]


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


class Completed(click.ParamType[str]):
    """Stands in for a parameter's type while it is completed.

    Args:
        name: what stands for the value in the help; by that it is known what may stand there.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what a value may become."""
        if self.name in FILES:
            return [CompletionItem(incomplete, type=FILES[self.name])]
        before, last = "", incomplete
        if self.name == "TARGET":
            last = _LAST.search(incomplete)[0]  # type: ignore[index]
            before = incomplete[: len(incomplete) - len(last)]
        return [
            CompletionItem(before + word, help=about)
            for word, about in KNOWN[self.name](ctx, last)
            if word.startswith(last)
        ]


def _nodes(ctx: click.Context, typed: str) -> Iterable[tuple[str, str]]:
    return [(word, about) for word, about in _named(ctx, "target", typed) if ":" not in word]


def _labels(ctx: click.Context, typed: str) -> Iterable[tuple[str, str]]:
    return [(word, about) for word, about in _named(ctx, "target", typed) if ":" in word]


def _targets(ctx: click.Context, typed: str) -> Iterable[tuple[str, str]]:
    return [("_all", "every node"), ("_any", "one node"), *_named(ctx, "target", typed)]


def _jobs(ctx: click.Context, typed: str) -> Iterable[tuple[str, str]]:
    whole = _named(ctx, "job", typed)
    short = [(word.rpartition("-")[2], about) for word, about in whole]
    return short if any(word.startswith(typed) for word, _ in short) else whole


def _named(ctx: click.Context, kind: str, typed: str) -> list[tuple[str, str]]:
    from towline.cli import names
    from towline.cli.connection import take_where

    return names.known(take_where(dict(ctx.params)), kind, typed)


def _operations(ctx: click.Context, typed: str) -> Iterable[tuple[str, str]]:
    from towline.operation import catalog
    from towline.operations import docker, load_extra, node  # noqa: F401
    from towline.runtime import config

    load_extra(config.load(None).operations)
    return [(each.label, each.summary) for each in catalog]


def _contexts(ctx: click.Context, typed: str) -> Iterable[tuple[str, str]]:
    from towline.runtime import contexts

    return [(name, "") for name in (contexts.LOCAL, *contexts.names())]


KNOWN: dict[str, Callable[[click.Context, str], Iterable[tuple[str, str]]]] = {
    "TARGET": _targets,
    "NODE": _nodes,
    "KEY:VALUE": _labels,
    "JOB_ID": _jobs,
    "OPERATION": _operations,
    "CONTEXT": _contexts,
}
"""Words that there are, with what is said of each, by what stands for them in the help."""


def completed_by_name(parameters: Iterable[click.Parameter]) -> list[click.Parameter]:
    """Return parameters whose values are completed by what stands for them in the help."""
    found = []
    for parameter in parameters:
        named = str(parameter.name).upper() if isinstance(parameter, click.Argument) else ""
        name = (parameter.metavar or named).strip("[].")
        if name in KNOWN or name in FILES:
            parameter = copy.copy(parameter)
            parameter.type = Completed(name)
        found.append(parameter)
    return found
