"""The images of a node's engine, as operations are given them."""

from __future__ import annotations

from collections.abc import Callable

from towline.agent.docker.engine import Engine
from towline.agent.docker.images import removal
from towline.agent.docker.images.stock import Stocked, take_stock
from towline.operations.image import ImageId, ImageRow, Removed
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

    async def remove(self, image: Reference | ImageId, *, force: bool) -> Removed:
        """Remove an image, or one of its names."""
        try:
            return await removal.remove(self._engine, image, force=force)
        finally:
            self._changed()


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
