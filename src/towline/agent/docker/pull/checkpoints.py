"""Checkpoints: moments at which a pull is broken off so that the engine keeps what has arrived.

An engine with the containerd image store protects what a pull fetches by a lease. It gives the
lease back when the pull fails, and containerd's next garbage collection, within a second or a few,
takes all that had arrived. When a pull is broken off it leaves the lease, for eight hours, and a
later pull goes on from there; what is later added to the same layers is protected by it, too. So a
pull that is worth it is broken off by ourselves once, early, and gone on with.

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
"""Seconds between two checkpoints: what begins later is protected, too, if it is big."""


class Checkpoints:
    """Decides when one pull is broken off, and knows what a lease protects."""

    def __init__(self) -> None:
        self._protected: set[str] = set()
        self._begun: float | None = None
        self._fetched = 0
        self._last: float | None = None

    def due(self, layers: Layers, now: float) -> bool:
        """Return whether to break the pull off now, and go on.

        Args:
            now: seconds of a monotonic clock.
        """
        fetching = [layer for layer in layers.all() if layer.state == DOWNLOADING]
        loose = [layer for layer in fetching if layer.id not in self._protected and layer.fetched]
        if loose and self._begun is None:
            self._begun, self._fetched = now, layers.fetched
        worth = WORTH * LOST_EACH * len(fetching)
        rest = layers.announced - layers.fetched
        if not loose or self._begun is None or rest < worth:
            return False
        passed = now - self._begun
        if passed < FIRST_AFTER or rest * passed < SHORTEST * (layers.fetched - self._fetched):
            return False
        # Finished layers are protected once any is: by the manifest, which names them all.
        return self._last is None or (
            now - self._last >= AGAIN_AFTER and sum(layer.fetched for layer in loose) >= worth
        )

    def taken(self, layers: Layers, now: float) -> None:
        """Record that the pull was broken off: the engine keeps what has arrived.

        Args:
            now: as in `due`.
        """
        self._last = now
        self._protected |= {layer.id for layer in layers.all() if layer.state == DOWNLOADING}

    def loose(self, layers: Layers) -> int:
        """Return how many bytes of layers under way no lease protects."""
        return sum(
            layer.fetched
            for layer in layers.all()
            if layer.state == DOWNLOADING and layer.id not in self._protected
        )
