"""What the agent says of the images of real engines, of each kind: by hand is what counts here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.testing.engine import Engine as RealEngine
from tests.testing.engine import EngineKind
from tests.testing.engine_api import EngineApi, pull_errors
from tests.testing.podman import Podman
from tests.testing.registry import HOST_ARCHITECTURE, PushedImage, Registry, random_layer
from towline.agent.docker.engine import Engine
from towline.agent.docker.inventory import EngineInventory, Rhythm
from towline.wire.inventory import ImageHeld, Inventory, hash_of

START = "0123456789abcdef"
QUICK = Rhythm(quiet=0.1, longest=0.5, rest=0.0, shortest_pause=0.1, longest_pause=0.5)
WITHIN = 30.0


class Known:
    """What a controller knows of one repository on a node, by what the node says."""

    def __init__(self, repository: str) -> None:
        self._repository = repository
        self._all: dict[str, ImageHeld] = {}
        self._told = asyncio.Event()

    async def take(self, message: Inventory) -> None:
        """Take what is said as a controller does."""
        if message.base:
            assert message.base == hash_of(self._all.values())
        else:
            assert message.parts == 1
            self._all = {}
        self._all.update({image.id: image for image in message.images})
        for id in message.gone:
            del self._all[id]
        assert message.hash == hash_of(self._all.values())
        self._told.set()

    @property
    def here(self) -> dict[str, ImageHeld]:
        """The images of the repository, each by its names, shortened to what stands behind it."""
        return {
            ",".join(name.removeprefix(self._repository) for name in image.names): image
            for image in self._all.values()
            if self._repository in " ".join([*image.names, *image.digests])
        }

    async def until(self, holds: Callable[[dict[str, ImageHeld]], object]) -> dict[str, ImageHeld]:
        """Return the images once something holds of them."""
        async with asyncio.timeout(WITHIN):
            while not holds(self.here):
                self._told.clear()
                await self._told.wait()
        return self.here


@asynccontextmanager
async def known(daemon: EngineApi, repository: str) -> AsyncIterator[Known]:
    engine, found = Engine(daemon.url), Known(repository)
    running = asyncio.create_task(EngineInventory(engine, START, QUICK).follow(found.take))
    try:
        async with asyncio.timeout(WITHIN):
            await found._told.wait()
        yield found
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await engine.close()


async def by_hand(what: Callable[..., Any], *args: Any) -> None:
    await asyncio.to_thread(what, *args)


def pull(daemon: EngineApi, *args: str) -> None:
    assert not pull_errors(daemon.pull(*args))


async def test_what_is_done_by_hand_is_said(
    daemon: EngineApi, which: str, registry: Registry
) -> None:
    repository = f"held/{which}"
    name = f"{registry.host}/{repository}"
    first = registry.push_image(repository, "1.0")
    async with known(daemon, name) as found:
        await by_hand(pull, daemon, first.reference)
        (image,) = (await found.until(lambda here: ":1.0" in here)).values()
        own_id = daemon.image_id(first.reference)
        assert (image.id, image.digests) == (own_id, [first.by_digest])
        assert image.platform == f"linux/{HOST_ARCHITECTURE}"
        assert image.size > 0
        assert image.created == 1704067200.0  # as it was pushed

        await by_hand(daemon.tag, first.reference, name, "mine")
        await found.until(lambda here: ":1.0,:mine" in here)
        with daemon.containers(first.reference, 2):
            await found.until(lambda here: here[":1.0,:mine"].used == 2)
        await found.until(lambda here: here[":1.0,:mine"].used == 0)

        # The tag moves at the registry, and with the next pull on the node.
        second = registry.push_image(repository, "1.0", [random_layer(f"moved-{which}")])
        await by_hand(pull, daemon, second.reference)
        moved = await found.until(lambda here: {":1.0", ":mine"} == set(here))
        assert moved[":1.0"].digests == [second.by_digest]
        assert first.by_digest in moved[":mine"].digests

        await by_hand(daemon.remove_image, f"{name}:mine")
        await found.until(lambda here: ":mine" not in here)
        await by_hand(daemon.remove_image, second.reference)
        await found.until(lambda here: ":1.0" not in here)


async def test_what_was_pulled_by_its_digest_and_for_another_platform_is_said(
    daemon: EngineApi, which: str, registry: Registry
) -> None:
    repository = f"held/index-{which}"
    name = f"{registry.host}/{repository}"
    both: list[PushedImage] = [
        registry.push_image(repository, tag, architecture=tag) for tag in ("amd64", "arm64")
    ]
    index = registry.push_index(repository, "1.0", both)
    async with known(daemon, name) as found:
        await by_hand(pull, daemon, f"{name}@{index}", "linux/arm64")
        (image,) = (await found.until(lambda here: here)).values()
        assert (image.names, image.platform) == ([], "linux/arm64")
        # Podman has the digest of the index and that of the manifest.
        assert f"{name}@{index}" in image.digests
        assert set(image.digests) <= {f"{name}@{index}", both[1].by_digest}
        await by_hand(daemon.remove_image, image.id)
        await found.until(lambda here: not here)


@pytest.mark.parametrize("which", [EngineKind.CLASSIC, "podman"], indirect=True)
async def test_an_engine_that_was_restarted_is_listened_to_again(
    daemon: RealEngine | Podman, which: str, registry: Registry
) -> None:
    pushed = registry.push_image(f"held/again-{which}", "1.0")
    async with known(daemon, pushed.reference.removesuffix(":1.0")) as found:
        await by_hand(pull, daemon, pushed.reference)
        await found.until(lambda here: ":1.0" in here)
        await by_hand(daemon.stop)
        await by_hand(daemon.start)
        assert ":1.0" in found.here
        await by_hand(daemon.remove_image, pushed.reference)
        await found.until(lambda here: not here)
