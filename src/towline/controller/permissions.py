"""Permissions: what they are written like, and how far one that is narrowed goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from towline.controller.names import Names
from towline.endpoint import PERMISSION
from towline.errors import Forbidden
from towline.operation import AnyOperation
from towline.wire.fact_references import refers
from towline.wire.pattern import NodePattern, parse_nodes
from towline.wire.target import (
    AND,
    Hostname,
    Hostnames,
    InvalidTarget,
    Label,
    Target,
    Term,
    parts_of,
)
from towline.wire.wildcard import ANYTHING, matches

LONGEST = 1024
"""Characters of a permission, with all that narrows it."""
NARROWED = "@"
MOST_NAMED = 5
"""Nodes that a refusal names."""


class Place(Protocol):
    """A node, as far as permissions are narrowed to some."""

    @property
    def machine(self) -> str:
        """The machine id."""

    @property
    def hostname(self) -> str:
        """The name for people."""

    @property
    def labels(self) -> Sequence[Label]:
        """What it carries."""


P = TypeVar("P", bound=Place)


class Grant(msgspec.Struct, frozen=True):
    """A permission that is narrowed.

    Attributes:
        permission: what it is without that.
        scope: what it is narrowed to, as it was written.
        nodes: the nodes that it is for; None for all.
        values: patterns of the parameters that it is for, by their names.
    """

    permission: str
    scope: str
    nodes: NodePattern | None = None
    values: dict[str, str] = {}

    def covers(self, place: Place) -> bool:
        """Return whether it is for a node."""
        return self.nodes is None or self.nodes.covers(place.machine, place.hostname, place.labels)

    def within(self, other: Grant) -> bool:
        """Return whether whatever it is for another one is for as well."""
        if other.nodes is not None and self.nodes != other.nodes:
            label = None if self.nodes is None else self.nodes.label
            if label is None or other.nodes.label is None or not other.nodes.label.matches(label):
                return False
        return other.values.items() <= self.values.items()


def parse_grant(text: str) -> Grant:
    """Read a permission that is narrowed.

    Args:
        text: `domain:verb@NODES`, `domain:verb@NODES,PARAMETER=PATTERN…`, or without nodes.

    Raises:
        ValueError: it is none; the text says why.
    """
    permission, _, scope = text.partition(NARROWED)
    wanted = "write docker:write@group:web, or docker:write@web-*,image=registry.example/*"
    if len(text) > LONGEST or not text.isprintable() or not PERMISSION.fullmatch(permission):
        raise ValueError(f"{text[:80]!r} is no permission: {wanted}")
    nodes: NodePattern | None = None
    values: dict[str, str] = {}
    for part in scope.split(","):
        name, equals, pattern = part.partition("=")
        if equals and name.isidentifier() and pattern and name not in values:
            values[name] = pattern
        elif not equals and nodes is None:
            try:
                nodes = parse_nodes(part)
            except InvalidTarget as error:
                raise ValueError(f"{text[:80]!r} is no permission: {error}") from error
        else:
            raise ValueError(f"{text[:80]!r} is no permission at {part[:80]!r}: {wanted}")
    return Grant(permission, scope, nodes, values)


class Bounds:
    """How far a caller's permission goes: everywhere, or as far as narrowed ones say together.

    Args:
        grants: None for everywhere.
    """

    def __init__(self, subject: str, permission: str, grants: Sequence[Grant] | None) -> None:
        self._subject = subject
        self._permission = permission
        self._grants = grants

    @property
    def everywhere(self) -> bool:
        """Whether nothing narrows it."""
        return self._grants is None

    def patterns(self, operation: AnyOperation | None, parameters: Mapping[str, Any]) -> list[str]:
        """Return the patterns of the nodes on which an operation may be run; none for all nodes.

        Raises:
            Forbidden: it may be run with these parameters on no node.
        """
        able = self._able(operation, parameters)
        if able is None or any(grant.nodes is None for grant in able):
            return []
        return sorted({grant.nodes.text for grant in able if grant.nodes is not None})

    def check(
        self,
        places: Iterable[Place],
        operation: AnyOperation | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse what is not wholly inside.

        Args:
            places: the nodes that a request is about.
            operation: what is done there; None where it is no operation of this version.
            parameters: the operation's.

        Raises:
            Forbidden: with what is outside.
        """
        able = self._able(operation, parameters or {})
        if able is None:
            return
        outside = [
            place.hostname for place in places if not any(grant.covers(place) for grant in able)
        ]
        if outside:
            more = len(outside) - MOST_NAMED
            named = ", ".join(outside[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            raise self.refusal(f"{named} {'is' if len(outside) == 1 else 'are'} outside of that")

    def check_target(
        self,
        target: Target,
        operation: AnyOperation | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse a target unless whatever it means, now or later, is certain to be inside.

        That is so where each of its parts has one of the labels, or one of the names, that the
        permission is narrowed to, or something narrower.

        Args:
            operation, parameters: as of `check`.

        Raises:
            Forbidden: with how to write the target so that it is inside.
        """
        able = self._able(operation, parameters or {})
        if able is None:
            return
        patterns = [grant.nodes for grant in able]
        for part in parts_of(target):
            if not any(
                pattern is None or any(_certain(term, pattern) for term in part.wanted)
                for pattern in patterns
            ):
                kept = next(pattern.text for pattern in patterns if pattern is not None)
                raise self.refusal(
                    f"the target {str(target)[:200]!r} may come to mean nodes outside of that: "
                    f"write {AND + kept!r} behind it, or behind each of its parts"
                )

    def inside(
        self,
        places: Iterable[P],
        operation: AnyOperation | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> list[P]:
        """Return those of some nodes that are inside; raises as `patterns`."""
        able = self._able(operation, parameters or {})
        if able is None:
            return list(places)
        return [place for place in places if any(grant.covers(place) for grant in able)]

    def among(self, names: Names) -> frozenset[str]:
        """Return the machine ids of those registered nodes that are inside; raises as `patterns`.

        It is what `inside` says of all of them, without a look at each.
        """
        able = self._able(None, {})
        if able is None or any(grant.nodes is None for grant in able):
            return names.like(ANYTHING)
        covered = [names.covered(grant.nodes) for grant in able if grant.nodes is not None]
        return covered[0] if len(covered) == 1 else frozenset().union(*covered)

    def refusal(self, outside: str) -> Forbidden:
        """Return the error of a request that is not inside.

        Args:
            outside: what is not, as the end of a sentence.
        """
        scopes = " or ".join(grant.scope for grant in self._grants or ())
        return Forbidden(
            f"The permission {self._permission!r} of the token of {self._subject!r} is only for "
            f"{scopes}, and {outside}.",
            "Nothing was done: ask for less, or with a token that may do more",
        )

    def _able(
        self, operation: AnyOperation | None, parameters: Mapping[str, Any]
    ) -> list[Grant] | None:
        """Return the grants that cover the parameters, None where nothing is narrowed.

        Raises:
            Forbidden: none does.
        """
        if self._grants is None:
            return None
        outside: dict[str, None] = {}
        able = []
        for grant in self._grants:
            found = _outside(grant, operation, parameters)
            if found is None:
                able.append(grant)
            else:
                outside[found] = None
        if not able:
            raise self.refusal(", ".join(outside))
        return able


def _certain(term: Term, pattern: NodePattern) -> bool:
    """Return whether all nodes that a term could mean are a pattern's."""
    match term:
        case Label():
            return pattern.label is not None and pattern.label.matches(term)
        case Hostname(name):
            # It may be a machine id, too, and of these there are no patterns.
            return pattern.label is None and pattern.text == name
        case Hostnames(like):
            # What `*` stands for there, it may stand for here.
            return pattern.label is None and matches(pattern.text, like)


def _outside(
    grant: Grant, operation: AnyOperation | None, parameters: Mapping[str, Any]
) -> str | None:
    """Return what a grant doesn't cover of an operation's parameters, or None."""
    if operation is None or not grant.values:
        return "what is asked has no parameters" if grant.values else None
    defaults = {each.name: each.default for each in operation.signature.parameters}
    for name, pattern in grant.values.items():
        value = parameters.get(name, defaults.get(name))
        if value in (None, [], msgspec.NODEFAULT):  # to name none may mean all
            return f"no {name} is given"
        if refers(value):
            return f"what {name} {str(value)[:80]!r} means is known on the node alone"
        for each in value if isinstance(value, list) else [value]:
            text = operation.signature.text(name, each)
            if text is None or not matches(pattern, text):
                return f"{name} {str(each if text is None else text)[:200]!r} is outside of that"
    return None


def covers(held: Iterable[str], permission: str) -> bool:
    """Return whether whoever has some permissions has this one, too; narrowed or not.

    It is certain where it is so: of two patterns of names only equal ones count.

    Raises:
        ValueError: one that is narrowed is none.
    """
    plain = permission.partition(NARROWED)[0]
    asked = parse_grant(permission) if plain != permission else None
    for each in held:
        if each in (plain, permission):
            return True
        narrowed = asked is not None and each.startswith(plain + NARROWED)
        if narrowed and asked is not None and asked.within(parse_grant(each)):
            return True
    return False


def common(some: Iterable[str], others: Iterable[str]) -> frozenset[str]:
    """Return the permissions that are in both, as narrow as in the narrower; see `covers`."""
    some, others = frozenset(some), frozenset(others)
    both = {each for each in some if covers(others, each)}
    return frozenset(both | {each for each in others if covers(some, each)})
