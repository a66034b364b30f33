"""Modules of new operations, as text: programs import them from a directory."""

from tests.testing.cluster import DB_1

SIGNAL = '''\
import msgspec
from towline.operation import Effect, operation

class Hoisted(msgspec.Struct):
    flags: str

@operation("signal.hoist", "POST signal", permission="signal:write", effect=Effect.CONVERGE)
async def hoist(node, *, text: str) -> Hoisted:
    """Hoist a text in flags."""
    return Hoisted(f"{node.hostname}: {text.upper()}")
'''
SHIP = '''\
"""What the shorter one leaves open: query, placeholders, and what must not run twice."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from towline.errors import TaskFailed
from towline.operation import Effect, operation

class Course(msgspec.Struct):
    heading: str
    knots: int

Knots = Annotated[int, Meta(ge=1, le=40, description="Speed through the water.")]

@operation("ship.course", "GET ship/course", permission="ship:read", effect=Effect.READ)
async def course(node, *, heading: Literal["north", "south"] = "north", knots: Knots = 8) -> Course:
    """Return a course."""
    return Course(heading, knots)

class Cabin(msgspec.Struct, omit_defaults=True):
    name: str
    berth: int
    guests: list[str] = []

@operation("ship.berth", "GET ship/{name}/berth/{berth}", permission="ship:read",
           effect=Effect.READ)
async def berth(node, *, name: str, berth: int) -> Cabin:
    return Cabin(name, berth)

@operation("ship.assign", "PUT ship/{name}/berth/{berth}", permission="ship:write",
           effect=Effect.CONVERGE)
async def assign(
    node, *, name: str, berth: Annotated[int, Meta(ge=1)], guests: list[str] = []
) -> Cabin:
    if name == "mutinous":
        raise TaskFailed("nobody wants to go aboard")
    return Cabin(name, berth, guests)

Bell = Annotated[str, Meta(pattern="^[a-z]+$")]

class Struck(msgspec.Struct):
    strokes: int

@operation("ship.bell", "POST ship/{name}/bell", permission="ship:execute", effect=Effect.ONCE)
async def bell(node, *, name: Bell) -> Struck:
    file = Path(__file__).with_name(f"{node.hostname}-{name}")
    with file.open("a") as strokes:
        strokes.write("*")
    while file.with_suffix(".held").exists():
        await asyncio.sleep(0.02)
    return Struck(len(file.read_text()))
'''
HARBOUR = '''\
"""The wider forms: rows, a status of its own, codes, routes and bodies that are rare."""

from typing import Annotated

import msgspec
from msgspec import Meta

from towline.errors import TaskFailed
from towline.operation import Effect, operation
from towline.signature import Body

BERTHS = {"north": "fram", "south": ""}
READS = {"permission": "harbour:read", "effect": Effect.READ}

class Harbour(msgspec.Struct):
    berths: int

@operation("harbour.look.get", "GET", **READS)
async def look(node) -> Harbour:
    return Harbour(len(BERTHS))

class Berth(msgspec.Struct, omit_defaults=True):
    name: str
    ship: str = ""

@operation("harbour.berths.get", "GET harbour/berth", **READS)
async def berths(node, *, free: bool = False) -> list[Berth]:
    """List berths; on web-02 there are none."""
    if node.hostname == "web-02":
        return []
    return [Berth(name, ship) for name, ship in BERTHS.items() if not (free and ship)]

@operation("harbour.berth.get", "GET harbour/berth/{name}", errors=(404,), **READS)
async def berth(node, *, name: str) -> Berth:
    if name == "royal":
        raise TaskFailed("the royal berth is not to be looked at", status=403)
    if name not in BERTHS:
        raise TaskFailed(f"there is no berth {name!r}", status=404)
    return Berth(name, BERTHS[name])

class Tide(msgspec.Struct):
    status: str

@operation("harbour.tide.get", "GET harbour/tide", **READS)
async def tide(node, *, stuck: bool = False) -> Tide:
    if stuck:
        raise TaskFailed("the gauge is stuck")
    return Tide("rising")

class Cleared(msgspec.Struct):
    name: str
    force: bool
    changed: bool

@operation("harbour.berth.delete", "DELETE harbour/berth", permission="harbour:write",
           effect=Effect.CONVERGE, success=200, verb="clear")
async def clear(
    node, *, name: Annotated[str, Body], force: Annotated[bool, Body] = False
) -> Cleared:
    return Cleared(name, force, bool(BERTHS.get(name)))

class Hailed(msgspec.Struct):
    words: list[str]

Word = Annotated[str, Meta(pattern="^[a-z0-9 -]+$")]

@operation("harbour.hail.execute", "POST harbour/hail", permission="harbour:write",
           effect=Effect.CONVERGE)
async def hail(node, *, words: list[Word]) -> Hailed:
    return Hailed(words)
'''
OLD = DB_1
UNKNOWN = "does not know signal.hoist"
