"""By what nodes are found: their machine ids, hostnames and labels."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import TYPE_CHECKING

from towline.wire.wildcard import ANYTHING, matcher

if TYPE_CHECKING:
    from towline.controller.member import Member
    from towline.wire.pattern import NodePattern
    from towline.wire.target import Label

MOST_LIKE = 16
"""Patterns of names for which is kept whose they are: of a large fleet half a megabyte each, and
ten milliseconds to find out."""


class Names:
    """The machine ids of the registered nodes, by what they are called and what they carry.

    Attributes:
        machines: those of all.
        hostnames: by hostname.
        labels: by the key of a label, and by its value or any beginning of that by whole segments.
    """

    def __init__(self) -> None:
        self.machines: set[str] = set()
        self.hostnames: dict[str, set[str]] = {}
        self.labels: dict[str, dict[str, set[str]]] = {}
        self._sorted: list[str] | None = None
        self._like: dict[str, frozenset[str]] = {}
        """What `like` has found, while no node comes, goes or is called otherwise."""

    def add(self, member: Member) -> None:
        """Take what a node is called and what it carries."""
        machine = member.machine
        self._like.clear()
        if machine not in self.machines:
            self._sorted = None
        self.machines.add(machine)
        self.hostnames.setdefault(member.hostname, set()).add(machine)
        for label in member.labels:
            values = self.labels.setdefault(label.key, {})
            for value in _beginnings(label.value):
                values.setdefault(value, set()).add(machine)

    def drop(self, member: Member) -> None:
        """Forget a node."""
        machine = member.machine
        self._like.clear()
        self.machines.discard(machine)
        self._sorted = None
        _lose(self.hostnames, member.hostname, machine)
        for label in member.labels:
            values = self.labels[label.key]
            for value in _beginnings(label.value):
                _lose(values, value, machine)
            if not values:
                del self.labels[label.key]

    def named(self, hostname: str) -> frozenset[str]:
        """Return the nodes of a hostname."""
        return frozenset(self.hostnames.get(hostname, ()))

    def beginning(self, text: str) -> frozenset[str]:
        """Return the nodes of which the machine id begins with a text."""
        if self._sorted is None:
            self._sorted = sorted(self.machines)
        first = bisect.bisect_left(self._sorted, text)
        # No character of a machine id comes after this one.
        last = bisect.bisect_left(self._sorted, text + "\x7f")
        return frozenset(self._sorted[first:last])

    def carrying(self, label: Label) -> frozenset[str]:
        """Return the nodes that carry a label or one below it; `*` may stand in its value."""
        values = self.labels.get(label.key, {})
        if ANYTHING not in label.value:
            return frozenset(values.get(label.value, ()))
        wanted = [matcher(segment) for segment in label.value.split(".")]
        dots = len(wanted) - 1
        # What is longer stands there by its beginning, too.
        return frozenset().union(
            *(
                same
                for value, same in values.items()
                if value.count(".") == dots
                and all(means(part) for means, part in zip(wanted, value.split("."), strict=True))
            )
        )

    def like(self, pattern: str) -> frozenset[str]:
        """Return the nodes whose hostname is like a text, in which `*` may stand."""
        found = self._like.get(pattern)
        if found is None:
            means = matcher(pattern)
            of = (same for name, same in self.hostnames.items() if means(name))
            found = frozenset().union(*of)
            if len(self._like) >= MOST_LIKE:
                del self._like[next(iter(self._like))]
            self._like[pattern] = found
        return found

    def covered(self, pattern: NodePattern) -> frozenset[str]:
        """Return the nodes for which a pattern is, as it says itself of each of them."""
        if pattern.label is not None:
            return self.carrying(pattern.label)
        same = self.like(pattern.text) if ANYTHING in pattern.text else self.named(pattern.text)
        return same | {pattern.text} if pattern.text in self.machines else same

    def all_labels(self) -> Iterator[str]:
        """Yield each label that means some node, as it is written."""
        return (f"{key}:{value}" for key, values in self.labels.items() for value in values)


def _beginnings(value: str) -> Iterator[str]:
    end = value.find(".")
    while end >= 0:
        yield value[:end]
        end = value.find(".", end + 1)
    yield value


def _lose(index: dict[str, set[str]], key: str, machine: str) -> None:
    same = index[key]
    same.discard(machine)
    if not same:
        del index[key]
