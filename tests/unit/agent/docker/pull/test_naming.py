"""The names of an image that was pulled by its digest."""

import asyncio
import contextlib

import pytest

from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.pull import naming
from towline.wire.platform import Platform
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
        repository, _, digest = name.partition("@")
        # As the containerd store does, it finds a digest by any name of the repository.
        there = any(each.startswith(f"{repository}:") for each in self.names) and digest == DIGEST
        return Image(DIGEST, 1, shown) if name in self.names or there else None

    async def tag(self, name: str, repository: str, tag: str) -> None:
        assert "/" not in tag
        self.asked.set()
        await asyncio.sleep(0.01)
        if await self.image(name) is None:
            raise EngineRefused(404, f"No such image: {name}")
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


@pytest.mark.parametrize("repository", [REPOSITORY, "docker.io/library/app"])
async def test_a_digest_that_was_a_name_before_stays_one(repository: str) -> None:
    engine = Names(repository)
    reference = Reference.parse(f"{repository}:1")
    # The containerd store has images for any platforms under one name: none is in the way.
    present = await naming.present(engine, reference, DIGEST, Platform("linux", "amd64"))
    assert present == naming.Present(whole=False, named=True, foreign=False)
    await naming.give(engine, reference, DIGEST, present)
    assert engine.names == {f"{repository}@{DIGEST}", f"{repository}:1"}
    engine.names = {f"{repository}:1"}
    present = await naming.present(engine, reference, DIGEST, None)
    assert present == naming.Present(whole=False, named=False)


TEMPORARY = f"{naming.TEMPORARY}:{DIGEST.partition(':')[2][:32]}"


@pytest.mark.parametrize(
    "names",
    [{f"{REPOSITORY}@{DIGEST}", TEMPORARY}, {f"{REPOSITORY}:1", TEMPORARY}],
    ids=["at its beginning", "before its end"],
)
async def test_a_move_of_names_in_which_an_agent_was_killed_is_ended_by_the_next_pull(
    names: set[str],
) -> None:
    engine = Names()
    engine.names = names
    reference = Reference.parse(f"{REPOSITORY}:1")
    present = await naming.present(engine, reference, DIGEST, None)
    await naming.give(engine, reference, DIGEST, present)
    assert engine.names == {f"{REPOSITORY}:1"}


async def test_names_of_one_image_are_moved_one_after_another() -> None:
    """At the same time, one would take away what the other is about to move."""
    engine = Names()
    both = (Reference.parse(f"{REPOSITORY}:{tag}") for tag in ("1", "2"))
    await asyncio.gather(*(naming.give(engine, each, DIGEST, naming.Present()) for each in both))
    assert engine.names == {f"{REPOSITORY}:1", f"{REPOSITORY}:2"}


async def test_where_names_can_not_be_removed_the_tag_is_there_all_the_same() -> None:
    engine = Names(refuses=True)
    await naming.give(engine, Reference.parse(f"{REPOSITORY}:1"), DIGEST, naming.Present())
    assert f"{REPOSITORY}:1" in engine.names
