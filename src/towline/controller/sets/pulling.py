"""What a tag names, where no engine of a set's nodes can ask a registry: one of them pulls it.

Podman's can't. So that node has what the tag names before any rollout, which is why it happens in
the set's window alone, once there is something that it replaces.
"""

from __future__ import annotations

import asyncio

from towline.controller.inventory.inventories import Inventories
from towline.controller.sets.making import Making
from towline.controller.sets.record import ImageState, SetRecord
from towline.controller.sets.standing import pulled
from towline.errors import TowlineError

LISTED_WITHIN, LOOK_EVERY = 10.0, 0.5
"""Seconds that a node's inventory may take to show what was pulled, and between two looks at it."""


class Pulling:
    """Has a node pull a tag, and says which digest that was."""

    def __init__(self, making: Making, inventories: Inventories) -> None:
        self._making = making
        self._inventories = inventories

    async def digest(self, record: SetRecord, image: ImageState, machine: str) -> tuple[str, str]:
        """Return the digest that a node has pulled, or "" and why that is not known."""
        try:
            state = await self._making.look_up(record, image, machine)
        except TowlineError as error:
            return "", error.error
        task = state.tasks.get(machine)
        if task is None or task.status != "ok" or not isinstance(task.data, dict):
            why = None if task is None else task.error or task.reason
            return "", why or f"job {state.job.id} has not pulled it"
        if digest := task.data.get("digest"):
            return str(digest), ""
        for _ in range(int(LISTED_WITHIN / LOOK_EVERY)):
            if digest := self._listed(image, machine, str(task.data.get("image_id"))):
                return digest, ""
            await asyncio.sleep(LOOK_EVERY)
        return "", "the engine does not say which digest it has pulled"

    def _listed(self, image: ImageState, machine: str, image_id: str) -> str:
        """Return the digest by which a node lists an image: of several always the same.

        Podman has that of the index and that of the manifest, and doesn't say which is which.
        """
        name = pulled(image)
        held = (self._inventories.of(machine) or {}).get(image_id)
        if held is None or str(name) not in held.names:
            return ""
        prefix = f"{name.repository}@"
        found = {each.removeprefix(prefix) for each in held.digests if each.startswith(prefix)}
        known = [each for each in (image.next, image.current) if each in found]
        return known[0] if known else min(found, default="")
