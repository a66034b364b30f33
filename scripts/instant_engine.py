"""A Docker Engine for light nodes: nothing but a few names in memory."""

import asyncio
import functools
import hashlib
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from towline.agent.docker.answers import (
    Happening,
    Image,
    ImageData,
    Info,
    ListedImage,
    Manifest,
    ManifestPlatform,
)
from towline.agent.docker.engine import Engine
from towline.wire.platform import Platform

T = TypeVar("T")

STEP, LAYERS, SIZE = 0.4, 5, 200_000_000
"""What a pull that takes long reports: every so many seconds of so many layers of so many bytes
each."""
TELLING = re.compile(":sha256-([0-9a-f]{64})$")
PLATFORM = [Manifest(available=True, image_data=ImageData(ManifestPlatform("linux", "amd64")))]
"""What images are for, as engines list it."""


def digest_of(name: str) -> str:
    """Return what a tag is at its registry, for whichever engine asks.

    One that says its digest, such as `sha256-0f…`, is that: real engines may have it, too.
    """
    said = TELLING.search(name)
    return f"sha256:{said[1] if said else hashlib.sha256(name.encode()).hexdigest()}"


def telling_tag(digest: str) -> str:
    """Return the tag by which engines that ask no registry know what it names."""
    return digest.replace(":", "-")


def image_of(repository: str, digest: str) -> Image:
    """Return an image as a containerd store has it: its id is its digest."""
    return Image(digest, 1_000_000, None, [f"{repository}@{digest}"])


@functools.lru_cache
def alike(count: int) -> Mapping[str, Image]:
    """Return so many images by name, the same for all nodes of a process."""
    repositories = [f"localhost:5000/held/{number}" for number in range(count)]
    return {f"{each}:1.0": image_of(each, digest_of(f"{each}:1.0")) for each in repositories}


class InstantEngine(Engine):
    """A Docker Engine that has every image at once, and no container.

    Parameters: `seconds` is how long a pull takes all the same, and `images` how many images it has
    at first.
    """

    def __init__(self, seconds: float = 0.0, images: int = 0) -> None:
        super().__init__("none://")
        self._seconds = seconds
        self._images = dict(alike(images))
        self._told: asyncio.Queue[Happening] = asyncio.Queue()

    async def ping(self) -> str:
        return "0"

    async def info(self) -> Info:
        return Info()

    async def image(self, name: str) -> Image | None:
        # It doesn't say what platform is its own, so that every pull takes its time.
        return self._images.get(name)

    async def images(self) -> list[ListedImage]:
        found: dict[str, ListedImage] = {}
        for name, image in self._images.items():
            known = found.setdefault(
                image.id, ListedImage(image.id, [], image.repo_digests, image.size, 0.0, PLATFORM)
            )
            if "@" not in name and known.repo_tags is not None:
                known.repo_tags.append(name)
        return list(found.values())

    async def image_users(self) -> Counter[str]:
        return Counter()

    @asynccontextmanager
    async def happenings(self) -> AsyncIterator[AsyncIterator[Happening]]:
        yield self._tell()

    async def ask(
        self,
        type: type[T],
        method: str,
        path: str,
        parameters: dict[str, str] | None = None,
        *,
        within: float | None = None,
    ) -> T:
        if method == "DELETE":
            await self.untag(path.removeprefix("images/"))
        return msgspec.convert([], type)

    async def ask_each(self, type: type[T], path: str, parameters: dict[str, str]) -> list[T]:
        return msgspec.convert(await self.images() if path == "images/json" else [], list[type])  # type: ignore[valid-type]

    async def digest(self, name: str, auth: dict[str, str] | None = None) -> str:
        return digest_of(name)

    async def tag(self, name: str, repository: str, tag: str) -> None:
        self._images[f"{repository}:{tag}"] = self._images[name]

    async def untag(self, name: str) -> None:
        image = self._images.pop(name, None)
        id = name if image is None else image.id
        names = [each for each, found in self._images.items() if found.id == id]
        if image is None or not any("@" not in each for each in names):
            # By its id it goes with all names, and with its last tag.
            for each in names:
                del self._images[each]
        self._told.put_nowait(Happening("image", "untag"))

    async def pull(
        self,
        repository: str,
        tag: str,
        auth: dict[str, str] | None = None,
        platform: Platform | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        steps = int(self._seconds / STEP)
        for step in range(steps):
            # Something new in each report of a pull that takes long.
            for layer in range(LAYERS):
                detail = {"current": SIZE * (step + 1) // steps - layer, "total": SIZE}
                yield {"id": f"{layer:012x}", "status": "Downloading", "progressDetail": detail}
            await asyncio.sleep(STEP)
        await asyncio.sleep(self._seconds - steps * STEP)
        name = f"{repository}{'@' if ':' in tag else ':'}{tag}"
        digest = tag if ":" in tag else digest_of(name)
        self._images[name] = image_of(repository, digest)
        yield {"status": f"Digest: {digest}"}
        yield {"status": "Status: Downloaded newer image"}

    async def _tell(self) -> AsyncGenerator[Happening, None]:
        """Yield what its agent does not know from having done it."""
        while True:
            yield await self._told.get()
