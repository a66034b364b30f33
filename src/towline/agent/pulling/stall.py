"""When a pull stands still: two clocks, one for bytes and one for extraction."""

from __future__ import annotations

from typing import Any

EXTRACTION_SHARE = 10
"""How many times as long extraction may show nothing: engines tell little of it, and a layer of
many gigabytes on a slow disk takes its time."""

_ARRIVED = ("Download complete", "Pull complete", "Already exists", "Extracting", "Verifying")


class Clocks:
    """How long nothing has moved, by the engine's progress messages.

    As long as there is something to download, a byte has to arrive within `timeout`; after that
    an extraction step within ten times that.

    Args:
        timeout: seconds.
        now: the moment at which the attempt began, in seconds of a monotonic clock.
    """

    def __init__(self, timeout: float, now: float) -> None:
        self._timeout = timeout
        self._moved = now
        self._states: dict[str, tuple[str, int]] = {}

    def fold(self, message: dict[str, Any], now: float) -> None:
        """Take a progress message in; what says the same as before is no movement."""
        layer = str(message.get("id", ""))
        status = str(message.get("status", ""))
        # Engine 29 tells how long an extraction has taken, which grows by itself.
        progress = message.get("progressDetail") or {}
        timed = progress.get("units") == "s"
        state = (status, 0 if timed else int(progress.get("current", 0)))
        if self._states.get(layer) != state:
            self._states[layer] = state
            self._moved = now

    @property
    def _downloading(self) -> bool:
        layers = [state for layer, (state, _) in self._states.items() if layer]
        return not layers or not all(state.startswith(_ARRIVED) for state in layers)

    @property
    def limit(self) -> float:
        """Seconds for which nothing may move just now."""
        return self._timeout if self._downloading else EXTRACTION_SHARE * self._timeout

    def left(self, now: float) -> float:
        """Return for how many seconds more nothing may move; 0 or less when it has stalled."""
        return self._moved + self.limit - now

    @property
    def words(self) -> str:
        """What to say of a stall."""
        what = "no byte arrived" if self._downloading else "no extraction step was seen"
        return f"stalled: {what} for {self.limit:g} s"
