"""Patterns: which nodes something that is narrowed is for."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import msgspec

from towline.wire.target import InvalidTarget, Label, parse_hostname, parse_label
from towline.wire.wildcard import ANYTHING, matches


class NodePattern(msgspec.Struct, frozen=True):
    """The nodes that carry a label or one below it, or whose name is like a text.

    Attributes:
        text: as it was written.
        label: None for one of names.
    """

    text: str
    label: Label | None = None

    def covers(self, machine: str, hostname: str, labels: Iterable[Label]) -> bool:
        """Return whether a node is meant. Of its machine id there are no patterns."""
        if self.label is not None:
            return any(self.label.matches(label) for label in labels)
        return machine == self.text or matches(self.text, hostname)


@functools.lru_cache(maxsize=1024)
def parse_nodes(text: str) -> NodePattern:
    """Read which nodes are meant.

    Parameters:
        text: a label `key:value`, a machine id, or a hostname, in which `*` stands for anything.

    Raises `InvalidTarget` when the text is none.
    """
    if ":" in text or "=" in text:
        return NodePattern(text, parse_label(text))
    try:
        parse_hostname(text.replace(ANYTHING, "x"))
    except InvalidTarget as error:
        raise InvalidTarget(f"{error}; '*' stands for any characters of a hostname") from error
    return NodePattern(text)
