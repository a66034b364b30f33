"""The names of an image that was pulled by its digest: those that a pull of its tag would leave.

The classic store has the digest beside the tag by itself. The containerd store makes a name of it
(`repository@sha256:…`, shown among the tags), which a pull of the tag would not; and to remove that
name removes all of this repository that has the same digest. So the tag comes last, from a name in
another repository that the image has meanwhile.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.pull import presence
from towline.wire.platform import Platform
from towline.wire.reference import InvalidReference, Reference

log = structlog.get_logger()

TEMPORARY = "towline.invalid/holding"
"""The repository of that name; `.invalid` can't be a registry's (RFC 2606)."""


class Present(msgspec.Struct, frozen=True):
    """What an engine has of a digest.

    Attributes:
        whole: whether it is for sure what a pull of the digest would bring.
        named: whether the digest itself is a name there.
        foreign: whether the image of that name is for another platform than wanted, and the engine
            has one image for each name.
    """

    whole: bool = False
    named: bool = False
    foreign: bool = False


async def present(
    engine: Engine, reference: Reference, digest: str, platform: Platform | None
) -> Present:
    """Return what the engine has of that digest of the reference's repository.

    Args:
        platform: what the image is to be for, where that is known.
    """
    name = f"{reference.repository}@{digest}"
    found = await engine.image(name)
    if found is None:
        return Present()
    whole = presence.is_what_a_pull_brings(found, digest, platform)
    # In the classic store each digest is a name, though not among the tags.
    classic = found.id != digest
    foreign = classic and platform not in (None, found.platform)
    return Present(whole, classic or name in _tags(found), foreign)


async def give(engine: Engine, reference: Reference, digest: str, before: Present) -> None:
    """Let an image that the engine has by its digest have the tag of the reference, and no more.

    Args:
        before: what it had of it before it was pulled.

    Raises:
        TaskFailed: the engine refused.
    """
    name = f"{reference.repository}@{digest}"
    repository, tag = reference.repository, reference.tag or "latest"
    async with engine.naming:
        temporary = f"{TEMPORARY}:{digest.partition(':')[2][:32]}"
        found = await engine.image(name)
        names = _tags(found) if found is not None else set()
        # An agent that was killed has left a move half-way: then the digest is a name by that only.
        left = temporary in names
        wanted = f"{repository}:{tag}"
        names -= {temporary}
        if name not in names or names - {name, wanted} or (before.named and not left):
            # No such name, or one that is to stay, or others that would go with it.
            await engine.tag(name, repository, tag)
            if left:
                await _remove(engine, temporary)
            return
        moving = asyncio.create_task(_move(engine, name, temporary, wanted))
        try:
            await asyncio.shield(moving)
        except asyncio.CancelledError:
            # Left half-way, the image would keep the name that nobody knows of, and its place.
            await asyncio.wait([moving])
            raise


def _tags(image: Image) -> set[str]:
    """Return its names in full: engines shorten those of Docker Hub."""
    found = set()
    for name in image.tags:
        try:
            found.add(Reference.parse(name).name)
        except InvalidReference:
            found.add(name)
    return found


async def _move(engine: Engine, name: str, temporary: str, wanted: str) -> None:
    """Give an image the wanted name in place of the one by its digest."""
    await engine.tag(name, *temporary.split(":"))
    await _remove(engine, name)
    await engine.tag(temporary, *wanted.rsplit(":", 1))
    await _remove(engine, temporary)


async def _remove(engine: Engine, name: str) -> None:
    """Take a name from an image where that may be done."""
    try:
        await engine.untag(name)
    except EngineRefused as error:
        # A container runs that was made by this very name, or nobody may remove names here.
        log.info("name not removed", name=name, reason=error.error)
