"""Which nodes a target means, among those that are registered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from towline.controller.nearest import nearest
from towline.errors import Forbidden, InvalidRequest, NoNodes, NotFound, did_you_mean
from towline.units import timestamp
from towline.wire.target import (
    ALL,
    AND,
    NOT,
    OR,
    Hostname,
    Hostnames,
    Label,
    Part,
    Quantifier,
    Target,
    Term,
    parts_of,
)
from towline.wire.text import quoted
from towline.wire.wildcard import ANYTHING

if TYPE_CHECKING:
    from towline.controller.fleet import Fleet
    from towline.controller.member import Member
    from towline.controller.permissions import Bounds

SHORTEST_ID = 12
"""Characters of a machine id that stand for it, where it alone begins so."""
_MOST_LISTED = 5
_SHOWS = "GET /agent shows"


def one(fleet: Fleet, name: str, seen: Bounds | None = None) -> Member:
    """Return the node of this hostname or machine id, or of which the machine id begins so.

    Args:
        seen: as of `resolve`.

    Raises:
        NotFound: there is none.
        InvalidRequest: several have that hostname, and not just one of them is here, or several
            machine ids begin so.
    """
    found = _called(fleet, name)
    if not found:
        raise NotFound(*_nobody(fleet, name, seen))
    return _the_one(fleet, name, found)


def resolve(fleet: Fleet, target: Target, seen: Bounds | None = None) -> list[Member]:
    """Return the nodes that a target means, in the order of `Fleet.members`; as `meant_by`."""
    return list(fleet.some(meant_by(fleet, target, seen)))


def meant_by(fleet: Fleet, target: Target, seen: Bounds | None = None) -> frozenset[str]:
    """Return the machine ids of the nodes that a target means; for any one, all of which one acts.

    A hostname that several nodes have means the one that is here, where just one is. Of what is
    excluded it means all.

    Args:
        seen: which nodes whoever asks may read; None for none. An error asks whether one of these
            was meant, or a label of theirs, and no other.

    Raises:
        NoNodes: no node is registered at all, or all were revoked.
        InvalidRequest: no registered node has that name or label, or one of those that an
            expression names, or none is left of them; it was revoked, or it is not known which of
            several is meant.
    """
    if not fleet.registered:
        raise NoNodes(
            "No node is registered.", "Start an agent: towline agent --nats URL, see towline up"
        )
    if isinstance(target, Hostname):
        return frozenset([_named(fleet, target.name, seen).machine])
    if isinstance(target, Quantifier):
        if found := fleet.unbarred(fleet.names.like(ANYTHING)):
            return found
        raise NoNodes("All nodes that are registered were revoked.", "Let another one in")
    parts = parts_of(target)
    found = frozenset().union(*(_asked(fleet, part, seen) for part in parts))
    if not found:
        raise _nothing_left(fleet, parts[0], target)
    return found


def candidates(fleet: Fleet, target: Target) -> frozenset[str] | None:
    """Return the machine ids of the nodes that the target of a job that is there means just now.

    None for all. What no node has any more means none.
    """
    if isinstance(target, Quantifier):
        return None
    parts = parts_of(target)
    return frozenset().union(
        *(
            _left(
                fleet,
                [_of_right(fleet, term, _meant(fleet, term)) for term in part.wanted],
                [_spared(fleet, term) for term in part.excluded],
            )
            for part in parts
        )
    )


def _asked(fleet: Fleet, part: Part, seen: Bounds | None) -> frozenset[str]:
    """Return the machine ids of the nodes that a part of an expression means; perhaps none.

    Raises:
        InvalidRequest: one of its terms means no node, or a name not just one.
    """
    wanted = [
        frozenset([_named(fleet, term.name, seen).machine])
        if isinstance(term, Hostname)
        else _some(fleet, term, _meant(fleet, term) - fleet.shut_out.keys(), seen)
        for term in part.wanted
    ]
    spared = []
    for term in part.excluded:
        meant = _some(fleet, term, _spared(fleet, term), seen, excluded=True)
        if isinstance(term, Hostname) and not fleet.names.named(term.name):
            _the_one(fleet, term.name, meant)
        spared.append(meant)
    return _left(fleet, wanted, spared)


def _left(
    fleet: Fleet, wanted: list[frozenset[str]], spared: list[frozenset[str]]
) -> frozenset[str]:
    """Return the nodes that are all of some, and none of others; revoked ones are left out."""
    # The smallest first: most names and labels mean few of a fleet.
    first, *others = sorted(wanted, key=len) or [frozenset(fleet.names.machines)]
    return first.intersection(*others).difference(*spared, fleet.shut_out)


def _meant(fleet: Fleet, term: Term) -> frozenset[str]:
    """Return the machine ids of the nodes that a term means, revoked ones among them."""
    names = fleet.names
    match term:
        case Hostname(name):
            return _called(fleet, name)
        case Label():
            return names.carrying(term)
        case Hostnames():
            return names.like(term.pattern)


def _of_right(fleet: Fleet, term: Term, found: frozenset[str]) -> frozenset[str]:
    """Return of the nodes of one hostname that which has it for itself, by an invite; else all."""
    if not isinstance(term, Hostname) or len(found) < 2 or not fleet.names.named(term.name):
        return found
    return frozenset(filter(fleet.is_invited, found)) or found


def _spared(fleet: Fleet, term: Term) -> frozenset[str]:
    """Return the machine ids of the nodes that a term means where it is excluded.

    A name that is one node's machine id and another's hostname is both's there.
    """
    meant = _meant(fleet, term)
    return meant | fleet.names.named(term.name) if isinstance(term, Hostname) else meant


def _some(
    fleet: Fleet,
    term: Term,
    meant: frozenset[str],
    seen: Bounds | None,
    *,
    excluded: bool = False,
) -> frozenset[str]:
    """Return the nodes that a term means.

    Raises:
        InvalidRequest: it means none.
    """
    if meant:
        return meant
    error, details = _nobody(fleet, str(term), seen) if isinstance(term, Hostname) else ("", "")
    if isinstance(term, Hostnames):
        error, details = (
            f"No registered node has a name like {str(term)!r}.",
            f"{_SHOWS} those that are registered",
        )
    elif isinstance(term, Label):
        error = f"No registered node carries the label {str(term)!r}."
        error = _asking(error, str(term), _labels(fleet, seen))
        details = f"{_SHOWS} the labels that nodes carry"
    if excluded:
        details = f"A name that is misspelt behind {NOT!r} would spare nobody. {details}"
    raise InvalidRequest(error, details)


def _nobody(fleet: Fleet, name: str, seen: Bounds | None) -> tuple[str, str]:
    return (
        _asking(f"No registered node is called {name!r}.", name, _hostnames(fleet, seen)),
        f"{_SHOWS} those that are registered",
    )


def _hostnames(fleet: Fleet, seen: Bounds | None) -> Iterable[str]:
    if seen is not None and seen.everywhere:
        return fleet.names.hostnames
    return {member.hostname for member in _seen(fleet, seen)}


def _labels(fleet: Fleet, seen: Bounds | None) -> Iterable[str]:
    if seen is not None and seen.everywhere:
        return fleet.names.all_labels()
    return {str(label) for member in _seen(fleet, seen) for label in member.labels}


def _seen(fleet: Fleet, seen: Bounds | None) -> list[Member]:
    try:
        return [] if seen is None else list(fleet.some(fleet.inside(seen)))
    except Forbidden:  # what is narrowed to parameters covers no reading
        return []


def _asking(error: str, text: str, names: Iterable[str]) -> str:
    """Return an error with the question whether something else was meant, where it is like that."""
    return f"{error} {did_you_mean(text, sorted(nearest(text, names)))}".rstrip()


def _called(fleet: Fleet, name: str) -> frozenset[str]:
    """Return the machine ids of the nodes of a hostname or machine id, or of a shortened one."""
    if fleet.get(name) is not None:
        return frozenset([name])
    same = fleet.names.named(name)
    return same if same or len(name) < SHORTEST_ID else fleet.names.beginning(name)


def _named(fleet: Fleet, name: str, seen: Bounds | None) -> Member:
    """Return the one node of a name, which takes work; raises as `resolve`."""
    found = _called(fleet, name)
    if not found:
        raise InvalidRequest(*_nobody(fleet, name, seen))
    member = _the_one(fleet, name, found)
    if member.revoked is not None:
        since, by = member.revoked
        raise InvalidRequest(
            f"{member.hostname} was revoked, at {timestamp(since)}, by {by}: it takes no "
            "work any more.",
            f"DELETE /agent/{member.hostname} forgets it",
        )
    return member


def _the_one(fleet: Fleet, name: str, found: frozenset[str]) -> Member:
    """Return the node that a name means, of those that have it; of several the one that is here.

    One that came by an invite has its name for itself: no other can take it by saying so.

    Raises:
        InvalidRequest: of several not just one is here, or the name is the beginning of several
            machine ids.
    """
    machines = sorted(_of_right(fleet, Hostname(name), found))
    if len(machines) > 1 and not fleet.names.named(name):
        raise InvalidRequest(
            f"{name!r} is the beginning of {len(machines)} machine ids: write more of it.",
            f"They are {_listed(machines)}",
        )
    if len(machines) > 1:
        machines = [each for each in machines if each not in fleet.shut_out] or machines
    members = [member for each in machines if (member := fleet.get(each)) is not None]
    here = [member for member in members if member.here]
    chosen = members if len(members) == 1 else here
    if len(chosen) != 1:
        raise InvalidRequest(
            f"The hostname {name!r} belongs to {len(machines)} nodes, of which "
            f"{len(here)} are here: name one by its machine id.",
            f"Their machine ids: {', '.join(machines)}",
        )
    return chosen[0]


def _listed(machines: list[str]) -> str:
    more = len(machines) - _MOST_LISTED
    return ", ".join(machines[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _nothing_left(fleet: Fleet, part: Part, target: Target) -> InvalidRequest:
    """Return the refusal of an expression of which each term means some node, and together none."""
    left = fleet.names.machines - fleet.shut_out.keys()
    so_far: list[str] = [] if part.wanted else [str(ALL)]
    why = ""
    for term in part.wanted:
        left &= _meant(fleet, term)
        if not left:
            why = f"no node of {AND.join(so_far)!r} is one of {str(term)!r}, too"
            break
        so_far.append(str(term))
    if not why:
        but = AND.join(f"{NOT}{term}" for term in part.excluded)
        why = f"{but!r} leaves none of {AND.join(so_far)!r}"
    names = [str(term) for term in part.wanted if isinstance(term, Hostname)]
    mend = f"{AND!r} means and, {OR!r} means or, {NOT!r} excludes"
    if len(names) > 1:
        mend += f": perhaps {OR.join(names)[:200]!r} is meant"
    return InvalidRequest(f"The target {quoted(str(target))} means no node: {why}.", mend)
