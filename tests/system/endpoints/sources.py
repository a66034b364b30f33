"""A module of new endpoints, as text: programs import it from a directory."""

HARBOUR = '''\
import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta

from towline.endpoint import Context, Event, NothingMore, endpoint
from towline.errors import Conflict
from towline.signature import Header, Options, Query, Upload

class Greeting(msgspec.Struct):
    text: str

@endpoint("harbour.greet", "GET /harbour/{name}", permission="harbour:read")
async def greet(context: Context, *, name: str, times: Annotated[int, Meta(ge=1)] = 1) -> Greeting:
    """Greet a ship."""
    return Greeting(" ".join(times * [f"Ahoy {name}!"]) + f" says {context.caller.subject}")

class Tide(msgspec.Struct):
    hour: int

@endpoint("harbour.tide", "GET /harbour/{name}/tide", permission="harbour:read")
async def tide(
    context: Context, *, name: str, hours: int = 3
) -> AsyncIterator[Event[Tide]]:
    """Say the hours of a tide, one after another."""
    if name == "dry":
        raise Conflict("There is no water.", "Dig")
    if name == "still":
        raise NothingMore
    for hour in range(hours):
        yield Event(Tide(hour), id=str(hour), kind="end" if hour == hours - 1 else "tide")
        await asyncio.sleep(0)

class Stowed(msgspec.Struct, omit_defaults=True):
    name: str
    size: int
    label: str
    first: bool
    file: str

@endpoint("harbour.stow", "POST /harbour/{name}/hold", permission="harbour:write", success=(201,),
          locates=True)
async def stow(
    context: Context, *, name: str, cargo: Upload, label: str = "none",
    first: Annotated[bool, Query()] = False,
) -> Stowed:
    """Stow cargo in a ship's hold."""
    context.location = f"/harbour/{name}/hold/{len(cargo.content)}"
    return Stowed(name, len(cargo.content), label, first, cargo.filename)

class Carved(msgspec.Struct):
    figure: str
    size: int

@endpoint("harbour.carve", "PUT /harbour/{name}/figurehead", permission="harbour:write")
async def carve(
    context: Context, *, name: str, wood: Upload,
    figure: Annotated[str, Meta(examples=["@a mermaid's"])],
) -> Carved:
    """Carve a ship's figurehead."""
    return Carved(figure, len(wood.content))

class Berth(msgspec.Struct):
    ship: str
    number: int

@endpoint("harbour.berth", "POST /harbour", permission="harbour:write", success=(201,),
          locates=True)
async def berth(context: Context, *, ship: str, number: Annotated[int, Meta(ge=1, le=9)]) -> Berth:
    """Give a ship a berth."""
    context.location = f"/harbour/{ship}"
    return Berth(ship, number)

class Ropes(Options, frozen=True, kw_only=True):
    bow: int = 1
    stern: int = 1

class Moored(msgspec.Struct):
    ropes: int
    wait: str

@endpoint("harbour.moor", "POST /harbour/{name}/ropes", permission="harbour:write",
          success=(203,), errors=(412,))
async def moor(
    context: Context, *, name: str, wait: str = "tide", ropes: Ropes = Ropes()
) -> Moored:
    """Moor a ship; the ropes are a group of the endpoint's own."""
    return Moored(ropes.bow + ropes.stern, wait)

@endpoint("harbour.leave", "DELETE /harbour/{name}", permission="harbour:write")
async def leave(context: Context, *, name: str) -> None:
    """Let a ship leave."""

moored: list[str] = []
signals: list[str] = []

@contextlib.asynccontextmanager
async def mooring(name: str) -> AsyncIterator[None]:
    moored.append(name)
    try:
        yield
    finally:
        await asyncio.sleep(0.01)
        moored.remove(name)

@endpoint("harbour.watch", "GET /harbour/{name}/watch", permission="harbour:read")
async def watch(context: Context, *, name: str) -> AsyncIterator[Event[Tide]]:
    """Watch the water at a mooring, for ever."""
    async with mooring(name):
        await asyncio.sleep(0.01)
        if name == "dry":
            raise Conflict("There is no water.", "Dig")
        if name == "still":
            raise NothingMore
        while name != "silent":
            yield Event(Tide(0))
            if name == "ebb":
                raise NothingMore
            await asyncio.sleep(0.05)
        await asyncio.Event().wait()

@endpoint("harbour.moored", "GET /moored", permission="harbour:read")
async def names(context: Context) -> list[Greeting]:
    """List the ships that are moored."""
    return [Greeting(name) for name in moored]

@endpoint("harbour.signals", "GET /signal", permission="harbour:read")
async def given(context: Context) -> list[Greeting]:
    """List the signals that were given."""
    return [Greeting(name) for name in signals]

def first(lines: list[str]) -> str:
    return lines[0]

@endpoint("harbour.hail", "GET /hail", permission="harbour:read")
async def hail(
    context: Context, *, call: Annotated[str, Header("X-Call", read=first), Meta(max_length=3)]
) -> Greeting:
    """Answer a ship that calls."""
    return Greeting(call)

@endpoint("harbour.signal", "POST /signal", permission="harbour:write", success=(202,))
async def signal(context: Context, *, output: str = "flag") -> None:
    """Give a signal."""
    signals.append(output)

@endpoint("harbour.pilot", "GET /pilot", permission="harbour:read")
async def pilot(context: Context, *, output: str = "") -> Greeting | None:
    """Say who the pilot is."""
    return Greeting(output) if output else None
'''
