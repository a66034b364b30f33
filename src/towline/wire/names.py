"""The rules of names: what hostnames, machine ids and labels may be made of."""

import re

from towline.wire.text import problem_with_characters, quoted

OF_SETS = "set:"
"""What the callers of jobs begin with that sets make, before the set's name: no token has such a
subject."""

_LONGEST_TARGET = 255
_LONGEST_HOSTNAME = 253
_LONGEST_KEY = 63
# Linux lets a host name itself with 64 characters (HOST_NAME_MAX), one more than a DNS label has.
_LONGEST_UNDOTTED_NAME = 64
_LONGEST_DNS_LABEL = 63
# More levels than people arrange nodes in.
_MOST_SEGMENTS = 16

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
_SEGMENT_PATTERN = re.compile(r"[A-Za-z0-9_*-]+")


def problem_with_text(text: str, form: str) -> str | None:
    """Say what is wrong with a text that is to be a name or a label, or None.

    Parameters:
        form: what is to be written in its place.
    """
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


def problem_with_hostname(text: str) -> str | None:
    """Say what is wrong with a hostname or a machine id, or None."""
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


def problem_with_key(key: str) -> str | None:
    """Say what is wrong with a label's key, or None."""
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


def problem_with_value(value: str, *, stars: bool = False) -> str | None:
    """Say what is wrong with a label's value, or None.

    Parameters:
        stars: whether `*` may stand in it.
    """
    if not value:
        return "it has no value after the ':', write key:value"
    segments = value.split(".")
    if len(segments) > _MOST_SEGMENTS:
        return f"its value has {len(segments)} segments, use at most {_MOST_SEGMENTS}"
    for segment in segments:
        if not segment:
            return "a segment between its value's dots is empty, leave out the extra '.'"
        if not (_SEGMENT_PATTERN if stars else _SEGMENT).fullmatch(segment):
            return (
                f"{quoted(segment)} is not allowed in its value, "
                "use letters, digits, '-' and '_', joined by dots"
            )
    return None
