"""The images of a node's engine, as operations are given them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.images import pruning, removal
from towline.agent.docker.images.answers import Configuration
from towline.agent.docker.images.inspection import inspect
from towline.agent.docker.images.prune_rule import Rules
from towline.agent.docker.images.stock import Stocked, take_stock, told
from towline.agent.docker.images.usage import usage
from towline.errors import TaskFailed
from towline.operations.image import ImageId
from towline.operations.image_results import (
    ImageDetails,
    ImageRow,
    PruneResult,
    Removed,
    Tagged,
    Usage,
)
from towline.units import timestamp
from towline.wire.reference import Reference


class NodeImages:
    """The images that an engine has; see `towline.operations.image.Images`.

    Args:
        changed: called when there may be others than before.
    """

    def __init__(self, engine: Engine, changed: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._changed = changed

    async def rows(self, *, unused: bool) -> list[ImageRow]:
        """Return the images that are there, the newest first."""
        stock = await take_stock(self._engine)
        return [_row(each) for each in stock.images if not (unused and each.users)]

    async def details(self, image: Reference | ImageId) -> ImageDetails:
        """Return all that is known of an image."""
        found = await self._found(image)
        inspected = await inspect(self._engine, found.id)
        if inspected is None:
            raise _missing(image)
        row, made_with = _row(found), inspected.config or Configuration()
        return ImageDetails(
            *(row.id, row.size, row.names, row.digests, row.platform, row.created),
            containers=sorted(user.container for user in found.users),
            layers=inspected.root_fs.layers or [],
            entrypoint=made_with.entrypoint or [],
            command=made_with.cmd or [],
            user=made_with.user or None,
            working_dir=made_with.working_dir or None,
            ports=sorted(made_with.exposed_ports or ()),
            labels=made_with.labels or {},
        )

    async def usage(self) -> Usage:
        """Return what the engine has on the disk."""
        return await usage(self._engine)

    async def tag(self, image: Reference | ImageId, name: Reference) -> Tagged:
        """Give an image one more name."""
        async with self._engine.naming:
            found = await self._found(image)
            if name.name in found.names:
                return Tagged(found.id, False)
            try:
                await self._engine.tag(found.id, name.repository, name.tag or "latest")
            except EngineRefused as error:
                if error.status != 404:
                    raise
                raise _missing(image) from error
            finally:
                self._changed()
        return Tagged(found.id, True)

    async def remove(self, image: Reference | ImageId, *, force: bool) -> Removed:
        """Remove an image, or one of its names."""
        try:
            return await removal.remove(self._engine, image, force=force)
        finally:
            self._changed()

    async def prune(
        self,
        *,
        keep: int,
        older_than: float,
        protect: Sequence[Reference | ImageId],
        dry: bool,
    ) -> PruneResult:
        """Remove images that nobody needs."""
        rules = Rules(keep, older_than, tuple(protect))
        try:
            return await pruning.prune(self._engine, rules, time.time(), dry=dry)
        finally:
            if not dry:
                self._changed()

    async def _found(self, image: Reference | ImageId) -> Stocked:
        found = (await take_stock(self._engine)).find(image)
        if found is None:
            raise _missing(image)
        return found


def _missing(image: Reference | ImageId) -> TaskFailed:
    return TaskFailed(f"there is no {told(image)} on this node", status=404)


def _row(image: Stocked) -> ImageRow:
    held = image.held
    return ImageRow(
        held.id,
        held.size,
        held.used,
        held.names,
        held.digests,
        held.platform or None,
        None if held.created is None else timestamp(held.created),
    )
