"""What an engine says of each of its images, and what removing some of them frees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.images.answers import HistoryEntry, Inspected
from towline.agent.docker.images.layers import Layered, freed, layer_sizes
from towline.agent.docker.images.stock import Stock, Stocked, take_stock

AT_ONCE = 8
"""Images that an engine is asked about at a time."""

T = TypeVar("T")


class Known:
    """The images of an engine, with what it has said of each.

    Attributes:
        images: those that it lists, by id.
        inspected: what it says of each, by id; what containers were made of and no list has is
            among them.
    """

    def __init__(self, stock: Stock, inspected: Mapping[str, Inspected]) -> None:
        self.inspected = inspected
        self.images = {each.id: each for each in stock.images if each.id in inspected}

    async def sizes(self, engine: Engine, ids: Collection[str]) -> Mapping[str, tuple[int, ...]]:
        """Return the sizes of the layers of images, by id, as far as the engine tells them.

        Raises:
            TaskFailed: it could not be asked.
        """

        async def of(id: str) -> tuple[int, ...] | None:
            try:
                history = await engine.ask(list[HistoryEntry], "GET", f"images/{id}/history")
            except EngineRefused:
                # Podman breaks off where an image doesn't say when its layers were made.
                return None
            return layer_sizes(history, len(self.inspected[id].root_fs.layers or ()))

        return await _each(ids, of)

    def freed(self, going: Sequence[str], sizes: Mapping[str, tuple[int, ...]]) -> list[int]:
        """Return how many bytes each of these images frees, if all of them go.

        Args:
            sizes: those of their layers, by id; asked for before any of them went.
        """
        gone = {*going}
        return freed(
            [self._layered(id, sizes) for id in going],
            [self._layered(id, sizes) for id in self.inspected if id not in gone],
        )

    def _layered(self, id: str, sizes: Mapping[str, tuple[int, ...]]) -> Layered:
        image: Stocked | None = self.images.get(id)
        layers = tuple(self.inspected[id].root_fs.layers or ())
        if image is None:
            return Layered(id, 0, layers)
        return Layered(id, image.held.size, layers, image.shared, sizes.get(id))


async def look(engine: Engine, started: dict[str, str] | None = None) -> Known:
    """Return what an engine has, with what it says of each image.

    Args:
        started: see `take_stock`.

    Raises:
        TaskFailed: it could not be asked.
    """
    stock = await take_stock(engine, shared=True, started=started)

    async def of(id: str) -> Inspected | None:
        return await inspect(engine, id)

    return Known(stock, await _each({*(each.id for each in stock.images), *stock.unlisted}, of))


async def inspect(engine: Engine, id: str) -> Inspected | None:
    """Return what an engine says of an image, or None where there is none any more.

    Raises:
        TaskFailed: it could not be asked.
    """
    try:
        return await engine.ask(Inspected, "GET", f"images/{id}/json")
    except EngineRefused as error:
        if error.status == 404:
            return None
        raise


async def _each(ids: Collection[str], ask: Callable[[str], Awaitable[T | None]]) -> dict[str, T]:
    """Ask about images, some at a time; those that there are no answers for are missing."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(id: str) -> tuple[str, T | None]:
        async with turns:
            return id, await ask(id)

    found = await asyncio.gather(*map(one, ids))
    return {id: answer for id, answer in found if answer is not None}
