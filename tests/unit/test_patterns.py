"""No pattern takes a time that grows with the square of what it is given.

Each pattern of the source is tried with long texts of what it is made of, over and over: with each
of its words and kinds of characters, and with any two of them. A pattern that begins again at each
character takes minutes for one of these, and one that doesn't a few milliseconds.
"""

import ast
import collections
import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from towline.agent.docker.pull.faults import LONGEST
from towline.agent.docker.pull.words import TABLE

SOURCE = Path(__file__).parents[2] / "src" / "towline"
LENGTH = 50_000
"""Characters of a text."""
SHORT = {
    "agent/docker/pull/words": LONGEST,
    "controller/http/middleware.py": 300,
    # Names that stand in the source.
    "operation.py": 200,
    "endpoint.py:NAME": 200,
    "endpoint.py:PERMISSION": 200,
    "endpoint.py:_ROUTE": 200,
}
"""Characters, where a text is cut before a pattern sees it: what is quadratic there is cheap."""
GIVEN = 1.0
"""Seconds of the processor for a text, hundreds of times what is needed: a bound, and no
measurement."""
MOST = 8
"""Words of a pattern that are combined."""
CLASSES = {
    sre.CATEGORY_DIGIT: "0",
    sre.CATEGORY_WORD: "a",
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_NOT_SPACE: "a",
    sre.CATEGORY_NOT_DIGIT: "a",
    sre.CATEGORY_NOT_WORD: "-",
}
METHODS = ("match", "fullmatch", "search", "sub", "findall", "split")
USES = re.compile(rf"\b([A-Za-z_]\w*)\.({'|'.join(METHODS)})\(")


def uses(text: str) -> dict[str, set[str]]:
    """Return the methods that are called of each name in a text."""
    found = collections.defaultdict[str, set[str]](set)
    for name, method in USES.findall(text):
        found[name].add(method)
    return found


ALL = uses("\n".join(path.read_text() for path in SOURCE.rglob("*.py")))


def constant(node: ast.expr) -> str | None:
    """Return the text that an expression is, if it is a constant one."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def in_source() -> Iterator[tuple[str, str, int, str]]:
    """Yield the patterns of the source: where each stands, it, its flags, and how it is used."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if "re.compile(" not in text and "pattern=" not in text:
            continue  # to take all of the source apart takes seconds, in each process of the tests
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            where = f"{path.relative_to(SOURCE)}:{node.lineno}"
            name = ast.unparse(node.func)
            if name == "re.compile" and (pattern := constant(node.args[0])) is not None:
                flags = 0
                for flag in node.args[1:]:
                    flags |= int(eval(ast.unparse(flag), {"re": re}))
                name = text.splitlines()[node.lineno - 1].partition(" ")[0]
                if name.isidentifier():  # lines move
                    where = f"{path.relative_to(SOURCE)}:{name}"
                used = uses(text) if name.startswith("_") else ALL
                for method in sorted(used.get(name) or {"search"}):
                    yield where, pattern, flags, method
            for keyword in node.keywords:
                if keyword.arg == "pattern" and (pattern := constant(keyword.value)) is not None:
                    yield where, pattern, 0, "search"


def in_tables() -> Iterator[tuple[str, str, int, str]]:
    """Yield those that are put together of a table's rows."""
    for row in TABLE:
        yield (
            f"agent/docker/pull/words: {row.title}",
            "|".join(f"(?:{each})" for each in row.patterns),
            0,
            "search",
        )


PATTERNS = [*in_source(), *in_tables()]


def words(pattern: str) -> list[str]:
    """Return what a pattern is made of: its words, and a character of each of its classes."""
    found: dict[str, None] = {}

    def walk(parsed: Any) -> None:
        run = ""
        for operation, argument in parsed:
            if operation is sre.LITERAL:
                run += chr(argument)
                continue
            if run:
                found[run] = None
                run = ""
            if operation is sre.IN:
                for kind, inner in argument:
                    if kind is sre.LITERAL:
                        found[chr(inner)] = None
                    elif kind is sre.RANGE:
                        found[chr(inner[0])] = None
                    elif kind is sre.CATEGORY:
                        found[CLASSES[inner]] = None
                if argument[0][0] is sre.NEGATE:
                    found["a"] = None
            elif operation is sre.ANY or operation is sre.NOT_LITERAL:
                found["a"] = None
            elif isinstance(argument, tuple | list):
                for each in argument if isinstance(argument, tuple) else (argument,):
                    for inner in each if isinstance(each, list) else (each,):
                        if isinstance(inner, parser.SubPattern):
                            walk(inner)
        if run:
            found[run] = None

    walk(parser.parse(pattern))
    return list(found)[:MOST]


def texts(pattern: str, length: int) -> Iterator[str]:
    """Yield long texts that a pattern may find hard."""
    made = words(pattern)
    for first in made:
        for second in ("", *made):
            pump = first + second
            body = pump * (length // len(pump))
            yield body
            yield body + "\0"
    for first in made:
        yield first + " " * length + "\0"


def limited(seconds: float, work: Callable[[], object]) -> bool:
    """Do work, and return whether it has ended within so many seconds of the processor."""

    class TooLong(Exception):
        pass

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        work()
    except TooLong:
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return True


def hard(pattern: str, flags: int, method: str, length: int) -> str | None:
    """Return the beginning of a text that a pattern does not come to an end with, or None."""
    compiled = re.compile(pattern, flags)
    use = partial(compiled.sub, "") if method == "sub" else getattr(compiled, method)
    for text in texts(pattern, length):
        if not limited(GIVEN, partial(use, text)):
            return text[:40]
    return None


def test_patterns_are_found() -> None:
    assert len(PATTERNS) > 60
    assert all(any(where.startswith(each) for where, *_ in PATTERNS) for each in SHORT)


@pytest.mark.parametrize(("where", "pattern", "flags", "method"), PATTERNS)
def test_a_pattern_ends_with_whatever_it_is_given(
    where: str, pattern: str, flags: int, method: str
) -> None:
    length = next((most for room, most in SHORT.items() if where.startswith(room)), LENGTH)
    assert hard(pattern, flags, method, length) is None


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\s*([A-Za-z-]+)\s*(?:=\s*\"?([^\";]*)\"?)?\s*(?:;.*)?$", "match"),
        (r"\beyJ[\w-]+\.[\w-]+\.[\w-]*", "search"),
        (r"(?:a+)+$", "match"),
    ],
)
def test_one_that_does_not_is_found(pattern: str, method: str) -> None:
    assert hard(pattern, 0, method, LENGTH) is not None
