"""What a pull would come to: which digest, whether that is there already, and the room for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.pull import naming, presence
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.credentials import Credentials
from towline.agent.docker.pull.disk import Room
from towline.agent.docker.pull.fetching import left_alone
from towline.agent.docker.pull.order import Order
from towline.agent.provider import Task
from towline.errors import TaskFailed
from towline.operations.docker import PullPlan
from towline.units import timestamp

RESOLVED_WITHIN = 3.0
"""Seconds for a tag to be resolved: whoever asked waits five for all that there is to be said."""


class Foresight:
    """Foresees pulls on one Docker Engine.

    Args:
        now: returns seconds since 1970, by the controllers' clock.
        resolved_within: seconds; see the constant.
    """

    def __init__(
        self,
        engine: Engine,
        credentials: Credentials,
        room: Room,
        now: Callable[[], float],
        *,
        resolved_within: float = RESOLVED_WITHIN,
    ) -> None:
        self._engine = engine
        self._credentials = credentials
        self._room = room
        self._now = now
        self._resolved_within = resolved_within

    async def of(self, order: Order, task: Task) -> PullPlan:
        """Return what an order would come to.

        Raises:
            TaskFailed: the engine doesn't answer, or the room would not do.
        """
        attempt = Attempt(order, 1, lambda step: None, lambda: [task])
        image = await self._engine.image(order.name)
        left = left_alone(order, image, self._engine.platform)
        digest, unresolved = (left.digest, None) if left else await self._digest(attempt, task)
        changed = False if left else await self._changed(order, image, digest)
        if changed is not False:
            await self._room.before(attempt)
        room = await self._room.look()
        disk, kept = (None, None) if room is None else room
        return PullPlan(
            digest=digest,
            unresolved=unresolved,
            changed=changed,
            image_id=None if image is None else image.id,
            size=None if image is None else image.size,
            free=None if disk is None else disk.free,
            kept=kept,
            disk=None if disk is None else disk.path,
        )

    async def _digest(self, attempt: Attempt, task: Task) -> tuple[str | None, str | None]:
        """Return what would be pulled, or why that is not known."""
        order = attempt.order
        if (known := order.reference.digest) is not None:
            return known, None
        if order.lead is not None:
            return order.lead.value, None
        cooldown = task.release.cooldown
        if cooldown is not None and self._now() < cooldown.until:
            until = timestamp(cooldown.until)
            return None, f"{cooldown.registry} is left alone until {until}: {cooldown.reason}"
        try:
            async with asyncio.timeout(self._resolved_within):
                await self._credentials.prepare(attempt)
                return await self._engine.digest(order.name, attempt.auth), None
        except TimeoutError:
            return None, f"the registry did not say within {self._resolved_within:g} s"
        except TaskFailed as error:
            return None, self._credentials.explain(attempt, error).error

    async def _changed(self, order: Order, image: Image | None, digest: str | None) -> bool | None:
        """Return whether another image would be there; None where that can't be told."""
        if image is None:
            return True
        if digest is None:
            return None
        if digest not in presence.digests(image, order.reference):
            return True
        platform = order.platform or self._engine.platform
        present = await naming.present(self._engine, order.reference, digest, platform)
        return False if present.whole else None
