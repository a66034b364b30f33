"""What stands in the cells of tables: ids and digests, short or whole, and moments as ages."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec

from towline.cli.form import Form
from towline.wire.reference import InvalidReference, Reference

SHORT_DIGEST = 12
"""Hexadecimal digits that tell images apart; engines show as many."""
SHORT_MACHINE = 12
"""Characters of a machine id that tell machines apart."""
NOTHING = "-"
_DIGEST = re.compile(r"(sha(?:256|384|512):)([0-9a-f]{64,128})")
_LONG_ID = re.compile(r"[0-9a-f]{64}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Short(msgspec.Struct, frozen=True):
    """An id, or a text with ids in it.

    Attributes:
        short: what is shown of it.
        id: whether it is nothing but an id: that is shown so, or not at all.
    """

    short: str
    whole: str
    id: bool = True


class Moment(msgspec.Struct, frozen=True):
    """A moment, RFC 3339 text, which tables show by how long ago it is."""

    at: str


Cell = str | Short | Moment | None
"""What may stand in a cell; None for nothing."""


def digest(text: str) -> Short:
    """Return a digest, or a text with digests in it: `sha256:11fa8c2b41d0` is shown of each."""
    short = _DIGEST.sub(lambda found: found[1] + found[2][:SHORT_DIGEST], text)
    return Short(short, text, id=_DIGEST.fullmatch(text) is not None)


def image_name(text: str) -> str:
    """Return the name of an image as people know it; a text that is none as it is."""
    try:
        return Reference.parse(text).familiar
    except InvalidReference:
        return text


def image_names(names: Sequence[str]) -> Cell:
    """Return the names of an image: the first of them is shown, and how many more there are."""
    known = [image_name(name) for name in names]
    if not known:
        return None
    more = f" +{len(known) - 1}" if len(known) > 1 else ""
    # A part of a digest is none, as of any id.
    return Short(f"{digest(known[0]).short}{more}", ", ".join(known), id="@" in known[0])


def job_id(text: str) -> Short:
    """Return a job's id: its last group is shown, since the first ones are the time, and alike."""
    return Short(text.rpartition("-")[2], text)


def machine_id(text: str) -> Short:
    """Return a machine id: the first characters of it are shown."""
    return Short(text[:SHORT_MACHINE], text)


def container_id(text: str) -> Short:
    """Return the id of a container: as much of it is shown as engines show."""
    return Short(text[:SHORT_DIGEST], text)


def in_form(cell: Cell, form: Form, now: float | None = None) -> str:
    """Return what a cell shows in this form.

    Args:
        now: the present moment, in seconds since 1970; None to look.
    """
    match cell:
        case None:
            return ""
        case Short():
            return cell.whole if form.whole else cell.short
        case Moment(at):
            return at if form.output == "wide" else age(at, now)
        case _:
            return cell


def age(moment: str, now: float | None = None) -> str:
    """Return how long ago a moment is, in one unit: 5 s, 3 min, 2 h, 5 d; "in 2 h" if it comes.

    A text that is no moment is returned as it is.

    Args:
        now: the present moment, in seconds since 1970; None to look.
    """
    then = _seconds(moment)
    if then is None:
        return moment
    seconds = (time.time() if now is None else now) - then
    # Another machine's clock may be a little ahead.
    return about(seconds) if seconds > -_MINUTE else f"in {about(-seconds)}"


def between(begin: str, moment: str) -> float | None:
    """Return how many seconds a moment is after another, or None where one of them is none."""
    first, then = _seconds(begin), _seconds(moment)
    return None if first is None or then is None else then - first


def _seconds(moment: str) -> float | None:
    """Return a moment in seconds since 1970, or None for a text that is none."""
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return None if then.tzinfo is None else then.timestamp()


def about(seconds: float) -> str:
    """Return a duration in one unit, rounded down: 5 s, 3 min, 2 h, 5 d."""
    whole = int(max(0.0, seconds))
    for unit, name, least in ((_DAY, "d", 2 * _DAY), (_HOUR, "h", 2 * _HOUR), (_MINUTE, "min", 60)):
        if whole >= least:
            return f"{whole // unit} {name}"
    return f"{whole} s"


def cell_of(value: object, name: str = "") -> Cell:
    """Return the cell of any value of an answer.

    Moments become ages, and digests and long ids short ones.

    Args:
        name: the field's.
    """
    match value:
        case None:
            return None
        case bool() | float():
            return _plain(value)
        case str() if _MOMENT.fullmatch(value):
            return Moment(value)
        case str() if name == "machine_id":
            return machine_id(value)
        case str() if _LONG_ID.fullmatch(value):
            return container_id(value)
        case str() if _DIGEST.search(value):
            return digest(value)
        case str():
            return value
        case list() if all(isinstance(each, (str, int, float)) for each in value):
            return ", ".join(map(_plain, value))
        case dict() if all(isinstance(each, (str, int, float)) for each in value.values()):
            return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
        case _:
            return json.dumps(value, ensure_ascii=False)


def lines_of(value: object, name: str = "") -> list[Cell]:
    """Return the cells of a value that has a line of its own for each of the things it lists."""
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return [cell_of(each) for each in value]
    return [cell_of(value, name)]


def _plain(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.2f}".rstrip("0").rstrip(".")
        case _:
            return str(value)


def head_of(name: str) -> str:
    """Return the head of the column that a field of an answer has."""
    return name.replace("_", " ").upper()


def twins(nodes: Iterable[tuple[str, str | None]]) -> frozenset[str]:
    """Return the hostnames that several machines have.

    Args:
        nodes: hostname and machine id of each; a node may be among them several times.
    """
    seen: dict[str, str | None] = {}
    alike = set()
    for hostname, machine in nodes:
        if seen.setdefault(hostname, machine) != machine:
            alike.add(hostname)
    return frozenset(alike)


def node_name(hostname: str, machine: str | None, alike: Collection[str]) -> Cell:
    """Return a node's name; one that is not the only one of its hostname has its machine id beside.

    Args:
        alike: see `twins`.
    """
    if hostname not in alike or machine is None:
        return hostname
    return Short(f"{hostname} ({machine[:SHORT_MACHINE]})", f"{hostname} ({machine})")
