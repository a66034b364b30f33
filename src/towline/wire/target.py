"""Targets: which nodes a job is for, and the labels that nodes carry."""

import enum
import functools
import re
from typing import TypeAlias

import msgspec

from towline.wire.text import problem_with_characters, quoted

_LONGEST_TARGET = 255
_LONGEST_HOSTNAME = 253
_LONGEST_KEY = 63
# Linux lets a host name itself with 64 characters (HOST_NAME_MAX), one more than a DNS label has.
_LONGEST_UNDOTTED_NAME = 64
_LONGEST_DNS_LABEL = 63
# More levels than people arrange nodes in.
_MOST_SEGMENTS = 16

# Every request and every message names some of the fleet's.
_REMEMBERED = 10_000

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")

_TARGET_FORM = "a hostname, '_any', '_all' or a label such as 'group:web'"
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
        value: a path of dotted segments, from the general to the particular: `web.dev.eu`.
    """

    key: str
    value: str

    def matches(self, label: "Label") -> bool:
        """Return whether a node that carries `label` is meant by this one, by whole segments.

        >>> Label("group", "web").matches(Label("group", "web.dev.eu"))
        True
        >>> Label("group", "web").matches(Label("group", "website"))
        False
        """
        return self.key == label.key and f"{label.value}.".startswith(f"{self.value}.")

    def __str__(self) -> str:
        return f"{self.key}:{self.value}"


Target: TypeAlias = Hostname | Label | Quantifier


def parse_target(text: str) -> Target:
    """Read which nodes a request is for; `str` of the answer is the text again.

    Parameters:
        text: `_any`, `_all`, a label `key:value`, or a node's hostname or machine id.

    Raises `InvalidTarget` when the text can be none of these; whether such a node is there is
    the fleet's to say.
    """
    if text in (ANY, ALL):
        return Quantifier(text)
    if ":" in text or "=" in text:
        return parse_label(text)
    return parse_hostname(text)


@functools.lru_cache(_REMEMBERED)
def parse_hostname(text: str) -> Hostname:
    """Read a node's hostname or machine id.

    Parameters:
        text: labels joined by dots, at most 253 characters in total and 63 each (64 where there
            is but one); underscores are tolerated inside a label.

    Raises `InvalidTarget` when the text is neither.

    Source: RFC 1123, section 2.1.
    """
    if problem := _problem_with_text(text, _TARGET_FORM) or _problem_with_hostname(text):
        raise InvalidTarget(f"{quoted(text)} is not a target: {problem}")
    return Hostname(text)


@functools.lru_cache(_REMEMBERED)
def parse_machine_id(text: str) -> str:
    """Check a node's machine id, which is one token of a broker subject.

    Parameters:
        text: 1 to 64 letters, digits, '-' and '_', a letter or digit first and last.

    Raises `InvalidTarget` when the text is none.
    """
    problem = _problem_with_text(text, _MACHINE_ID_FORM)
    if problem is None and "." in text:
        problem = f"it holds '.', write {_MACHINE_ID_FORM}"
    if problem := problem or _problem_with_hostname(text):
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
    key, colon, value = text.partition(":")
    problem = _problem_with_text(text, _LABEL_FORM)
    if problem is None and not colon:
        problem = f"it has no ':', write {_LABEL_FORM}" + (
            " in place of '='" if "=" in text else ""
        )
    if problem := problem or _problem_with_key(key) or _problem_with_value(value):
        raise InvalidLabel(f"{quoted(text)} is not a label: {problem}")
    return Label(key, value)


def _problem_with_text(text: str, form: str) -> str | None:
    if not text:
        return f"it is empty, write {form}"
    if len(text) > _LONGEST_TARGET:
        return f"it has {len(text)} characters, use at most {_LONGEST_TARGET}"
    if problem := problem_with_characters(text):
        return problem
    for mark in "/*>":  # the last two are the broker's wildcards
        if mark in text:
            return f"it holds {mark!r}, write {form}"
    return None


def _problem_with_hostname(text: str) -> str | None:
    if text.startswith("_"):
        return "names that begin with '_' are reserved, write '_any', '_all' or a hostname"
    if len(text) > _LONGEST_HOSTNAME:
        return f"it has {len(text)} characters, use at most {_LONGEST_HOSTNAME}"
    parts = text.split(".")
    longest = _LONGEST_UNDOTTED_NAME if len(parts) == 1 else _LONGEST_DNS_LABEL
    for part in parts:
        if not part:
            return "a part between its dots is empty, leave out the extra '.'"
        if len(part) > longest:
            return f"{quoted(part)} has {len(part)} characters, use at most {longest}"
        if not _NAME.fullmatch(part):
            return (
                f"{quoted(part)} is not allowed as a name, use letters, digits, '-' and '_', "
                "a letter or digit first and last"
            )
    return None


def _problem_with_key(key: str) -> str | None:
    if not key:
        return "it has no key before the ':', write key:value"
    if len(key) > _LONGEST_KEY:
        return f"its key has {len(key)} characters, use at most {_LONGEST_KEY}"
    if not _NAME.fullmatch(key):
        return (
            f"its key {quoted(key)} is not allowed, use letters, digits, '-' and '_', "
            "a letter or digit first and last"
        )
    return None


def _problem_with_value(value: str) -> str | None:
    if not value:
        return "it has no value after the ':', write key:value"
    segments = value.split(".")
    if len(segments) > _MOST_SEGMENTS:
        return f"its value has {len(segments)} segments, use at most {_MOST_SEGMENTS}"
    for segment in segments:
        if not segment:
            return "a segment between its value's dots is empty, leave out the extra '.'"
        if not _SEGMENT.fullmatch(segment):
            return (
                f"{quoted(segment)} is not allowed in its value, "
                "use letters, digits, '-' and '_', joined by dots"
            )
    return None
