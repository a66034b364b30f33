"""The engine's messages about a pull, folded into layers. Nothing here waits or asks the time.

Source: the stream of `POST /images/create` (Docker Engine API), as Engine 20.10 with its own store
and Engine 29 with containerd's send it. They differ:

- Of unpacking the first one counts bytes, the other one the seconds for which it goes on.
- A layer that is there the first one names ("Already exists"), the other one leaves out, unless
  only its archive is there.
- When a connection breaks, the first one says that all bytes have arrived, waits ("Retrying in 5
  seconds"), and goes on with what is missing as its total.
"""

from __future__ import annotations

from typing import Any

from towline.wire.progress import DONE, DOWNLOADED, DOWNLOADING, EXTRACTING, PRESENT, WAITING, Part

_RETRYING = "Retrying in "
_STATES = {
    "Pulling fs layer": WAITING,
    "Waiting": WAITING,
    "Downloading": DOWNLOADING,
    "Verifying Checksum": DOWNLOADED,
    "Download complete": DOWNLOADED,
    "Extracting": EXTRACTING,
    "Pull complete": DONE,
    "Already exists": PRESENT,
}


class Layers:
    """The layers of one pull.

    Attributes:
        byte_at: when a byte was last seen to arrive; at first, when the pull began.
        step_at: when unpacking was last seen to go on: a byte more of it, or, where the engine
            counts none, a layer that begins or ends. At first, when the pull began.
        counted: whether the engine counts bytes of unpacking.
        gained: bytes that were seen to arrive. What was there when a layer was first named is not
            among them: it may be what an earlier attempt left.

    Args:
        now: the moment, in seconds by any clock that `apply` is given, too.
    """

    def __init__(self, now: float) -> None:
        self._layers: dict[str, Part] = {}
        self._counts: dict[str, int] = {}
        self._jumps: dict[str, int] = {}
        self.byte_at = self.step_at = now
        self.counted = False
        self.gained = 0

    def apply(self, message: dict[str, Any], now: float) -> bool:
        """Fold one message; return whether that changed anything."""
        status, name = message.get("status"), message.get("id")
        if not isinstance(status, str) or not isinstance(name, str):
            return False
        state = WAITING if status.startswith(_RETRYING) else _STATES.get(status)
        if state is None:
            return False
        detail = message.get("progressDetail")
        detail = detail if isinstance(detail, dict) else {}
        current, total = _count(detail.get("current")), _count(detail.get("total"))
        if detail.get("units"):
            current = total = 0
        before = self._layers.get(name)
        layer = before or Part(name, state)
        if state == WAITING:
            layer = self._wait(layer)
        elif state == DOWNLOADING:
            layer = self._download(layer, current, total, now)
        elif state == EXTRACTING:
            layer = self._extract(layer, current, total, now)
        else:
            if state == DOWNLOADED:
                layer = self._arrive(layer, now)
            elif layer.state != state:
                self.step_at = now
            extracted = layer.size if state == DONE else layer.extracted
            layer = Part(name, state, layer.size or layer.fetched, layer.size, extracted)
        self._layers[name] = layer
        return layer != before

    def _wait(self, layer: Part) -> Part:
        # What has arrived may be used, or not: the next count says so.
        self._counts.pop(layer.id, None)
        fetched, jump = layer.fetched, self._jumps.pop(layer.id, 0)
        if layer.state == DOWNLOADING and fetched == layer.size:
            # The connection broke, and these never arrived.
            fetched -= jump
            self.gained -= jump
        return Part(layer.id, WAITING, fetched, layer.size)

    def _download(self, layer: Part, current: int, total: int, now: float) -> Part:
        before = self._counts.get(layer.id)
        if current > (before or 0):
            self.byte_at = now
        jump = max(0, current - before) if before is not None else 0
        self.gained += jump
        self._jumps[layer.id] = jump
        self._counts[layer.id] = current
        # After a broken connection the engine counts anew, and only what was missing.
        size = max(layer.size, total)
        fetched = current + (size - total if total else 0)
        return Part(layer.id, DOWNLOADING, min(fetched, size) if size else fetched, size)

    def _arrive(self, layer: Part, now: float) -> Part:
        if layer.state in (WAITING, DOWNLOADING):
            self.byte_at = self.step_at = now
            if layer.id in self._counts:
                self.gained += max(0, layer.size - layer.fetched)
        return layer

    def _extract(self, layer: Part, current: int, total: int, now: float) -> Part:
        if layer.state != EXTRACTING or current > layer.extracted:
            self.step_at = now
        size = layer.size or total
        self.counted |= total > 0
        # Where only seconds are counted nobody knows how far it is.
        extracted = min(current, size) if total else layer.extracted
        return Part(layer.id, EXTRACTING, size or layer.fetched, size, extracted)

    def all(self) -> list[Part]:
        """Return the layers, in the order in which the engine named them."""
        return list(self._layers.values())

    @property
    def fetching(self) -> bool:
        """Whether bytes are still to come, or it is not known yet which layers there are.

        While it is so, a pull at which no byte arrives stands still; afterwards, one of which
        nothing is unpacked does.
        """
        layers = self._layers.values()
        return not layers or any(layer.state in (WAITING, DOWNLOADING) for layer in layers)

    @property
    def announced(self) -> int:
        """Bytes, compressed, of all layers of which the engine has said the size so far."""
        return sum(layer.size for layer in self._layers.values())

    @property
    def fetched(self) -> int:
        """Bytes that have arrived."""
        return sum(layer.fetched for layer in self._layers.values())


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
