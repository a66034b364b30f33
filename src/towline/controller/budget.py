"""What one node may send to a controller, so that the others have their time, too."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from towline.broker.listener import Received
from towline.broker.repeated import Repeated
from towline.controller.rate import Rate
from towline.wire.subjects import machine_of

RATE = 1_000.0
"""Messages a second that a node may send for long. Heartbeats, which are what nodes send most, cost
a controller some 0.1 ms each, so one node has a tenth of its time at most. An honest one sends one
in 5 s, and some three for each of its tasks."""
BURST = 10_000.0
"""Messages that it may send at once, when it has been quiet: an honest one that was away reports
all that has ended meanwhile. Each node has a budget of its own, however many come at once."""
LOOKED_UP = 10.0
"""Messages that one counts for which is about a task that is not under way, as far as this
controller knows: it asks broker and index before it believes that."""
STORED = 100.0
"""Messages that one counts for by which something of a node's is stored anew: what it is, which
changes once a minute at most, or that something it needs is to be left alone."""
BYTES = 16_384
"""Bytes for which a message counts as one more."""


class Budget:
    """Counts what each node sends, and drops what is too much.

    A report or question that was dropped gets no answer: an honest node sends it again.

    Attributes:
        dropped: how many messages of each node, by its machine id.

    Args:
        rate, burst: see the constants.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        *,
        rate: float = RATE,
        burst: float = BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = Rate(rate, burst, clock=clock)
        self._floods = Repeated("a node sends more than it may")
        self.dropped: Counter[str] = Counter()

    def limited(self, receive: Callable[[Received], None]) -> Callable[[Received], None]:
        """Return what receives messages for as long as their node has a budget left."""

        def receive_within(received: Received) -> None:
            machine = machine_of(received.subject)
            if self.spend(machine, 1 + len(received.data) // BYTES):
                receive(received)
                return
            self.dropped[machine] += 1
            self._floods.warning(machine=machine, dropped=self.dropped[machine])

        return receive_within

    def spend(self, machine: str, cost: float) -> bool:
        """Take of a node's budget; return whether there was anything left of it.

        Args:
            cost: in messages. The last of a budget pays for more than it has.
        """
        return self._rate.spend(machine, cost)
