"""The steps of a pull, under the names that the job's timeline has for them."""

from __future__ import annotations

from towline.wire.event import Step

ATTEMPT = "attempt"
QUEUED = "queued"
DEQUEUED = "dequeued"
COOLDOWN = "resting"

ITS_PACE = "max_pulls"
"""What a pull waits for while others run on its node."""
ITS_REGISTRY = "registry"
"""What a pull waits for while its registry cools down."""


def attempt(message: str) -> Step:
    """Return the step of an attempt that failed."""
    return Step(ATTEMPT, message)


def queued(message: str) -> Step:
    """Return the step of a pull that waits for others on its node."""
    return Step(QUEUED, message, ITS_PACE)


def cooldown(message: str) -> Step:
    """Return the step of a pull that waits until its registry may be asked again."""
    return Step(COOLDOWN, message, ITS_REGISTRY)


def dequeued(message: str) -> Step:
    """Return the step of a pull whose wait is over."""
    return Step(DEQUEUED, message)
