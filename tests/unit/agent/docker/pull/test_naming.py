"""The names of an image that was pulled by its digest."""

import asyncio
import contextlib

from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.pull import naming
from towline.wire.reference import Reference

DIGEST = "sha256:" + "a" * 64
REPOSITORY = "registry.example:5000/app"


class Names(Engine):
    """An engine that has one image, by its digest, and takes its time."""

    def __init__(self) -> None:
        super().__init__("unix:///nowhere")
        self.names = {f"{REPOSITORY}@{DIGEST}"}
        self.asked = asyncio.Event()

    async def image(self, name: str, *, manifests: bool = False) -> Image | None:
        return Image(DIGEST, 1, list(self.names)) if name in self.names else None

    async def tag(self, name: str, repository: str, tag: str) -> None:
        self.asked.set()
        await asyncio.sleep(0.01)
        self.names.add(f"{repository}:{tag}")

    async def untag(self, name: str) -> None:
        await asyncio.sleep(0.01)
        self.names.remove(name)


async def test_a_move_of_names_that_is_cancelled_leaves_no_name_behind() -> None:
    engine = Names()
    reference = Reference.parse(f"{REPOSITORY}:1")
    giving = asyncio.create_task(naming.give(engine, reference, DIGEST, naming.Present()))
    await engine.asked.wait()
    giving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await giving
    assert giving.cancelled()
    assert engine.names == {f"{REPOSITORY}:1"}
