"""The pulls of a node: each shared by all tasks that want the same."""

from __future__ import annotations

import msgspec

from towline.agent.engine import Engine
from towline.agent.together import Together
from towline.errors import TaskFailed
from towline.reference import Reference


class Image(msgspec.Struct, frozen=True):
    """An image as it is on the node after a pull.

    Attributes:
        id: the engine's id, `sha256:…`.
        size: bytes, the engine's own figure.
        changed: whether the id behind the reference is another than before.
        digest: the manifest digest that the registry served.
    """

    id: str
    size: int
    changed: bool
    digest: str | None


class Pulls:
    """Pulls images on one Docker Engine.

    Tasks that ask for the same reference at the same time share the next pull of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._together = Together()

    async def pull(self, reference: Reference) -> Image:
        """Pull an image; return what the engine has then.

        Raises:
            TaskFailed: it could not be pulled; with the engine's own words.
        """
        return await self._together.join(reference, lambda: self._pull(reference))

    async def _pull(self, reference: Reference) -> Image:
        # A digest alone decides what is pulled; a tag beside it is not set by the engine.
        name = (
            f"{reference.repository}@{reference.digest}"
            if reference.digest
            else f"{reference.repository}:{reference.tag}"
        )
        before = await self._engine.image(name)
        digest, finished = reference.digest, False
        async for message in self._engine.pull(
            reference.repository, reference.digest or reference.tag or "latest"
        ):
            status = message.get("status", "")
            if status.startswith("Digest: "):
                digest = status.removeprefix("Digest: ")
            elif status.startswith("Status: "):
                finished = True
        if not finished:
            raise TaskFailed(
                "the Docker Engine's progress stream ended before the pull was complete"
            )
        after = await self._engine.image(name)
        if after is None:
            raise TaskFailed(f"the Docker Engine reported success, but knows no image {name}")
        changed = before is None or before["Id"] != after["Id"]
        return Image(after["Id"], after["Size"], changed, digest)
