"""When a pull stands still: two clocks, one for bytes and one for unpacking."""

from __future__ import annotations

from towline.agent.docker.pull.layers import Layers

UNPACKING_SHARE = 10
"""How many times as long unpacking may show nothing: engines say little of it, and a layer of
many gigabytes on a slow disk takes its time."""


def limit(layers: Layers, timeout: float) -> float:
    """Return for how many seconds nothing may move at this moment: no byte, no layer unpacked.

    Args:
        timeout: seconds without a byte.
    """
    return timeout if layers.fetching else UNPACKING_SHARE * timeout


def left(layers: Layers, timeout: float, now: float) -> float:
    """Return for how many seconds more nothing may move; 0 or less when a pull has stalled."""
    moved = layers.byte_at if layers.fetching else max(layers.byte_at, layers.step_at)
    return moved + limit(layers, timeout) - now


def words(layers: Layers, timeout: float) -> str:
    """Return what is said of a stall."""
    what = "no byte has arrived" if layers.fetching else "nothing has been unpacked"
    return f"stalled: {what} for {limit(layers, timeout):g} s"
