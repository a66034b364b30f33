"""What a request prefers of its answer: how long to wait for it (RFC 7240)."""

from __future__ import annotations

import re

import msgspec
from starlette.requests import Request

_PREFERENCE = re.compile(r"\s*([A-Za-z-]+)\s*(?:=\s*\"?([^\";]*)\"?)?\s*(?:;.*)?$")


class Waits(msgspec.Struct, frozen=True):
    """How long requests wait for their nodes, in seconds.

    Attributes:
        usual: where the request says nothing.
        longest: what a request may ask for.
    """

    usual: float
    longest: float


class Preferences(msgspec.Struct, frozen=True):
    """What `Prefer` asks for (RFC 7240).

    Attributes:
        wait: seconds to wait for results.
        applied: the value of `Preference-Applied`, or "".
    """

    wait: float
    applied: str


def preferred(request: Request, waits: Waits, *, default: float | None = None) -> Preferences:
    """Return what the request prefers; what can't be understood is ignored, as the RFC asks.

    `respond-async` alone asks for the answer at once; with `wait`, in whatever order they stand,
    for the answer after so many seconds at most.

    Args:
        default: seconds to wait where the request says nothing; None for what is usual.
    """
    asynchronous, seconds = False, None
    for part in ",".join(request.headers.getlist("prefer")).split(","):
        match = _PREFERENCE.match(part)
        if match is None:
            continue
        name, value = match[1].lower(), match[2]
        if name == "respond-async":
            asynchronous = True
        elif (
            name == "wait"
            # The first one counts where a preference stands there twice (section 2).
            and seconds is None
            and value
            and value.isascii()
            and value.isdigit()
            and len(value) < 10
        ):
            seconds = min(int(value), int(waits.longest))
    applied = ["respond-async"] if asynchronous else []
    if seconds is not None:
        return Preferences(float(seconds), ", ".join([*applied, f"wait={seconds}"]))
    if asynchronous:
        return Preferences(0.0, "respond-async")
    return Preferences(waits.usual if default is None else default, "")
