"""The names of an image that was pulled by its digest: those that a pull of its tag would leave.

The classic store has the digest beside the tag by itself. The containerd store makes a name of it
(`repository@sha256:…`, shown among the tags), which a pull of the tag would not; and to remove that
name removes all of this repository that has the same digest. So the tag comes last, from a name in
another repository that the image has meanwhile.
"""

from __future__ import annotations

import asyncio

import msgspec

from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.wire.reference import Reference

TEMPORARY = "towline.invalid/holding"
"""The repository of that name; `.invalid` can't be a registry's (RFC 2606)."""
CONFLICT = 409


class Present(msgspec.Struct, frozen=True):
    """What an engine has of a digest.

    Attributes:
        whole: whether nothing of it is missing.
        named: whether the digest itself is a name there.
    """

    whole: bool = False
    named: bool = False


async def present(engine: Engine, reference: Reference, digest: str) -> Present:
    """Return what the engine has of that digest of the reference's repository."""
    name = f"{reference.repository}@{digest}"
    found = await engine.image(name, manifests=True)
    if found is None:
        return Present()
    # The classic store: its id is that of the configuration, and what it has is whole.
    whole = found.id != digest
    whole = whole or any(each.available for each in found.manifests or ())
    return Present(whole, name in found.tags)


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
        names = set(found.tags) - {temporary} if found is not None else set()
        if names != {name} or before.named:
            # No such name, or one that is to stay, or others that would go with it.
            await engine.tag(name, repository, tag)
            return
        moving = asyncio.create_task(_move(engine, name, temporary, f"{repository}:{tag}"))
        try:
            await asyncio.shield(moving)
        except asyncio.CancelledError:
            # Left half-way, the image would keep the name that nobody knows of, and its place.
            await asyncio.wait([moving])
            raise


async def _move(engine: Engine, name: str, temporary: str, wanted: str) -> None:
    """Give an image the wanted name in place of the one by its digest."""
    await engine.tag(name, *temporary.split(":"))
    try:
        await engine.untag(name)
    except EngineRefused as error:
        if error.status != CONFLICT:
            raise
        # A container runs that was made by this very name.
    await engine.tag(temporary, *wanted.rsplit(":", 1))
    await engine.untag(temporary)
