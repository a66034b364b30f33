"""The machine itself."""

from __future__ import annotations

from typing import Protocol

import msgspec

from towline.operation import NODE, Capability, Effect, Node, operation


class Machine(Protocol):
    """What the operations here need of a machine."""

    def load_average(self) -> tuple[float, float, float]:
        """Return the mean number of runnable tasks over 1, 5 and 15 minutes."""


MACHINE = Capability[Machine](NODE)


class LoadAverage(
    msgspec.Struct,
    frozen=True,
    rename={"one_minute": "1min", "five_minutes": "5min", "fifteen_minutes": "15min"},
):
    """The mean number of runnable tasks over three spans."""

    one_minute: float
    five_minutes: float
    fifteen_minutes: float


class Load(msgspec.Struct, frozen=True):
    """How busy a node is."""

    load_average: LoadAverage
    changed: bool = False


@operation(
    "node.load.get", "GET load", permission="node:read", effect=Effect.READ, requires=MACHINE
)
async def load(node: Node) -> Load:
    """Show a node's load averages.

    Example:
        towline node load --on _all
    """
    return Load(LoadAverage(*node.provider(MACHINE).load_average()))
