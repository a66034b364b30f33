"""The names of an image that was pulled by its digest."""

import asyncio
import contextlib

import pytest

from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.pull import naming
from towline.wire.reference import Reference

DIGEST = "sha256:" + "a" * 64
REPOSITORY = "registry.example:5000/app"


class Names(Engine):
    """An engine that has one image, by its digest, and takes its time.

    Args:
        refuses: whether names can't be removed there.
    """

    def __init__(self, repository: str = REPOSITORY, *, refuses: bool = False) -> None:
        super().__init__("unix:///nowhere")
        self.names = {f"{repository}@{DIGEST}"}
        self.refuses = refuses
        self.asked = asyncio.Event()

    async def image(self, name: str) -> Image | None:
        # As engines do, it shortens the names of Docker Hub.
        shown = [Reference.parse(each).familiar for each in self.names]
        return Image(DIGEST, 1, shown) if name in self.names else None

    async def tag(self, name: str, repository: str, tag: str) -> None:
        self.asked.set()
        await asyncio.sleep(0.01)
        self.names.add(f"{repository}:{tag}")

    async def untag(self, name: str) -> None:
        await asyncio.sleep(0.01)
        if self.refuses:
            raise EngineRefused(403, "Forbidden")
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


@pytest.mark.parametrize("repository", [REPOSITORY, "docker.io/library/app"])
@pytest.mark.parametrize("tags", [[], ["1"], ["1", "2"]])
async def test_the_digest_is_a_name_afterwards_only_where_other_names_would_go_with_it(
    repository: str, tags: list[str]
) -> None:
    engine = Names(repository)
    engine.names |= {f"{repository}:{tag}" for tag in tags}
    reference = Reference.parse(f"{repository}:1")
    await naming.give(engine, reference, DIGEST, naming.Present())
    wanted = {f"{repository}:{tag}" for tag in ("1", *tags)}
    assert engine.names == wanted | ({f"{repository}@{DIGEST}"} if "2" in tags else set())


async def test_a_digest_that_was_a_name_before_stays_one() -> None:
    engine = Names()
    present = await naming.present(engine, Reference.parse(f"{REPOSITORY}:1"), DIGEST, None)
    assert present == naming.Present(whole=False, named=True)
    await naming.give(engine, Reference.parse(f"{REPOSITORY}:1"), DIGEST, present)
    assert engine.names == {f"{REPOSITORY}@{DIGEST}", f"{REPOSITORY}:1"}


async def test_where_names_can_not_be_removed_the_tag_is_there_all_the_same() -> None:
    engine = Names(refuses=True)
    await naming.give(engine, Reference.parse(f"{REPOSITORY}:1"), DIGEST, naming.Present())
    assert f"{REPOSITORY}:1" in engine.names
