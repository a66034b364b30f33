"""Targets: which nodes a job is for, and the labels that nodes carry."""

import enum
import functools
from typing import TypeAlias

import msgspec

from towline.wire.names import (
    problem_with_hostname,
    problem_with_key,
    problem_with_text,
    problem_with_value,
)
from towline.wire.text import problem_with_characters, quoted
from towline.wire.wildcard import ANYTHING, matches

_LONGEST_EXPRESSION = 2000
"""Characters: beside some thirty nodes by machine ids, which are longer than most names."""
_MOST_TERMS = 64
"""Names and labels of an expression: each is looked up."""
_MOST_PATTERNS = 8
"""Those with `*` among them: each is held against all names, or all values of a key."""

OR, AND, NOT = ";", ",", "!"
"""The signs of expressions, the one that binds least first."""

# Every request and every message names some of the fleet's.
_REMEMBERED = 10_000

_TARGET_FORM = "a hostname, '_any', '_all' or a label such as 'group:web'"
_PATTERN_FORM = "a hostname, in which '*' stands for anything"
_MACHINE_ID_FORM = "letters, digits, '-' and '_'"
_LABEL_FORM = "key:value"


class InvalidTarget(ValueError):
    """The text names no nodes; the message shows it and says how to mend it."""


class InvalidLabel(InvalidTarget):
    """The text is not a label; the message shows it and says how to mend it."""


class Quantifier(enum.StrEnum):
    """How many of the nodes, where none is named."""

    ANY = "_any"
    ALL = "_all"


ANY = Quantifier.ANY
ALL = Quantifier.ALL


class Hostname(msgspec.Struct, frozen=True):
    """One node, by its hostname or its machine id."""

    name: str

    def __str__(self) -> str:
        return self.name


class Label(msgspec.Struct, frozen=True):
    """A property that nodes carry; as a target, all nodes that carry it or one below it.

    Parameters:
        key: letters, digits, '-' and '_'.
        value: a path of dotted segments, from the general to the particular: `web.dev.eu`. Of one
            that nodes are chosen by, `*` stands for any characters of a segment.
    """

    key: str
    value: str

    def matches(self, label: "Label") -> bool:
        """Return whether a node that carries `label` is meant by this one, by whole segments.

        >>> Label("group", "web").matches(Label("group", "web.dev.eu"))
        True
        >>> Label("group", "web").matches(Label("group", "website"))
        False
        >>> Label("rack", "r*").matches(Label("rack", "r3.u12"))
        True
        """
        if self.key != label.key:
            return False
        if ANYTHING not in self.value:
            return f"{label.value}.".startswith(f"{self.value}.")
        wanted, carried = self.value.split("."), label.value.split(".")
        return len(wanted) <= len(carried) and all(map(matches, wanted, carried))

    def __str__(self) -> str:
        return f"{self.key}:{self.value}"


class Hostnames(msgspec.Struct, frozen=True):
    """All nodes whose hostname is like a text, in which `*` stands for any characters, or none."""

    pattern: str

    def __str__(self) -> str:
        return self.pattern


Term: TypeAlias = Hostname | Hostnames | Label
"""What a part of an expression asks of a node."""


class Part(msgspec.Struct, frozen=True):
    """The nodes that are all of some, and none of others.

    Attributes:
        wanted: each of these must mean the node; empty for all nodes.
        excluded: none of these may.
    """

    wanted: tuple[Term, ...] = ()
    excluded: tuple[Term, ...] = ()


class Expression(msgspec.Struct, frozen=True):
    """The nodes that at least one of its parts means: `group:web,site:ber;db-*,!db-03`.

    Attributes:
        parts: at least one, sorted, as are the terms of each: what means the same by another order
            is the same text.
        any: exactly one of these nodes, whichever can do it.
    """

    parts: tuple[Part, ...]
    any: bool = False

    def __str__(self) -> str:
        return OR.join(self._text(part) for part in self.parts)

    def _text(self, part: Part) -> str:
        first = [str(ANY)] if self.any else [] if part.wanted else [str(ALL)]
        return AND.join(
            [*first, *map(str, part.wanted), *(f"{NOT}{each}" for each in part.excluded)]
        )


Target: TypeAlias = Hostname | Label | Quantifier | Expression


def parts_of(target: Target) -> tuple[Part, ...]:
    """Return the parts of a target, of which each node that it means is of one at least."""
    if isinstance(target, Expression):
        return target.parts
    return (Part() if isinstance(target, Quantifier) else Part((target,)),)


def is_any(target: Target) -> bool:
    """Return whether exactly one of several nodes is meant, whichever can do it."""
    return target is ANY or (isinstance(target, Expression) and target.any)


def is_several(target: Target) -> bool:
    """Return whether all nodes of a kind are meant, though it be but one at the time."""
    return not isinstance(target, Hostname) and not is_any(target)


def means_any(text: str) -> bool:
    """Return what `is_any` says of the target of which this is the text, as `str` has it."""
    return text == ANY or text.startswith(f"{ANY}{AND}")


def parse_target(text: str) -> Target:
    """Read which nodes a request is for; `str` of the answer means the same.

    Parameters:
        text: `_any`, `_all`, a label `key:value`, a node's hostname or machine id, or an expression
            of these: `;` stands for or, `,` for and, which binds tighter, `!` before what is
            excluded, `*` for anything within a hostname or a segment of a label's value.

    Raises `InvalidTarget` when the text can be none of these; whether such a node is there is
    the fleet's to say.
    """
    if text in (ANY, ALL):
        return Quantifier(text)
    if any(sign in text for sign in (OR, AND, NOT, ANYTHING)):
        return _parse_expression(text)
    if ":" in text or "=" in text:
        return parse_label(text)
    return parse_hostname(text)


@functools.lru_cache(_REMEMBERED // 10)
def _parse_expression(text: str) -> Target:
    problem: str | None
    try:
        return _simplest(_expression(text))
    except _Problem as error:
        problem = str(error)
    raise InvalidTarget(f"{quoted(text)} is not a target: {problem}")


class _Problem(Exception):
    """What is wrong with an expression, and its mend."""


def _expression(text: str) -> Expression:
    if len(text) > _LONGEST_EXPRESSION:
        raise _Problem(f"it has {len(text)} characters, use at most {_LONGEST_EXPRESSION}")
    if problem := problem_with_characters(text):
        raise _Problem(problem)
    if (terms := 1 + text.count(OR) + text.count(AND)) > _MOST_TERMS:
        raise _Problem(f"it has {terms} parts, use at most {_MOST_TERMS}: a label says more")
    patterns = sum(ANYTHING in each for part in text.split(OR) for each in part.split(AND))
    if patterns > _MOST_PATTERNS:
        raise _Problem(f"{patterns} of its parts hold {ANYTHING!r}, use at most {_MOST_PATTERNS}")
    parts, quantified = [], 0
    for each in text.split(OR):
        part, one = _part(each)
        parts.append(part)
        quantified += one
    if quantified and (quantified < len(parts) or len({*parts}) < len(parts)):
        raise _Problem(
            f"'{ANY}' means exactly one node of all that are meant: write it once in each part "
            f"between '{OR}', or nowhere"
        )
    return Expression(tuple(sorted({*parts}, key=_order)), quantified > 0)


def _part(text: str) -> tuple[Part, bool]:
    """Read what stands between two `;`, and whether `_any` is there."""
    wanted: set[Term] = set()
    excluded: set[Term] = set()
    quantifiers: list[str] = []
    for each in text.split(AND):
        if not each:
            raise _Problem(f"between its '{OR}' and '{AND}' something is missing, leave one out")
        if each in (ANY, ALL):
            quantifiers.append(each)
        elif not each.startswith(NOT):
            wanted.add(_term(each))
        elif each[1:] in (ANY, ALL, ""):
            raise _Problem(f"{quoted(each)} excludes no names, write {NOT}HOSTNAME or {NOT}LABEL")
        else:
            excluded.add(_term(each[1:]))
    if quantifiers.count(ANY) > 1:
        raise _Problem(f"'{ANY}' stands twice in {quoted(text)}, leave one out")
    if not wanted and not quantifiers:
        raise _Problem(f"{quoted(text)} only excludes, write of which nodes: {ALL}{AND}{text[:80]}")
    return Part(*(tuple(sorted(each, key=str)) for each in (wanted, excluded))), ANY in quantifiers


def _order(part: Part) -> tuple[list[str], list[str]]:
    return [*map(str, part.wanted)], [*map(str, part.excluded)]


def _term(text: str) -> Term:
    if ":" in text or "=" in text:
        label, problem = _label(text, stars=True)
        if problem is None:
            return label
    elif ANYTHING not in text:
        problem = problem_with_text(text, _TARGET_FORM) or problem_with_hostname(text)
        if problem is None:
            return Hostname(text)
    elif not text.strip(ANYTHING):
        problem = f"it would be every node, write '{ALL}'"
    else:
        like = text.replace(ANYTHING, "x")
        problem = problem_with_text(like, _PATTERN_FORM) or problem_with_hostname(like)
        if problem is None:
            return Hostnames(text)
    raise _Problem(f"of {quoted(text)}, {problem}")


def _simplest(found: Expression) -> Target:
    """Return the form without signs, where there is one that means the same."""
    (part, *others) = found.parts
    if others or part.excluded:
        return found
    if not part.wanted:
        return ANY if found.any else ALL
    (term, *more) = part.wanted
    return found if more or found.any or isinstance(term, Hostnames) else term


@functools.lru_cache(_REMEMBERED)
def parse_hostname(text: str) -> Hostname:
    """Read a node's hostname or machine id.

    Parameters:
        text: labels joined by dots, at most 253 characters in total and 63 each (64 where there
            is but one); underscores are tolerated inside a label.

    Raises `InvalidTarget` when the text is neither.

    Source: RFC 1123, section 2.1.
    """
    if problem := problem_with_text(text, _TARGET_FORM) or problem_with_hostname(text):
        raise InvalidTarget(f"{quoted(text)} is not a target: {problem}")
    return Hostname(text)


@functools.lru_cache(_REMEMBERED)
def parse_machine_id(text: str) -> str:
    """Check a node's machine id, which is one token of a broker subject.

    Parameters:
        text: 1 to 64 letters, digits, '-' and '_', a letter or digit first and last.

    Raises `InvalidTarget` when the text is none.
    """
    problem = problem_with_text(text, _MACHINE_ID_FORM)
    if problem is None and "." in text:
        problem = f"it holds '.', write {_MACHINE_ID_FORM}"
    if problem := problem or problem_with_hostname(text):
        raise InvalidTarget(f"{quoted(text)} is not a machine id: {problem}")
    return text


def parse_label(text: str) -> Label:
    """Read a label written `key:value`.

    Parameters:
        text: a key of at most 63 letters, digits, '-' and '_', a letter or digit first and last;
            a colon; at most 16 segments of the same characters, joined by dots. At most 255
            characters in total.

    Raises `InvalidLabel` when the text is none.
    """
    label, problem = _label(text)
    if problem is not None:
        raise InvalidLabel(f"{quoted(text)} is not a label: {problem}")
    return label


def _label(text: str, *, stars: bool = False) -> tuple[Label, str | None]:
    """Return a label, and what is wrong with it; whether `*` may stand in its value."""
    key, colon, value = text.partition(":")
    problem = problem_with_text(text.replace(ANYTHING, "x") if stars else text, _LABEL_FORM)
    if problem is None and not colon:
        problem = f"it has no ':', write {_LABEL_FORM}" + (
            " in place of '='" if "=" in text else ""
        )
    problem = problem or problem_with_key(key) or problem_with_value(value, stars=stars)
    return Label(key, value), problem
