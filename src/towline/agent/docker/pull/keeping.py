"""Keeping what has arrived, where an engine throws it away when a pull fails.

An engine with the containerd image store holds what a pull fetches under a lease. It gives the
lease back when the pull fails, and containerd's next garbage collection, within a second or a few,
takes all that had arrived. When a pull is broken off it leaves the lease, for eight hours, and a
later pull goes on from there; what is later added to the same layers is held by it, too. So a pull
that is worth it is broken off by ourselves once, early, and gone on with.

The price: a MiB at most of each layer under way is fetched again, 0.1 to 0.3 s are lost, and what
the image takes on the disk stays for these hours, even if the image is removed
(`docker image prune` frees it).

Source: measured with Engine 29.0; the daemon's `withLease` in daemon/containerd/leases.go.
"""

from __future__ import annotations

from towline.agent.docker.pull.layers import Layers
from towline.wire.progress import DOWNLOADING

LOST_EACH = 1 << 20
"""Bytes of a layer under way that are lost at most when a pull is broken off: containerd writes in
pieces of this size."""
WORTH = 8
"""How many times what may be lost has to be at stake."""
SHORTEST = 1.0
"""Seconds that the rest takes at least, at the rate so far: less is as soon fetched again."""
FIRST_AFTER = 0.3
"""Seconds from the first byte: the layers that are fetched at the same time have all begun."""
AGAIN_AFTER = 10.0
"""Seconds between two times that a pull is broken off: what begins later is held, too, if big."""


class Keeping:
    """Decides when to break one pull off."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._begun: float | None = None
        self._fetched = 0
        self._when: float | None = None

    def due(self, layers: Layers, now: float) -> bool:
        """Whether to break the pull off now, and go on.

        Args:
            now: seconds of a monotonic clock.
        """
        going = [layer for layer in layers.all() if layer.state == DOWNLOADING]
        loose = [layer for layer in going if layer.id not in self._held and layer.fetched]
        if loose and self._begun is None:
            self._begun, self._fetched = now, layers.fetched
        worth = WORTH * LOST_EACH * len(going)
        rest = layers.announced - layers.fetched
        if not loose or self._begun is None or rest < worth:
            return False
        passed = now - self._begun
        if passed < FIRST_AFTER or rest * passed < SHORTEST * (layers.fetched - self._fetched):
            return False
        # Finished layers are held once any was: by the manifest, which names them all.
        return self._when is None or (
            now - self._when >= AGAIN_AFTER and sum(layer.fetched for layer in loose) >= worth
        )

    def broken_off(self, layers: Layers, now: float) -> None:
        """Note that the engine was told to stop, and keeps what has arrived."""
        self._when = now
        self._held |= {layer.id for layer in layers.all() if layer.state == DOWNLOADING}

    def loose(self, layers: Layers) -> int:
        """Return how many bytes of layers under way no lease holds."""
        return sum(
            layer.fetched
            for layer in layers.all()
            if layer.state == DOWNLOADING and layer.id not in self._held
        )
