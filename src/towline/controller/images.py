"""What a controller does about images: its parts, put together beside the others."""

from __future__ import annotations

from towline.broker.jetstream import JetStream
from towline.controller.sets.sets import Sets


class Images:
    """The parts that know of images; a new one is one line here.

    Attributes:
        stored: those that keep something at the broker.
        running: those that have a `run()`.
    """

    def __init__(self, jetstream: JetStream) -> None:
        self.sets = Sets(jetstream)
        self.stored = (self.sets,)
        self.running = (self.sets,)
